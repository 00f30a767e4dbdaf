"""``mailer web``: the one place where the web process's edges are built."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import click
import uvicorn

from mailer.cli.common import config_option, load
from mailer.cli.edges import opened
from mailer.cli.logs import log_to_stderr
from mailer.cli.press import press_of
from mailer.cli.redis_url import redis_url
from mailer.config import secret_key
from mailer.errors import ConfigError
from mailer.mjml.templates import load_templates
from mailer.queue.arq_queue import connect
from mailer.web.app import PATIENCE, create_app
from mailer.web.pages import PagePress
from mailer.web.unsubscribe import draw_unsubscribe_pages, unsubscribe_routes


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@config_option
def command(host: str, port: int) -> None:
    """Run the web process only: /unsubscribe, which every message links to, and health pages.

    /healthz says that it runs, /readyz that database and Redis answer.
    """
    log_to_stderr()
    loaded = load()
    publication = loaded.settings.publication
    pages = PagePress(press_of(loaded).templates, load_templates(), publication)
    unsubscribe_pages = draw_unsubscribe_pages(pages)
    with opened(loaded) as store:
        queue = connect(redis_url(loaded))

        async def database() -> None:
            await asyncio.to_thread(store.workers.alive, 0.0, 0.0)

        async def redis() -> None:
            await queue.wait_ready(PATIENCE)

        probes: dict[str, Callable[[], Awaitable[None]]] = {"database": database, "redis": redis}
        config = uvicorn.Config(
            create_app(
                publication.name,
                publication.language,
                probes,
                unsubscribe_routes(store, secret_key(loaded), unsubscribe_pages),
            ),
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(loaded.settings.web.trusted_proxies),
            forwarded_allow_ips=list(loaded.settings.web.trusted_proxies),
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            # uvicorn raises the signal that ended it once more when it is done, for whoever handled it before.
            signal.signal(number, lambda *_: None)
        try:
            uvicorn.Server(config).run()
        except SystemExit as error:
            raise ConfigError(
                f"the web process can't listen on {host} port {port}", todo="Take another --host or --port."
            ) from error

"""``mailer web``: the one place where the web process's edges are built."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterable

import click
import uvicorn
from starlette.responses import Response
from starlette.routing import BaseRoute

from mailer.cli.common import config_option, load
from mailer.cli.edges import opened
from mailer.cli.logs import log_addresses_option, log_to_stderr
from mailer.cli.redis_url import redis_url
from mailer.cli.web_processes import listen, serve_together
from mailer.config import secret_key
from mailer.mjml.templates import load_templates, own_templates
from mailer.queue.arq_queue import connect
from mailer.queue.client_limit import connect_limits
from mailer.web.app import PATIENCE, create_app
from mailer.web.breakers import BreakerFigures
from mailer.web.client_address import parse_networks
from mailer.web.confirm import confirm_routes, draw_confirm_pages
from mailer.web.fetch import fetch
from mailer.web.figures import StoreFigures
from mailer.web.http import server_config
from mailer.web.metrics import Metrics
from mailer.web.pages import PagePress
from mailer.web.preferences import PreferencesPages, preferences_routes
from mailer.web.rate_limit import RateLimit, limited
from mailer.web.subscribe import SubscribePages, subscribe_routes
from mailer.web.unsubscribe import draw_unsubscribe_pages, unsubscribe_routes
from mailer.web.webhooks import webhooks_app
from workers.collector import spare_the_collector
from workers.letters import draw_letters

ONE_CLICKS = (50.0, 3000.0)
"""POSTs to /unsubscribe of one address: a second, and at once. A mail provider sends all its users' from a few."""

FORMS = (0.2, 20.0)
"""The same for forms that people fill in."""

SIGN_UPS = (20 / 3600, 30.0)
"""The same for /subscribe, which anybody can write to and which makes mail go out. All people of a school may
share an address."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--fd", type=click.IntRange(3), help="Take this open socket instead; systemd passes the first one as 3.")
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64), help="How many.")
@log_addresses_option
@config_option
@click.pass_context
def command(ctx: click.Context, host: str, port: int, fd: int | None, processes: int, log_addresses: bool) -> None:
    """Run the web process only: /unsubscribe and /preferences, which every message links to, /subscribe, health pages.

    /healthz says that it runs, /readyz that database and Redis answer.
    """
    loaded = load()
    log_to_stderr(loaded, addresses=log_addresses)
    publication = loaded.settings.publication
    per_day = loaded.settings.web.sign_ups_per_day
    subscribe_url = f"{publication.base_url}/subscribe" if per_day else ""
    pages = PagePress(own_templates(loaded.path), load_templates(), publication, subscribe_url)
    unsubscribe_pages, preferences_pages = draw_unsubscribe_pages(pages), PreferencesPages(pages, publication)
    subscribe_pages, confirm_pages = SubscribePages(pages), draw_confirm_pages(pages)
    draw_letters(loaded)  # an error in their templates is said now, and not in a worker's log
    busy = pages.page("web/unsubscribe.html", "busy_title", "busy_text", button=False, again=False)
    if processes > 1:
        with opened(loaded):
            listening = listen(host, port, fd)  # what is wrong with either is said once, and not by each process
        ctx.exit(serve_together(loaded, listening, processes, log_addresses=log_addresses))

    def refused(seconds: int) -> Response:
        return busy.response(429, Retry_After=str(seconds))

    with opened(loaded) as store:
        queue, secret = connect(redis_url(loaded)), secret_key(loaded)
        webhooks = webhooks_app(store.events, loaded.settings.webhooks, publication.base_url, fetch)
        limits = connect_limits(redis_url(loaded), secret)

        def guarded(name: str, routes: Iterable[BaseRoute], limit: tuple[float, float]) -> list[BaseRoute]:
            return limited(routes, RateLimit(*limit), refused, name, limits)

        async def database() -> None:
            await asyncio.to_thread(store.workers.alive, 0.0, 0.0)

        async def redis() -> None:
            await queue.wait_ready(PATIENCE)

        async def wake(number: int) -> None:
            await queue.enqueue_confirmations([number])

        subscribe = subscribe_routes(store.sign_ups, wake, secret, subscribe_pages, per_day) if per_day else []
        probes: dict[str, Callable[[], Awaitable[None]]] = {"database": database, "redis": redis}
        config = server_config(
            create_app(
                publication.name,
                publication.language,
                probes,
                [
                    *guarded("one-clicks", unsubscribe_routes(store, secret, unsubscribe_pages), ONE_CLICKS),
                    *guarded("preferences", preferences_routes(store, secret, preferences_pages), FORMS),
                    *guarded("sign-ups", subscribe, SIGN_UPS),
                    *guarded("confirm", confirm_routes(store.sign_ups, secret, confirm_pages), FORMS),
                ],
                webhooks=webhooks,
                trusted=parse_networks(loaded.settings.web.trusted_proxies),
                metrics=Metrics([StoreFigures(store), BreakerFigures(redis_url(loaded))]),
            ),
        )
        server = uvicorn.Server(config)

        def end(*_: object) -> None:
            server.should_exit = True

        for number in (signal.SIGINT, signal.SIGTERM):
            # For a signal that comes before uvicorn listens to it. (When it is done, it raises the one that ended it
            # once more, for whoever handled it before.)
            signal.signal(number, end)
        spare_the_collector()
        server.run([listen(host, port, fd)])
        webhooks.close()

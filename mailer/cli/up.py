"""``mailer up``: one process tree for a small publisher."""

from __future__ import annotations

import click

from mailer.cli.common import config_option, load
from mailer.cli.edges import opened, warn_of_inactive
from mailer.cli.logs import log_addresses_option, log_to_stderr
from mailer.cli.output import err
from mailer.cli.processes import Child, supervise
from mailer.cli.relays import say_where_mail_goes
from mailer.cli.workforce import config_arguments, log_arguments, worker_child
from mailer.config import Loaded, ensure_data_dir
from mailer.queue.embedded import EmbeddedRedis

READ_EVERY = 120
"""Seconds between two looks into the bounce mailbox."""


@click.command()
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64), help="How many workers.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the web process listens.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@log_addresses_option
@config_option
@click.pass_context
def command(ctx: click.Context, processes: int, host: str, port: int, log_addresses: bool) -> None:
    """Run everything: Redis (unless one is configured), workers, web. Ctrl-C lets it finish what has begun and end.

    Killed and started again, it goes on with what was under way.
    """
    loaded = load()
    log_to_stderr(loaded, addresses=log_addresses)
    with opened(loaded):
        warn_of_inactive(loaded)
        say_where_mail_goes(loaded)
    engine = None if loaded.settings.redis.url else EmbeddedRedis(ensure_data_dir(loaded))
    if engine is not None:
        engine.start()
    err.print(f"Web on http://{host}:{port}, {processes} worker(s). Ctrl-C ends it.", markup=False)
    try:
        status = supervise(_children(loaded, processes, host, port, log_addresses))
    finally:
        if engine is not None:
            engine.stop()
    ctx.exit(status)


def _children(loaded: Loaded, processes: int, host: str, port: int, log_addresses: bool) -> list[Child]:
    more = (*config_arguments(loaded), *log_arguments(log_addresses))
    web = Child("web", ("-m", "mailer", "web", "--host", host, "--port", str(port), *more))
    names = [f"worker {number + 1}" for number in range(processes)]
    mailbox = []
    if loaded.settings.bounces.imap.host:
        reading = ("-m", "mailer", "bounces", "ingest", "--imap", "--every", str(READ_EVERY), *config_arguments(loaded))
        mailbox.append(Child("bounce mailbox", reading))
    return [web, *mailbox, *(worker_child(loaded, name, log_addresses=log_addresses) for name in names)]

"""``mailer worker``."""

from __future__ import annotations

import os
import sys

import click

from mailer.cli.common import config_option, load
from mailer.cli.edges import opened, warn_of_inactive
from mailer.cli.logs import log_addresses_option, log_to_stderr
from mailer.cli.processes import supervise
from mailer.cli.relays import say_where_mail_goes
from mailer.cli.workforce import worker_child


@click.command()
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64), help="How many.")
@log_addresses_option
@config_option
@click.pass_context
def command(ctx: click.Context, processes: int, log_addresses: bool) -> None:
    """Run workers only, until SIGTERM or Ctrl-C: then what has begun is finished, a second one ends them at once.

    'arq workers.main.WorkerSettings' does the same for one process. More processes on more machines work on the same
    sends when they share PostgreSQL and Redis.
    """
    loaded = load()
    log_to_stderr(loaded, addresses=log_addresses)
    with opened(loaded):
        warn_of_inactive(loaded)
        say_where_mail_goes(loaded)
    names = [f"worker {number + 1}" for number in range(processes)]
    children = [worker_child(loaded, name, log_addresses=log_addresses) for name in names]
    if processes == 1:
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, *children[0].arguments])  # noqa: S606 - our own interpreter
    ctx.exit(supervise(children))

"""What to say when there is work and nobody to do it."""

from __future__ import annotations

from mailer.cli.edges import workers_alive
from mailer.cli.output import err
from mailer.service.ports import Store


def say_how_to_start(store: Store) -> None:
    """Says how to start a worker, when none is alive."""
    if not workers_alive(store):
        err.print("[yellow]No worker is running, so nothing goes out yet.[/] Start one: [bold]mailer up[/]")

"""Waiting for a send, with its figures before the reader's eyes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from mailer.cli.edges import figures
from mailer.cli.output import err
from mailer.cli.progress import AT_REST, status_panel, untried
from mailer.cli.start_hint import hints
from mailer.model.ledger import SendId, Status
from mailer.service.ports import Store

if TYPE_CHECKING:
    from mailer.cli.workforce import Workforce

EVERY = 0.25
"""Seconds between two looks, at least."""

SHARE = 0.1
"""Of the time that may be spent looking: counting a million recipients takes half a second."""


def watch(
    store: Store,
    send: SendId,
    timezone: str,
    done: Callable[[Status], bool] | None = None,
    *,
    force: Workforce | None = None,
    console: Console = err,
) -> Status:
    """Shows a send until it is at rest, or ``done`` says so; gives its last status.

    ``force`` sees to it at every look that somebody works. Where there is no terminal, only the last figures are shown.
    """
    status, took = _timed(store, send)
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                told = hints(store, status, log=force.log if force else None)
                live.update(status_panel(status, timezone, time.time(), told), refresh=True)
                if status.send.state in AT_REST or (done is not None and done(status)):
                    return status
                if force is not None:
                    force.see_to_it()
                time.sleep(max(EVERY, took / SHARE))
                status, took = _timed(store, send)
    finally:
        if not console.is_terminal:
            console.line()  # Live leaves the last line open there


def _timed(store: Store, send: SendId) -> tuple[Status, float]:
    began = time.monotonic()
    return figures(store, send), time.monotonic() - began


def all_tried(status: Status) -> bool:
    """Whether every recipient has been tried."""
    return not untried(status)

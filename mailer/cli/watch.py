"""Waiting for a send, with its figures before the reader's eyes."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live

from mailer.cli.output import err
from mailer.cli.progress import status_panel
from mailer.model.ledger import RecipientState, SendId, SendState, Status
from mailer.service.ports import Store

AT_REST = frozenset({SendState.FINISHED, SendState.CANCELLED, SendState.PAUSED})

_UNTRIED = (RecipientState.PENDING, RecipientState.CLAIMED, RecipientState.DOTTED)

EVERY = 0.25
"""Seconds between two looks."""


def watch(
    store: Store,
    send: SendId,
    timezone: str,
    done: Callable[[Status], bool] | None = None,
    *,
    tick: Callable[[], None] = lambda: None,
    console: Console = err,
) -> Status:
    """Shows a send until it is at rest, or ``done`` says so; gives its last status.

    ``tick`` is called at every look. Where there is no terminal, only the last figures are shown.
    """
    status = store.sends.status(send, time.time())
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(status_panel(status, timezone, time.time()), refresh=True)
            if status.send.state in AT_REST or (done is not None and done(status)):
                return status
            tick()
            time.sleep(EVERY)
            status = store.sends.status(send, time.time())


def all_tried(status: Status) -> bool:
    """Whether every recipient has been tried: what is deferred may wait for long."""
    return not any(status.counts.get(one, 0) for one in _UNTRIED)

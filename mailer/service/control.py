"""Pausing and cancelling a send, exactly: once these have returned, no dot goes out for what they cover."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from mailer.model.ledger import RecipientState, Send, SendId
from mailer.service.ports import Store

PATIENCE = 30.0
"""Seconds to wait for the replies to dots that went out before the send was stopped."""


def stop(
    store: Store,
    send_id: SendId,
    how: Literal["pause", "cancel"],
    reason: str,
    now: Callable[[], float],
    sleep: Callable[[float], None],
    patience: float = PATIENCE,
) -> tuple[Send, int]:
    """Pauses or cancels a send, then waits for the dots in flight.

    Gives the send and how many of its dots had no answer after ``patience`` seconds: those may be delivered yet.
    Raises ``SendError``.
    """
    send = store.sends.pause(send_id, reason, now()) if how == "pause" else store.sends.cancel(send_id, now())
    until = now() + patience
    while in_flight := store.sends.status(send_id, now()).counts[RecipientState.DOTTED]:
        if now() > until:
            break
        sleep(0.1)
    return send, in_flight

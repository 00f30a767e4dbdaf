"""The functions that arq calls. What they do stands in ``mailer.service``; how a job may end, here.

A job never fails: an exception would only make arq forget it. Whatever isn't done is found again in SQL.
"""

from __future__ import annotations

from typing import Any

from arq.worker import Retry

from mailer.model.ledger import SendId
from workers.runtime import Runtime

AGAIN = 0.01
"""Seconds until a batch with work left goes on: to the end of the queue, so that sends take turns."""

RUNTIME = "runtime"
"""Where a job finds the ``Runtime`` in arq's context."""


async def deliver(ctx: dict[str, Any], send: str, first: int, last: int) -> None:
    """Delivers the recipients ``first`` to ``last`` of a send, for one turn. Raises ``Retry`` while work is left."""
    runtime: Runtime = ctx[RUNTIME]
    if await runtime.turn(SendId(send), first, last):
        raise Retry(defer=AGAIN)


async def confirm(ctx: dict[str, Any], number: int) -> None:
    """Sends the mail that answers a sign-up."""
    runtime: Runtime = ctx[RUNTIME]
    await runtime.confirm(number)


async def reconcile(ctx: dict[str, Any]) -> None:
    """One round of the reconciler."""
    runtime: Runtime = ctx[RUNTIME]
    await runtime.reconcile()

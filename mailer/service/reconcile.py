"""The reconciler: what SQL says is unfinished is queued, whatever Redis, a worker or a clock forgot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from math import inf

from mailer.delivery.condition import STOP_AT, Condition, why_stop
from mailer.model.ledger import SendKind, SendState
from mailer.model.settings import Delivery
from mailer.service.heart import GRACE, LEASE
from mailer.service.ports import Queue, Store

log = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two rounds."""


def settle_overdue(store: Store, delivery: Delivery, now: float) -> None:
    """What time alone decides: due sends start, dead workers' rows are freed, old deferrals expire, sends finish.

    With ``in_doubt = "resend"`` whoever fell in doubt is sent to again, once: ``retry_after`` seconds later, since the
    reply may still come to a worker that was taken for dead, and not after ``retry_for``, so that nobody gets an old
    issue when the setting is changed.
    """
    for send in store.sends.start_due(now, delivery.freshness):
        log.info("send %s is %s%s", send.id, send.state, f": {send.reason}" if send.reason else "")
    freed, in_doubt = store.ledger.reap(now, LEASE, GRACE)
    if freed or in_doubt:
        log.warning("a worker died: %d of its recipients go on, %d are in doubt", freed, in_doubt)
    expired = store.ledger.expire(now, delivery.retry_for)
    if expired:
        log.warning("%d recipients were deferred for too long and have expired", expired)
    resend_since = inf
    if delivery.in_doubt == "resend":
        resend_since = now - delivery.retry_for
        if resent := store.sends.resend_lost(now, resend_since, now - delivery.retry_after):
            log.warning("%d recipients in doubt are sent to again", resent)
    for finished in store.sends.finish(now, resend_since=resend_since):
        log.info("send %s is finished", finished)


def pause_refused(store: Store, conditions: Mapping[str, Condition], now: float) -> None:
    """Pauses sends that too many destinations refuse for our sake, with the reason: going on would make it worse."""
    refusing = [name for name, condition in conditions.items() if condition.pause]
    if len(refusing) < STOP_AT:
        return
    for send in store.sends.all():
        if send.state is not SendState.RUNNING or send.kind is not SendKind.ISSUE:
            continue
        if reason := why_stop(conditions, store.sends.waiting_for(send.id, refusing), send.audience):
            log.error("send %s is paused: %s", send.id, reason)
            store.sends.pause(send.id, reason, now)


async def queue_unfinished(
    store: Store, queue: Queue, delivery: Delivery, now: float, *, leave_out: Collection[str] = ()
) -> int:
    """Queues every batch with waiting rows; gives how many there are. Raises ``QueueError``, ``StoreError``.

    ``leave_out``: destinations whose rows would only be claimed to be given back.
    """
    batches = await asyncio.to_thread(store.ledger.unfinished, now, delivery.batch_size, leave_out)
    await queue.enqueue(batches)
    return len(batches)

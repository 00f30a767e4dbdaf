"""Builds a worker from the settings: the one place where its edges are chosen."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mailer.config import Loaded, ensure_data_dir, secret_key
from mailer.config.facts import send_facts
from mailer.delivery.destination import destination
from mailer.model.ledger import Send, WorkerId
from mailer.model.settings import Relay, Settings
from mailer.queue.arq_queue import connect
from mailer.queue.destinations import connect_destinations
from mailer.queue.pace import connect_pace
from mailer.queue.quota import connect_quota
from mailer.service.chance import Chance
from mailer.service.confirmations import Confirmer, Patience, queue_confirmations
from mailer.service.deliver import Deliverer
from mailer.service.destinations import Destinations, Limit
from mailer.service.events import act_on_backlog
from mailer.service.flight import Assemble, Flight
from mailer.service.heart import LEASE
from mailer.service.ports import Queue, Store
from mailer.service.reconcile import pause_refused, queue_unfinished, settle_overdue
from mailer.service.relay_pace import RelayPace
from mailer.service.warm_up import Ramp, WarmUp
from mailer.smtp.capture import Capture
from mailer.smtp.connect import place
from mailer.smtp.pool import RelayPool
from mailer.store import open_store
from mailer.wire.freeze import freeze
from workers.letters import letter_writer
from workers.runtime import Runtime

log = logging.getLogger(__name__)

CAPTURED = "captured"
"""Folder in the data directory where mail goes while no relay is configured."""


@dataclass(frozen=True, slots=True)
class _Books:
    """``mailer.service.warm_up.Books`` on the store."""

    store: Store

    async def sent_since(self, moment: float) -> int:
        return await asyncio.to_thread(self.store.sends.sent_since, moment)

    async def workers(self) -> int:
        return await asyncio.to_thread(self.store.workers.alive, time.time(), LEASE)


def batches_at_once(settings: Settings) -> int:
    """How many batches a worker delivers at a time: enough that no connection waits while one of them ends."""
    connections = sum(relay.connections for relay in settings.relays)
    return min(2 + max(connections, 8) // 16, 32)


def rows_at_once(relays: Sequence[Relay]) -> int:
    """How many rows a delivery claims at a time: enough to keep the connections busy, and not more than about ten
    seconds' worth where rates are set, so that another send's turn comes."""
    rows = 32.0 * sum(relay.connections for relay in relays)
    rates = [relay.rate for relay in relays]
    if all(rates):
        rows = min(rows, 10 * sum(rate for rate in rates if rate))
    return max(2, min(round(rows), 256))


async def open_runtime(loaded: Loaded, redis_url: str) -> Runtime:
    """A worker's parts, opened but not started. Raises ``MailerError``."""
    settings = loaded.settings
    ensure_data_dir(loaded)
    store = await asyncio.to_thread(open_store, loaded.store_url, create=loaded.store_url.startswith("sqlite:"))
    queue, pace = connect(redis_url), connect_pace(redis_url)
    relays, stop_capture = settings.relays, _nothing
    if not relays:
        capture = Capture(loaded.data_dir / CAPTURED)
        relays, stop_capture = (_captured(await capture.start()),), capture.stop
        log.warning("no relay is configured: mail is captured as files in %s", loaded.data_dir / CAPTURED)
    sharing, quota = connect_destinations(redis_url), connect_quota(redis_url)
    rates = {place(relay): relay.rate for relay in relays if relay.rate is not None}
    ramps = {place(relay): ramp for relay in relays if (ramp := _ramp(relay)) is not None}
    pool = RelayPool(relays, pace=RelayPace(pace, rates, WarmUp(ramps, quota, _Books(store), time.time)))
    connections = sum(relay.connections for relay in relays)
    destinations: Destinations[Flight] = Destinations(
        _limits(settings), sharing, pace, size=connections, clock=time.time, relays=pool
    )
    patience = Patience(settings.delivery.retry_after, settings.delivery.retry_for)
    confirmer = Confirmer(store, pool, letter_writer(loaded), patience, time.time, random.random, destinations.closed)
    deliverer = Deliverer(
        store,
        pool,
        partial(_freeze, store, loaded),
        Chance(time.time, random.random, _new_worker),
        host=socket.gethostname(),
        pid=os.getpid(),
        retry_after=settings.delivery.retry_after,
        chunk=rows_at_once(relays),
        connections=connections,
        resend_within=settings.delivery.retry_for if settings.delivery.in_doubt == "resend" else None,
        destinations=destinations,
    )
    return Runtime(
        deliverer,
        partial(_reconcile, store, queue, destinations, settings, secret_key(loaded)),
        confirmer.send,
        at_once=batches_at_once(settings),
        close_last=(
            *(stop_capture, queue.close, pace.close, sharing.close, quota.close),
            partial(asyncio.to_thread, store.close),
        ),
    )


async def _reconcile(
    store: Store, queue: Queue, destinations: Destinations[Flight], settings: Settings, secret: bytes
) -> None:
    """A round of the reconciler."""
    now = time.time()
    await asyncio.to_thread(settle_overdue, store, settings.delivery, now)
    await asyncio.to_thread(pause_refused, store, dict(destinations.conditions), now)
    await queue_unfinished(store, queue, settings.delivery, now, leave_out=destinations.closed())
    await queue_confirmations(store, queue, now)
    await act_on_backlog(store, secret, settings.bounces, time.time)


def _freeze(store: Store, loaded: Loaded, send: Send) -> Assemble:
    return freeze(store.issues.get(send.artefact), send_facts(loaded, send)).assemble


def _limits(settings: Settings) -> dict[str, Limit]:
    """What is configured, by destination: ``gmail.com`` and ``googlemail.com`` are one."""
    domains = settings.delivery.domains.items()
    return {destination(domain): Limit(limit.rate, limit.connections) for domain, limit in domains}


def _ramp(relay: Relay) -> Ramp | None:
    if relay.warm_up is None or relay.warm_up_since is None:
        return None
    return Ramp(relay.warm_up, relay.warm_up_growth, relay.warm_up_since, relay.connections)


def _new_worker() -> WorkerId:
    return WorkerId(f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}")


def _captured(port: int) -> Relay:
    return Relay(name=CAPTURED, host="127.0.0.1", port=port, security="none")


async def _nothing() -> None:
    return

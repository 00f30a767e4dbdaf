"""Runs an arq worker through all that happens to Redis.

arq's poll loop ends with the first lost connection. Here it is begun anew, with growing pauses; deliveries under way
don't notice, they need the database and the relay only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from arq.connections import ArqRedis
from arq.worker import Worker

from mailer.errors import QueueError
from mailer.queue.address import open_client, redis_settings, without_password
from mailer.queue.embedded import EmbeddedRedis
from mailer.queue.failure import Failure, queue_error
from mailer.service.ending import end
from workers.runtime import Runtime
from workers.settings import make_worker

log = logging.getLogger(__name__)

PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds between tries to reach Redis; the last one repeats."""

STEADY = 30.0
"""Seconds after which a connection counts as good, and the pauses begin anew."""

GOODBYE = 15.0
"""Seconds that arq's own jobs get to end when the worker drains; deliveries have no such limit."""


class Redis:
    """How to reach Redis. ``engine`` is the embedded server, where that is what is used: whoever needs it and finds
    none starts it."""

    def __init__(self, url: str, engine: EmbeddedRedis | None = None) -> None:
        self.url, self._engine, self._settings = url, engine, redis_settings(url)

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return without_password(self.url)

    def start(self) -> None:
        """Starts the embedded server unless it runs. Raises ``QueueError``."""
        if self._engine is not None:
            self._engine.start()

    def stop(self) -> None:
        """Stops the embedded server if this process started it."""
        if self._engine is not None:
            self._engine.stop()

    def client(self) -> ArqRedis:
        """A new client. Raises ``QueueError``."""
        self.start()
        return open_client(self._settings)


class _Outage:
    """One line in the log when Redis goes, and one when it is back."""

    def __init__(self, url: str, level: int) -> None:
        self._url, self._level, self._away = url, level, False

    def begins(self, error: BaseException) -> None:
        if not self._away:
            why = error if isinstance(error, QueueError) else queue_error(error, self._url)
            log.log(self._level, "Redis is away, deliveries under way go on: %s", why)
        self._away = True

    def ends(self) -> None:
        if self._away:
            log.log(self._level, "Redis is back")
        self._away = False


async def serve(
    redis: Redis,
    arguments: Callable[[], dict[str, Any]],
    runtime: Runtime,
    stop: asyncio.Event,
    level: int = logging.WARNING,
) -> None:
    """Runs an arq worker of these arguments until ``stop`` is set. ``level``: at which it logs that Redis is away."""
    outage, failures = _Outage(redis.url, level), 0
    while not stop.is_set():
        began = time.monotonic()
        try:
            await _once(redis, arguments(), runtime, stop, outage)
        except (*Failure, QueueError) as error:
            outage.begins(error)
            failures = 0 if time.monotonic() - began > STEADY else failures + 1
            await _pause(stop, PAUSES[min(failures, len(PAUSES) - 1)])


async def _once(
    redis: Redis, arguments: dict[str, Any], runtime: Runtime, stop: asyncio.Event, outage: _Outage
) -> None:
    client = redis.client()
    try:
        await client.ping()
        outage.ends()
        worker = make_worker(arguments, client, runtime)
        polling = asyncio.create_task(worker.async_run())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({polling, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not polling.done():
                await _let_go(worker, polling)
            if polling.done():
                await polling
        finally:
            await end([polling, stopping, *worker.tasks.values()])
    finally:
        await client.aclose(close_connection_pool=True)


async def _let_go(worker: Worker, polling: asyncio.Task[None]) -> None:
    """Ends the poll loop at the end of a round. Cancelled in the middle of one, it could leave a job marked as under
    way that nobody runs."""
    worker.burst, worker.max_burst_jobs = True, 0
    await asyncio.wait({polling}, timeout=GOODBYE)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return

"""A worker process: what ``mailer worker`` runs.

First SIGTERM or SIGINT: no new claims, unsent claims given back, dots in flight awaited (ten minutes at most), exit 0.
A second one exits at once with status 1.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial

import uvloop

from mailer.config import Loaded, ensure_data_dir
from mailer.queue.arq_queue import connect
from mailer.queue.embedded import EmbeddedRedis
from workers.collector import spare_the_collector
from workers.runtime import Runtime
from workers.serve import Redis, serve
from workers.settings import delivering, housekeeping

log = logging.getLogger(__name__)

READY = 10.0
"""Seconds that Redis gets to answer when a worker starts. Later it may be away for as long as it likes."""

LEAVING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

OpenRuntime = Callable[[Loaded, str], Awaitable[Runtime]]
"""Builds a worker's parts from the settings and the URL of Redis."""


def reach_redis(loaded: Loaded) -> Redis:
    """The configured Redis, or the embedded one, which is started unless it runs.

    Raises ``ConfigError``, and ``QueueError`` when it doesn't answer. To be called outside the event loop, from the
    main thread.
    """
    url = loaded.settings.redis.url
    engine = None if url else EmbeddedRedis(ensure_data_dir(loaded))
    redis = Redis(engine.url if engine else url, engine)
    redis.start()
    asyncio.run(_wait_ready(redis.url))
    return redis


def run_worker(loaded: Loaded, open_runtime: OpenRuntime, at_once: int) -> int:
    """Runs one worker until it is told to leave; gives the exit status. Raises ``MailerError`` if it can't begin."""
    redis = reach_redis(loaded)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_work(loaded, redis, open_runtime, at_once))
    finally:
        redis.stop()


async def _work(loaded: Loaded, redis: Redis, open_runtime: OpenRuntime, at_once: int) -> int:
    stop = asyncio.Event()
    runtime = await open_runtime(loaded, redis.url)
    leave_on_signals(partial(_leave, runtime, stop))
    try:
        await runtime.start()
        spare_the_collector()
        log.info("worker ready, Redis at %s", redis.shown_url)
        async with asyncio.TaskGroup() as both:
            both.create_task(serve(redis, partial(delivering, at_once), runtime, stop))
            both.create_task(serve(redis, housekeeping, runtime, stop, logging.DEBUG))  # the other one says it
    finally:
        await runtime.close()
    log.info("worker done")
    return 0


def leave_on_signals(leave: Callable[[], None]) -> None:
    """Calls ``leave`` at the first signal; the second one ends the process at once, with status 1.

    SIGHUP (the terminal or the supervisor is gone) never counts as a second one.
    """
    loop = asyncio.get_running_loop()
    told = False

    def handle(number: signal.Signals) -> None:
        nonlocal told
        if told and number is not signal.SIGHUP:
            log.error("%s again: leaving at once; messages whose reply wasn't seen are in doubt", number.name)
            os._exit(1)
        if not told:
            log.info("%s: draining; SIGTERM or SIGINT once more ends at once", number.name)
            leave()
        told = True

    for number in LEAVING:
        loop.add_signal_handler(number, handle, number)


def _leave(runtime: Runtime, stop: asyncio.Event) -> None:
    runtime.drain()
    stop.set()


async def _wait_ready(url: str) -> None:
    queue = connect(url)
    try:
        await queue.wait_ready(READY)
    finally:
        await queue.close()

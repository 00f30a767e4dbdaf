"""The same worker under arq's own command line: ``arq workers.main.WorkerSettings``.

arq owns the process there: it makes the loop and the worker, and ends the process when its poll loop ends. So the
client waits for a Redis that is away instead of failing, and our signal handlers replace arq's, which would cancel
jobs and know nothing of dots in flight. A connection that is lost between arq's WATCH and EXEC still ends the poll
loop: then dots in flight are awaited, the process ends with status 1, and the service manager has to start it again.
``mailer worker`` goes on instead, and is the better choice where there is one.
"""

from __future__ import annotations

import asyncio
import logging
import os
from functools import partial
from typing import Any

from mailer.config import Loaded, secret_key
from mailer.queue.address import FOREVER, open_client, redis_settings
from workers.jobs import RUNTIME
from workers.logs import log_to_stderr
from workers.run import OpenRuntime, leave_on_signals, reach_redis
from workers.runtime import Runtime
from workers.serve import serve
from workers.settings import delivering, housekeeping

log = logging.getLogger(__name__)

GOODBYE = 5.0
"""Seconds that arq gets to end after the last dot; it may be waiting for a Redis that is away."""

_HOUSEKEEPING, _STOP = "housekeeping", "stop"


def settings_class(loaded: Loaded, open_runtime: OpenRuntime, at_once: int) -> type:
    """What arq's command line takes as ``WorkerSettings``. Starts the embedded Redis where that is what is used.

    Raises ``MailerError``.
    """
    redis = reach_redis(loaded)
    settings = redis_settings(redis.url)

    async def on_startup(ctx: dict[str, Any]) -> None:
        log_to_stderr(secret_key(loaded))
        polling = asyncio.current_task()
        assert polling is not None
        runtime = await open_runtime(loaded, redis.url)
        ctx[RUNTIME], ctx[_STOP] = runtime, asyncio.Event()
        leave_on_signals(partial(_leave, runtime, polling))
        await runtime.start()
        ctx[_HOUSEKEEPING] = asyncio.create_task(serve(redis, housekeeping, runtime, ctx[_STOP]))
        log.info("worker ready, Redis at %s", redis.shown_url)

    return type(
        "WorkerSettings",
        (),
        {
            **delivering(at_once),
            "redis_pool": open_client(settings, tries=FOREVER),
            "redis_settings": settings,
            "on_startup": on_startup,
            "on_shutdown": on_shutdown,
        },
    )


async def on_shutdown(ctx: dict[str, Any]) -> None:
    """arq has no job under way any more; deliveries may be."""
    if _HOUSEKEEPING in ctx:
        ctx[_STOP].set()
        await ctx[_HOUSEKEEPING]
    if RUNTIME in ctx:
        await ctx[RUNTIME].close()


def _leave(runtime: Runtime, polling: asyncio.Task[Any]) -> None:
    runtime.drain()
    polling.cancel()
    closing = asyncio.ensure_future(runtime.close())
    closing.add_done_callback(lambda _: closing.get_loop().call_later(GOODBYE, os._exit, 0))

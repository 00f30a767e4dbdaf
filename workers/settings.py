"""How we use arq, which has ideas of its own about failed jobs (DESIGN §9). SQL decides what is left to do, so here a
job is only a knock on the door: short, never final, and nothing of it is kept.
"""

from __future__ import annotations

import socket
from typing import Any

from arq.cron import cron
from arq.worker import Worker, func

from mailer.queue.address import QUEUE_NAME
from mailer.queue.serialiser import dumps, loads
from mailer.service.reconcile import EVERY
from workers.jobs import RUNTIME, confirm, deliver, reconcile
from workers.runtime import Runtime

HOUSEKEEPING_QUEUE = "mailer:housekeeping"
"""The reconciler's own queue: behind a long newsletter it would wait until that is done, and so would every send that
is due and every recipient of a dead worker."""

JOB_LIMIT = 40.0
"""Seconds a job may take. More than a job's patience; ten more and arq gives out the job of a worker that died."""

COMMON: dict[str, Any] = {
    "keep_result": 0,  # an id whose result is kept can't be queued again
    "max_tries": 2**31,  # a job that Retry or a crash brings back for the nth time is no worse than the first time
    "job_serializer": dumps,
    "job_deserializer": loads,
    "log_results": False,
}

HEALTH_EVERY = 10.0
"""Seconds between two signs of life in Redis, which ``arq --check workers.main.WorkerSettings`` looks for."""


def delivering(at_once: int) -> dict[str, Any]:
    """The arguments of the arq worker that delivers, ``at_once`` batches (or mails that answer sign-ups) at a time."""
    return {
        **COMMON,
        "functions": [func(deliver), func(confirm)],
        "queue_name": QUEUE_NAME,
        "max_jobs": at_once,
        "job_timeout": JOB_LIMIT,
        "poll_delay": 0.2,
        "health_check_interval": HEALTH_EVERY,
        "health_check_key": f"mailer:health:{socket.gethostname()}",
    }


def housekeeping() -> dict[str, Any]:
    """The arguments of the arq worker that reconciles; of all processes, one does each round."""
    every = cron(
        reconcile,
        name="reconcile",
        second=set(range(0, 60, round(EVERY))),
        run_at_startup=True,
        keep_result=0,
        timeout=JOB_LIMIT,
    )
    return {**COMMON, "cron_jobs": [every], "queue_name": HOUSEKEEPING_QUEUE, "max_jobs": 1}


def make_worker(arguments: dict[str, Any], client: Any, runtime: Runtime) -> Worker:
    """An arq worker without signal handlers, to be run in the event loop of this process."""
    return Worker(redis_pool=client, handle_signals=False, ctx={RUNTIME: runtime}, **arguments)

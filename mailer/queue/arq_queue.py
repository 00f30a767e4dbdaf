"""Batches, and mails that answer sign-ups, as arq jobs.

A job's id says what it is for (``deliver:<send>:<first>:<round>``, ``confirm:<number>``), so that queueing what is
queued, or under way, changes nothing. A job is written just as arq's ``enqueue_job`` writes it, but many by one script:
arq's own way costs three round trips a job.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from arq.connections import ArqRedis
from arq.constants import expires_extra_ms, job_key_prefix
from arq.jobs import serialize_job

from mailer.model.ledger import Batch
from mailer.queue.address import QUEUE_NAME, open_client, redis_settings
from mailer.queue.failure import Failure, may_pass, queue_error
from mailer.queue.serialiser import dumps

DELIVER, CONFIRM = "deliver", "confirm"
"""Names of the job functions in ``workers.jobs``."""

FRONT = 3_600_000
"""Milliseconds by which the first batch of a send is put before what else waits: a test-send has only that one, and an
editor shouldn't wait for the newsletter under way. Nor should whoever signs up."""

AT_ONCE = 250
"""Jobs a script writes: other clients wait for it meanwhile, about a millisecond."""

# KEYS: the queue, then the jobs' keys. ARGV: life of a job in ms, then id, score and job for each.
# A job that is known but isn't in the queue is put back there: it would never run.
_ENQUEUE = """
for i = 2, #KEYS do
    local id, score, job = ARGV[3 * i - 4], ARGV[3 * i - 3], ARGV[3 * i - 2]
    if redis.call('SET', KEYS[i], job, 'NX', 'PX', ARGV[1]) or not redis.call('ZSCORE', KEYS[1], id) then
        redis.call('ZADD', KEYS[1], score, id)
    end
end
"""


class ArqQueue:
    """``ports.Queue`` on Redis."""

    def __init__(self, client: ArqRedis, url: str) -> None:
        self._client, self._url = client, url
        self._script = client.register_script(_ENQUEUE)

    async def enqueue(self, batches: Sequence[Batch]) -> None:
        """Queues each batch; one that is queued or under way already is left as it is. Raises ``QueueError``."""
        await self._enqueue(
            [
                _Job(job_id(batch), DELIVER, (batch.send, batch.first, batch.last), first=batch.first == 1)
                for batch in batches
            ]
        )

    async def enqueue_confirmations(self, numbers: Sequence[int]) -> None:
        """Queues each mail that answers a sign-up, by its number; otherwise as ``enqueue``."""
        await self._enqueue([_Job(f"{CONFIRM}:{number}", CONFIRM, (number,), first=True) for number in numbers])

    async def _enqueue(self, jobs: Sequence[_Job]) -> None:
        now = round(time.time() * 1000)
        try:
            for start in range(0, len(jobs), AT_ONCE):
                keys, arguments = _written(jobs[start : start + AT_ONCE], now)
                await self._script(keys=keys, args=arguments)
        except Failure as error:
            raise queue_error(error, self._url) from None

    async def wait_ready(self, timeout: float) -> None:  # noqa: ASYNC109
        """Returns when Redis answers. ``QueueError``: not within ``timeout`` seconds, or what answers is no use."""
        deadline = time.monotonic() + timeout
        probe = open_client(redis_settings(self._url), tries=0, timeout=max(timeout, 0.1))
        try:
            while True:
                try:
                    await probe.ping()
                    return
                except Failure as error:
                    if not may_pass(error) or time.monotonic() > deadline:
                        raise queue_error(error, self._url) from None
                await asyncio.sleep(0.1)
        finally:
            await probe.aclose(close_connection_pool=True)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose(close_connection_pool=True)


def connect(url: str) -> ArqQueue:
    """The queue at a URL; connects when it is first used. Raises ``ConfigError`` for a URL that is none."""
    return ArqQueue(open_client(redis_settings(url), tries=1), url)


def job_id(batch: Batch) -> str:
    """``deliver:<send>:<first>:<round>``."""
    return f"{DELIVER}:{batch.send}:{batch.first}:{batch.round}"


class _Job(NamedTuple):
    """A call of a job function. ``first``: before what else waits."""

    id: str
    function: str
    arguments: tuple[str | int, ...]
    first: bool


def _written(jobs: Sequence[_Job], now: int) -> tuple[list[str], list[str | int | bytes]]:
    keys = [QUEUE_NAME]
    arguments: list[str | int | bytes] = [expires_extra_ms]
    for job in jobs:
        keys.append(job_key_prefix + job.id)
        written = serialize_job(job.function, job.arguments, {}, None, now, serializer=dumps)
        arguments += [job.id, now - FRONT if job.first else now, written]
    return keys, arguments

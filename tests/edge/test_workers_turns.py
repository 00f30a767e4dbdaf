"""Jobs and deliveries: which waits for which."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mailer.errors import StoreError
from mailer.model.ledger import SendId
from workers.turns import Turns

SEND = SendId("kw24-1")


class Deliveries:
    """Deliveries that end when they are told to."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int, int]] = []
        self.ends: list[asyncio.Future[bool]] = []

    async def __call__(self, send: SendId, first: int, last: int) -> bool:
        self.begun.append((send, first, last))
        self.ends.append(asyncio.get_running_loop().create_future())
        return await self.ends[-1]


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("left", [True, False])
async def test_result(left: bool) -> None:
    """A job ends with its delivery, and says whether work is left."""
    deliveries = Deliveries()
    job = asyncio.create_task(Turns(deliveries, 2).take(SEND, 1, 500))
    await settle()
    assert deliveries.begun == [("kw24-1", 1, 500)]
    deliveries.ends[0].set_result(left)
    assert await job is left


async def test_impatient_job() -> None:
    """A job that has waited long enough asks to be run again; the delivery goes on, and the next job joins it."""
    deliveries = Deliveries()
    turns = Turns(deliveries, 2, patience=0.01)
    assert await turns.take(SEND, 1, 500)
    job = asyncio.create_task(turns.take(SEND, 1, 500))
    await settle()
    deliveries.ends[0].set_result(False)
    assert not await job
    assert len(deliveries.begun) == 1


async def test_cancelled_job() -> None:
    """A cancelled job leaves its delivery alone."""
    deliveries = Deliveries()
    turns = Turns(deliveries, 2)
    job = asyncio.create_task(turns.take(SEND, 1, 500))
    await settle()
    job.cancel()
    await asyncio.wait([job])
    deliveries.ends[0].set_result(False)
    await asyncio.wait_for(turns.finished(), 5)


async def test_no_more_than_allowed() -> None:
    """Deliveries that outlived their jobs count: a further one begins when one of them has ended."""
    deliveries = Deliveries()
    turns = Turns(deliveries, 2, patience=0.01)
    assert await turns.take(SEND, 1, 500)
    assert await turns.take(SEND, 501, 1000)
    assert await turns.take(SEND, 1001, 1500)
    assert len(deliveries.begun) == 2
    deliveries.ends[0].set_result(False)
    await settle()
    assert await turns.take(SEND, 1001, 1500)
    assert len(deliveries.begun) == 3


async def test_drain() -> None:
    """Draining: jobs that wait end and ask to be run again, none begins, deliveries are waited for."""
    deliveries = Deliveries()
    turns = Turns(deliveries, 2)
    job = asyncio.create_task(turns.take(SEND, 1, 500))
    await settle()
    turns.drain()
    assert await job
    assert await turns.take(SEND, 501, 1000)
    assert len(deliveries.begun) == 1
    finished = asyncio.create_task(turns.finished())
    await settle()
    assert not finished.done()
    deliveries.ends[0].set_result(True)
    await finished


@pytest.mark.parametrize(
    ("error", "level"), [(StoreError("the database is gone"), logging.WARNING), (ValueError("defect"), logging.ERROR)]
)
async def test_failure(error: Exception, level: int, caplog: pytest.LogCaptureFixture) -> None:
    """A delivery that fails is logged, even if nobody waits for it, and its job ends; the reconciler finds the work."""
    deliveries = Deliveries()
    turns = Turns(deliveries, 2)
    job = asyncio.create_task(turns.take(SEND, 1, 500))
    await settle()
    deliveries.ends[0].set_exception(error)
    assert not await job
    assert [record.levelno for record in caplog.records] == [level]

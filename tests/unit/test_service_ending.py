"""Ending tasks for certain."""

from __future__ import annotations

import asyncio

import pytest

from mailer.service import ending
from mailer.service.destinations import Destinations
from mailer.service.ending import end
from mailer.service.sharing import Alone, Shared


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "AGAIN", 0.02)


async def swallow() -> None:
    """Waits, and takes a cancellation for its own time limit, as a library may."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise TimeoutError from None


async def deaf(times: int) -> None:
    """Goes on so many times after it was cancelled."""
    for _ in range(times):
        try:
            await swallow()
        except TimeoutError:
            continue
    await asyncio.sleep(60)


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_deaf(times: int) -> None:
    """A task that loses a cancellation ends all the same."""
    task = asyncio.create_task(deaf(times))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end([task])
    assert task.cancelled()


async def test_others() -> None:
    """Tasks that have ended, or end with an error, are waited for like the others; none at all is fine."""

    async def broken() -> None:
        raise ValueError

    done, failing = asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(broken())
    await asyncio.sleep(0.01)
    await end([done, failing, asyncio.create_task(asyncio.sleep(60))])
    await end([])
    assert done.done()
    assert isinstance(failing.exception(), ValueError)


async def test_destinations_lose_a_cancellation() -> None:
    """The exchange between workers ends, though Redis' client takes its cancellation for a time-out: else a worker that
    is told to leave never would."""

    class Deaf(Alone):
        async def exchange(self, demands: object) -> Shared | None:
            try:
                await swallow()
            except TimeoutError:
                return None
            raise AssertionError("nothing else ends it")

    shared = Deaf(lambda: 0.0)
    destinations: Destinations[str] = Destinations({}, shared, shared, size=1, clock=lambda: 0.0)
    running = asyncio.create_task(destinations.run())
    await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        await end([running])
    assert running.cancelled()

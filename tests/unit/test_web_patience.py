"""One timer for many waits of equal length."""

from __future__ import annotations

import asyncio

import pytest

from mailer.web.patience import Patience

LONG = 30.0


async def wait(patience: Patience, for_what: asyncio.Event) -> str:
    try:
        with patience:
            await for_what.wait()
    except TimeoutError:
        return "ended"
    return "came"


def test_ends() -> None:
    """What takes too long ends with TimeoutError, whoever else began before or after; what comes in time doesn't."""

    async def run() -> list[str]:
        patience, never, at_once = Patience(0.05), asyncio.Event(), asyncio.Event()
        at_once.set()
        waits = [wait(patience, event) for event in (at_once, never, at_once, never)]
        first = await asyncio.gather(*waits)
        return [*first, await wait(patience, never), await wait(patience, at_once)]

    assert asyncio.run(run()) == ["came", "ended", "came", "ended", "ended", "came"]


def test_each_its_own_time() -> None:
    """Whoever begins later may wait later: the timer of the first ends nobody else's wait."""

    async def run() -> tuple[float, float]:
        loop, patience, never = asyncio.get_running_loop(), Patience(0.2), asyncio.Event()

        async def timed() -> float:
            began = loop.time()
            assert await wait(patience, never) == "ended"
            return loop.time() - began

        first = asyncio.create_task(timed())
        await asyncio.sleep(0.1)
        return await asyncio.create_task(timed()), await first

    assert min(asyncio.run(run())) >= 0.19


def test_again_in_one_task() -> None:
    """A task that was ended goes on, and may wait again."""

    async def run() -> list[str]:
        patience, event = Patience(0.02), asyncio.Event()
        first = await wait(patience, event)
        asyncio.get_running_loop().call_soon(event.set)
        return [first, await wait(Patience(LONG), event)]

    assert asyncio.run(run()) == ["ended", "came"]


def test_cancelled_by_others() -> None:
    """A cancellation by somebody else stays one, in time and when the time is over too."""

    async def run(seconds: float, *, late: bool) -> None:
        patience = Patience(seconds)

        async def wait_twice() -> None:
            with patience:
                try:
                    await asyncio.Event().wait()
                finally:
                    if late:  # the time is over, and the wait isn't left yet
                        waiting.cancel()

        waiting = asyncio.create_task(wait_twice())
        if not late:
            await asyncio.sleep(0)
            waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run(LONG, late=False))
    asyncio.run(run(0.02, late=True))


def test_errors_pass() -> None:
    """An error within is its own."""

    async def run() -> None:
        with Patience(LONG):
            raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(run())

"""Counts for the log."""

from __future__ import annotations

import asyncio

from mailer.web.tally import Tally


async def test_told_together() -> None:
    """The first is told at once, the next ones together; after a quiet time the next is a first one again.
    Closed, it tells what is left, once."""
    told: list[tuple[str, int, int]] = []
    done = asyncio.Event()

    def tell(name: str, times: int, amount: int) -> None:
        told.append((name, times, amount))
        if times > 1:
            done.set()

    tally = Tally(tell, every=0.02)
    tally.add("a", 1)
    tally.add("b", 7)
    for amount in (1, 2, 3):
        tally.add("a", amount)
    assert told == [("a", 1, 1), ("b", 1, 7)]
    await asyncio.wait_for(done.wait(), 10)
    assert told[2:] == [("a", 3, 6)]
    await asyncio.sleep(0.2)
    tally.add("a", 5)
    assert told[3:] == [("a", 1, 5)]
    tally.add("a", 2)
    tally.add("a", 3)
    tally.close()
    assert told[4:] == [("a", 2, 5)]
    await asyncio.sleep(0.1)
    assert len(told) == 5

"""Group commit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from mailer.errors import StoreUnavailable
from mailer.service import group
from mailer.service.group import Group


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield executor


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "PAUSES", (0.001,))


async def test_gathers_while_writing(thread: ThreadPoolExecutor) -> None:
    """What is asked for during a transaction goes into the next one together."""
    groups: list[list[int]] = []
    first_runs, go_on = threading.Event(), threading.Event()

    def write(items: Sequence[int]) -> list[bool]:
        groups.append(list(items))
        first_runs.set()
        assert go_on.wait(5)
        return [True] * len(items)

    writer: Group[int, bool] = Group(write, thread)
    one = writer.submit(1)
    await asyncio.to_thread(first_runs.wait, 5)
    rest = [writer.submit(n) for n in range(2, 9)]
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.gather(one, *rest) == [True] * 8
    assert groups == [[1], [2, 3, 4, 5, 6, 7, 8]]


async def test_limit(thread: ThreadPoolExecutor) -> None:
    """No group is larger than the limit, and none of the rest is forgotten."""
    groups: list[int] = []

    def write(items: Sequence[int]) -> list[bool]:
        groups.append(len(items))
        return [True] * len(items)

    writer: Group[int, bool] = Group(write, thread, limit=3)
    assert all(await asyncio.gather(*(writer.submit(n) for n in range(8))))
    assert sum(groups) == 8
    assert max(groups) == 3


async def test_answers(thread: ThreadPoolExecutor) -> None:
    """Each caller hears the answer to its own item."""
    writer: Group[int, str] = Group(lambda items: [f"{n} of {len(items)}" for n in items], thread)
    assert await asyncio.gather(*(writer.submit(n) for n in range(3))) == ["0 of 3", "1 of 3", "2 of 3"]


async def test_insists(thread: ThreadPoolExecutor) -> None:
    """A transaction that the database refuses is run again until it succeeds, with the same items."""
    tries: list[list[int]] = []

    def write(items: Sequence[int]) -> list[bool]:
        tries.append(list(items))
        if len(tries) < 4:
            raise StoreUnavailable("the disk is full")
        return [True]

    assert await Group(write, thread).submit(7) is True
    assert tries == [[7]] * 4


async def test_insists_on_nothing(thread: ThreadPoolExecutor) -> None:
    """Where nobody is to wait for the database, all callers of the group hear that it can't be used, after one try;
    the next group is tried again."""
    tries: list[list[int]] = []

    def write(items: Sequence[int]) -> list[bool]:
        tries.append(list(items))
        if len(tries) == 1:
            raise StoreUnavailable("the disk is full")
        return [True] * len(items)

    writer: Group[int, bool] = Group(write, thread, insisting=False)
    answers = await asyncio.gather(*(writer.submit(n) for n in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
    assert await writer.submit(3) is True
    assert tries == [[0, 1, 2], [3]]


@pytest.mark.parametrize("insisting", [True, False])
async def test_one_at_fault(thread: ThreadPoolExecutor, insisting: bool) -> None:
    """An item that can't be written is told so; the others of its group are written without it."""

    def write(items: Sequence[int]) -> list[bool]:
        if 13 in items:
            raise ZeroDivisionError
        return [True] * len(items)

    writer: Group[int, bool] = Group(write, thread, insisting=insisting)
    answers = await asyncio.gather(*(writer.submit(n) for n in (11, 12, 13, 14)), return_exceptions=True)
    assert answers[:2] + answers[3:] == [True] * 3
    assert isinstance(answers[2], ZeroDivisionError)


async def test_cancelled_caller(thread: ThreadPoolExecutor) -> None:
    """A caller that is cancelled takes nothing from the others of its group."""
    seen: list[int] = []

    def write(items: Sequence[int]) -> list[bool]:
        seen.extend(items)
        return [True] * len(items)

    writer: Group[int, bool] = Group(write, thread)
    tasks = [writer.submit(n) for n in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    first, cancelled, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, last) == (True, True)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert sorted(seen) == [0, 1, 2]


async def test_gathers_for_a_while(thread: ThreadPoolExecutor) -> None:
    """What comes while a group is being gathered goes into it."""
    groups: list[list[int]] = []

    def write(items: Sequence[int]) -> list[bool]:
        groups.append(list(items))
        return [True] * len(items)

    writer: Group[int, bool] = Group(write, thread, gather=0.2)
    one = writer.submit(1)
    await asyncio.sleep(0.02)
    assert await asyncio.gather(one, writer.submit(2)) == [True, True]
    assert groups == [[1, 2]]


async def test_hurry(thread: ThreadPoolExecutor) -> None:
    """Whoever knows that nothing more comes needn't wait for the time to gather, from the first item on."""
    writer: Group[int, bool] = Group(lambda items: [True] * len(items), thread, gather=1000.0)
    for number in range(3):
        written = writer.submit(number)
        writer.hurry()
        assert await asyncio.wait_for(written, 10)


class Held:
    """A write that waits for ``go_on``."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.runs, self.go_on = threading.Event(), threading.Event()

    def write(self, items: Sequence[int]) -> list[bool]:
        self.groups.append(list(items))
        self.runs.set()
        assert self.go_on.wait(5)
        return [True] * len(items)


async def test_expects_nobody(thread: ThreadPoolExecutor) -> None:
    """Where callers are expected to ask again, one who is alone is written at once all the same, each time."""
    groups: list[int] = []

    def write(items: Sequence[int]) -> list[bool]:
        groups.append(len(items))
        return [True] * len(items)

    writer: Group[int, bool] = Group(write, thread, gather=1000.0, expecting=8)
    for number in range(5):
        assert await asyncio.wait_for(writer.submit(number), 10)
    assert groups == [1] * 5


async def test_expects_those_under_way(thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks again when answered is written with those who came meanwhile, as soon as all are there again."""
    monkeypatch.setattr(Group, "_patience", lambda self: 1000.0)
    held = Held()
    writer: Group[int, bool] = Group(held.write, thread, expecting=8)
    first = writer.submit(0)
    await asyncio.to_thread(held.runs.wait, 5)
    others = [writer.submit(n) for n in (1, 2, 3)]
    held.go_on.set()
    await first
    assert await asyncio.wait_for(asyncio.gather(*others, writer.submit(4)), 10) == [True] * 4
    assert [sorted(group) for group in held.groups] == [[0], [1, 2, 3, 4]]


async def test_expects_in_vain(thread: ThreadPoolExecutor) -> None:
    """Those who came meanwhile don't wait for one who doesn't ask again for longer than the write itself took."""
    held = Held()
    writer: Group[int, bool] = Group(held.write, thread, gather=1000.0, expecting=8)
    first = writer.submit(0)
    await asyncio.to_thread(held.runs.wait, 5)
    others = [writer.submit(n) for n in (1, 2, 3)]
    held.go_on.set()
    assert await asyncio.wait_for(asyncio.gather(first, *others), 10) == [True] * 4
    assert held.groups == [[0], [1, 2, 3]]


async def test_no_hurry_during_a_write(thread: ThreadPoolExecutor) -> None:
    """A hurry while a group is being written doesn't tear the next one apart."""
    groups: list[list[int]] = []
    first_runs, go_on = threading.Event(), threading.Event()

    def write(items: Sequence[int]) -> list[bool]:
        groups.append(list(items))
        first_runs.set()
        assert go_on.wait(5)
        return [True] * len(items)

    writer: Group[int, bool] = Group(write, thread, gather=0.3)
    one = writer.submit(1)
    writer.hurry()
    await asyncio.to_thread(first_runs.wait, 5)
    two = writer.submit(2)
    writer.hurry()
    go_on.set()
    await one
    assert await asyncio.gather(two, writer.submit(3)) == [True, True]
    assert groups == [[1], [2, 3]]

"""Warm-up of a relay."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.delivery.warm_up import UNLIMITED, ceiling, day_began, day_ends
from mailer.errors import StoreUnavailable
from mailer.service.warm_up import Ramp, Rest, WarmUp

SINCE = date(2030, 1, 7)
CONNECTIONS = 4
RAMP = Ramp(first=100, growth=1.5, since=SINCE, connections=CONNECTIONS)
NOON = datetime(2030, 1, 7, 12, tzinfo=UTC).timestamp()
DAY = 86400.0


@pytest.mark.parametrize(
    ("days", "most"),
    [(-1, 0), (0, 100), (0.49, 100), (1, 150), (2, 225), (7, 1708), (400, UNLIMITED), (9999, UNLIMITED)],
)
def test_ceiling(days: float, most: int) -> None:
    """The ceiling grows by the same factor each day; before the first day nothing goes, and it never overflows."""
    assert ceiling(100, 1.5, SINCE, NOON + days * DAY) == most


@given(st.integers(1, 10**6), st.floats(1, 10), st.floats(0, 10**9))
def test_never_shrinks(first: int, growth: float, seconds: float) -> None:
    """No day allows less than the one before."""
    assert first <= ceiling(first, growth, SINCE, NOON + seconds) <= ceiling(first, growth, SINCE, NOON + seconds + DAY)


@given(st.floats(0, 4e9))
def test_day(now: float) -> None:
    """Any moment is in its day, and a day has 24 hours."""
    assert day_began(now) <= now < day_ends(now)
    assert day_ends(now) - day_began(now) == DAY


class Counter:
    """A quota in memory; a ledger; a clock."""

    def __init__(self) -> None:
        self.now, self.sent, self.asked, self.is_gone = NOON, 0, 0, False
        self.alive = 0
        self.used: dict[tuple[str, float], int] = {}

    async def take(self, name: str, day: float, ceiling: int, wanted: int) -> int | None:
        if self.is_gone:
            raise OSError("nobody can count")
        if (name, day) not in self.used:
            return None
        given = max(0, min(wanted, ceiling - self.used[name, day]))
        self.used[name, day] += given
        return given

    async def begin(self, name: str, day: float, used: int) -> None:
        self.used.setdefault((name, day), used)

    async def sent_since(self, moment: float) -> int:
        self.asked += 1
        assert moment == day_began(self.now)
        return self.sent

    async def workers(self) -> int:
        return self.alive

    def worker(self) -> WarmUp:
        self.alive += 1
        return WarmUp({"relay": RAMP}, self, self, lambda: self.now)


async def send(worker: WarmUp, counter: Counter, wanted: int) -> int:
    """Sends until it is told to rest; gives how many went."""
    for number in range(wanted):
        if await worker.one("relay") is not None:
            return number
        counter.sent += 1
    return wanted


async def test_workers_share_a_day() -> None:
    """Two workers together send no more than the day's ceiling, and then rest until the next day begins."""
    counter = Counter()
    a, b = counter.worker(), counter.worker()
    assert await send(a, counter, 60) + await send(b, counter, 60) + await send(a, counter, 60) == 100
    rest = await a.one("relay")
    assert isinstance(rest, Rest)
    assert rest.seconds == 12 * 3600
    counter.now, counter.sent = counter.now + DAY, 0
    assert await send(a, counter, 1000) == 150


async def test_count_is_lost() -> None:
    """When the count is lost, it begins with what the ledger says was sent today, and what may be under way."""
    counter = Counter()
    worker = counter.worker()
    assert await send(worker, counter, 50) == 50
    counter.used.clear()
    assert await send(worker, counter, 1000) == pytest.approx(50, abs=3 + CONNECTIONS)
    assert counter.asked == 2


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30), st.booleans()), max_size=40))
async def test_never_over_the_ceiling(moves: list[tuple[int, int, bool]]) -> None:
    """Whoever sends how many in whichever order, and however often the count is lost once the first message of the day
    has gone: no more than the day's ceiling go."""
    counter = Counter()
    workers = [counter.worker() for _ in range(3)]
    for which, wanted, is_lost in moves:
        await send(workers[which], counter, wanted)
        if is_lost:
            counter.used.clear()
    for worker in workers:
        await send(worker, counter, 1000)
    assert counter.sent <= 100


async def test_store_cannot_be_asked() -> None:
    """While the ledger can't be asked for what was sent, the relay rests for a while."""

    class Locked(Counter):
        async def sent_since(self, moment: float) -> int:
            raise StoreUnavailable("the database is locked")

    rest = await Locked().worker().one("relay")
    assert rest is not None
    assert (rest.seconds < 60, rest.why) == (True, "the database is locked")


async def test_nobody_can_count() -> None:
    """While nobody can count, what is left of a block goes, and then the relay rests for a while."""
    counter = Counter()
    worker = counter.worker()
    assert await send(worker, counter, 1) == 1
    counter.is_gone = True
    assert await send(worker, counter, 100) < 5
    rest = await worker.one("relay")
    assert rest is not None
    assert rest.seconds < 60


async def test_not_warmed_up() -> None:
    """A relay without warm-up isn't counted."""
    counter = Counter()
    assert await counter.worker().one("other") is None
    assert counter.used == {}

"""Destinations as several workers see them, over a shared memory that can be lost at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.delivery.condition import CALM, FIRST_PAUSE, RECOVERY, TRIAL, Signal
from mailer.service.destinations import AHEAD, SURELY, Destinations, Limit
from mailer.service.reconcile import EVERY
from mailer.service.sharing import Demand
from tests.servers.sharing import MemorySharing, SharedMemory


class World:
    """A clock, what is shared, and a pace that writes down what was asked of it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.memory = SharedMemory(self.clock)
        self.asked: list[tuple[str, float]] = []

    def clock(self) -> float:
        return self.now

    async def take(self, name: str, per_second: float) -> float:
        self.asked.append((name, per_second))
        return 0.0

    def worker(self, size: int = 8, **limits: Limit) -> Destinations[str]:
        named = {name.replace("_", "."): limit for name, limit in limits.items()}
        return Destinations(named, MemorySharing(self.memory), self, size=size, clock=self.clock)


@pytest.fixture
def world() -> World:
    return World()


async def begun(worker: Destinations[str], rounds: int = 20) -> list[tuple[str, float]]:
    """All that may go now: destinations and times."""
    found = []
    for _ in range(rounds):
        await asyncio.sleep(0)
        while (one := worker.next()) is not None:
            found.append((one[0], one[2]))
    return found


async def send(worker: Destinations[str], name: str, signal: Signal = Signal.ACCEPTED) -> bool:
    """One message to a destination, answered at once; False when it may not go now."""
    worker.put(name, name)
    found = await begun(worker, 6)
    worker.take_out_all()
    for destination, started in found:
        worker.end(destination, started, signal, "550 5.7.1 no")
    return bool(found)


async def tick(world: World, *workers: Destinations[str], seconds: float = 1.0) -> None:
    """A second passes, and each worker has exchanged what it knows with the others."""
    world.now += seconds
    for worker in (*workers, *workers):
        await worker.tick()


async def test_no_limit(world: World) -> None:
    """A destination without limit and trouble isn't named, and asks no pace."""
    worker = world.worker()
    await worker.tick()
    for _ in range(20):
        worker.put("a.example", "x")
    assert len(await begun(worker)) == 6  # it hasn't shown to be quick
    assert worker.room() == {}
    assert world.asked == []


class Relays:
    """Relays of which ``count`` connections can be used, whatever is configured."""

    def __init__(self, count: int) -> None:
        self.count = count

    def demands(self) -> list[Demand]:
        return [Demand("relay", 8, 0, True)]

    def allow(self, connections: Mapping[str, int]) -> None:
        assert connections["relay"]

    def usable(self) -> int:
        return self.count


@pytest.mark.parametrize("is_gone", [False, True])
async def test_parts_of_what_can_be_used(world: World, is_gone: bool) -> None:
    """A destination's part is one of the connections that can be used just now, with Redis and without."""
    world.memory.is_gone = is_gone
    sharing = MemorySharing(world.memory)
    worker: Destinations[str] = Destinations({}, sharing, world, size=8, clock=world.clock, relays=Relays(4))
    worker.attach(lambda: None, lambda items: None)
    await tick(world, worker)
    for _ in range(20):
        worker.put("tarpit.example", "x")
    assert len(await begun(worker)) == 2


async def test_configured_rate(world: World) -> None:
    """Each message to a destination with a rate takes its turn; no more are claimed than go in the next seconds."""
    worker, other = world.worker(a_example=Limit(rate=2.0)), world.worker(a_example=Limit(rate=2.0))
    await tick(world, worker, other)
    assert worker.room() == {"a.example": 2 * AHEAD / 2}
    assert await send(worker, "a.example")
    assert world.asked == [("to a.example", 2.0)]


async def test_enough_between_two_rounds(world: World) -> None:
    """What is claimed for a destination with a rate lasts until the reconciler has come round again."""
    worker = world.worker(a_example=Limit(rate=2.0))
    await tick(world, worker)
    for _ in range(worker.room()["a.example"]):
        worker.put("a.example", "x")
    for sent in range(100):
        if sent % round(2 * EVERY) == 1:
            for _ in range(worker.room()["a.example"]):
                worker.put("a.example", "x")
        found = None
        for _ in range(20):
            await asyncio.sleep(0)
            if (found := worker.next()) is not None:
                break
        assert found is not None
        assert worker.next() is None
        worker.end(found[0], found[2], Signal.ACCEPTED)
    worker.take_out_all()
    await worker.close()


async def test_no_ticket_too_many(world: World) -> None:
    """A turn of the pace is taken only when the message before has gone."""
    worker = world.worker(a_example=Limit(rate=2.0))
    await tick(world, worker)
    for _ in range(5):
        worker.put("a.example", "x")
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(world.asked) == 1
    assert len(await begun(worker)) == 5
    await worker.close()


async def test_configured_connections(world: World) -> None:
    """Two workers together have no more messages under way than the limit; what waits gets the place that is left."""
    workers = [world.worker(a_example=Limit(connections=3)) for _ in range(2)]
    await tick(world, *workers)
    for worker in workers:
        for _ in range(4):
            worker.put("a.example", "x")
    under_way: list[list[float]] = [[], []]
    for _ in range(6):
        await tick(world, *workers, seconds=0.3)
        for worker, times in zip(workers, under_way, strict=True):
            times += [started for _, started in await begun(worker)]
    assert sorted(map(len, under_way)) == [1, 2]
    assert {worker.room()["a.example"] for worker in workers} == {0}
    for worker, times in zip(workers, under_way, strict=True):
        while times:
            worker.end("a.example", times.pop(), Signal.ACCEPTED)
    for _ in range(6):
        await tick(world, *workers, seconds=0.1)
        for worker, times in zip(workers, under_way, strict=True):
            times += [started for _, started in await begun(worker)]
    assert sum(map(len, under_way)) == 3


async def test_throttle_is_shared(world: World) -> None:
    """A 4.7.x that one worker hears halves the pace of all, from what all together reached."""
    a, b = world.worker(), world.worker()
    for _ in range(10):
        for worker in (a, b):
            for _ in range(20):
                assert await send(worker, "a.example")
        await tick(world, a, b)
    await send(a, "a.example", Signal.SLOWER)
    await tick(world, a, b)
    assert b.conditions["a.example"].rate == pytest.approx(20, rel=0.2)
    assert await send(b, "a.example")
    assert world.asked[-1] == ("to a.example", b.conditions["a.example"].rate)


async def test_throttle_acts_at_once(world: World) -> None:
    """The worker that hears it doesn't wait for the exchange."""
    worker = world.worker()
    await send(worker, "a.example", Signal.SLOWER)
    assert worker.room()["a.example"] > 0
    assert await send(worker, "a.example")
    assert world.asked == [("to a.example", SURELY / 2)]


async def test_success_restores(world: World) -> None:
    """With success the throttle is gone after the recovery time, for all workers, and no faster for their number."""
    workers = [world.worker() for _ in range(3)]
    await send(workers[0], "a.example", Signal.SLOWER)
    seconds = 0
    while any("a.example" in worker.conditions for worker in workers) or not seconds:
        for worker in workers:
            await send(worker, "a.example")
        await tick(world, *workers)
        seconds += 1
        assert seconds < 2 * RECOVERY
    assert seconds == pytest.approx(RECOVERY / 2, rel=0.1)
    assert world.memory.conditions == {}


async def test_breaker_is_shared(world: World) -> None:
    """A refusal that is our fault stops the destination for all workers, and only that one."""
    a, b = world.worker(), world.worker()
    await send(a, "a.example", Signal.REFUSED)
    await tick(world, a, b)
    for worker in (a, b):
        assert worker.closed() == {"a.example"}
        assert worker.room() == {"a.example": 0}
        assert not await send(worker, "a.example")
        assert await send(worker, "b.example")


async def test_one_is_let_through(world: World) -> None:
    """When the pause is over, one message of all workers is let through; its success opens the way for all."""
    a, b = world.worker(), world.worker()
    await send(a, "a.example", Signal.REFUSED)
    await tick(world, a, b)
    await tick(world, a, b, seconds=FIRST_PAUSE)
    assert a.room() == b.room() == {"a.example": 1}
    b.put("a.example", "x")
    b.put("a.example", "y")
    [(_, started)] = await begun(b)
    assert [await send(a, "a.example"), await send(b, "a.example")] == [False, False]
    b.end("a.example", started, Signal.ACCEPTED)
    await tick(world, a, b)
    assert a.closed() == b.closed() == frozenset()
    assert await send(a, "a.example")
    assert a.conditions["a.example"].rate > 0


async def test_only_one_asks(world: World) -> None:
    """A worker that was too late for a half-open breaker claims nothing more for it until it has heard of the trial."""
    a, b = world.worker(), world.worker()
    await send(a, "a.example", Signal.REFUSED)
    await tick(world, a, b)
    await tick(world, a, b, seconds=FIRST_PAUSE)
    b.put("a.example", "x")
    [_] = await begun(b)
    assert a.room() == {"a.example": 1}
    assert not await send(a, "a.example")
    assert a.room() == {"a.example": 0}


async def test_refused_again(world: World) -> None:
    """The one that was let through is refused: the pause doubles, for all."""
    a, b = world.worker(), world.worker()
    await send(a, "a.example", Signal.REFUSED)
    await tick(world, a, b)
    await tick(world, a, b, seconds=FIRST_PAUSE)
    assert await send(b, "a.example", Signal.REFUSED)
    await tick(world, a, b)
    assert a.conditions["a.example"].pause == 2 * FIRST_PAUSE


async def test_trial_is_given_up(world: World) -> None:
    """The message that was to be let through is taken out before it has gone: another may try."""
    worker = world.worker()
    await send(worker, "a.example", Signal.REFUSED)
    await tick(world, worker)
    await tick(world, worker, seconds=FIRST_PAUSE)
    worker.put("a.example", "x")
    for _ in range(5):
        await asyncio.sleep(0)
    assert worker.take_out_all() == ["x"]
    assert await begun(worker) == []
    await tick(world, worker, seconds=TRIAL)
    assert worker.room() == {"a.example": 1}
    assert await send(worker, "a.example")


async def test_what_waits_is_given_back(world: World) -> None:
    """When a breaker opens, what waits for its destination is given back at once; the others go on."""
    worker, back = world.worker(), list[str]()
    worker.attach(lambda: None, back.extend)
    for number in range(3):
        worker.put("a.example", f"a{number}")
        worker.put("b.example", f"b{number}")
    first = worker.next()
    assert first is not None
    worker.end("a.example", first[2], Signal.REFUSED)
    assert {name for name, _ in await begun(worker)} == {"b.example"}
    assert sorted(back) == ["a1", "a2"]


async def test_heard_while_it_is_told(world: World) -> None:
    """A refusal that comes while a worker tells what it heard before, and is told that somebody was faster, isn't
    forgotten."""
    a, b = world.worker(), world.worker()
    await send(a, "a.example", Signal.SLOWER)
    await tick(world, a, b)
    world.now += CALM
    await send(a, "a.example")
    a.put("a.example", "x")
    [(_, started)] = await begun(a)

    async def late(sharing: MemorySharing, *args: Any) -> bool:
        a.end("a.example", started, Signal.REFUSED, "550 5.7.1 no")
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemorySharing, "change", late)
        await a.tick()
    await tick(world, a, b)
    assert a.closed() == b.closed() == {"a.example"}


async def test_everything_is_lost(world: World) -> None:
    """When what was shared is lost, an open breaker stays open, and is known to the others again."""
    a, b = world.worker(), world.worker()
    await send(a, "a.example", Signal.REFUSED)
    await tick(world, a, b)
    world.memory.flush()
    await tick(world, a)
    assert a.closed() == {"a.example"}
    c = world.worker()
    await tick(world, c)
    assert c.closed() == {"a.example"}


async def test_nothing_can_be_shared(world: World) -> None:
    """Without anything shared a worker acts on what it hears, and tells it when it can."""
    a, b = world.worker(), world.worker()
    await tick(world, a, b)
    world.memory.is_gone = True
    await send(a, "a.example", Signal.REFUSED)
    await tick(world, a, b)
    assert (a.closed(), b.closed()) == ({"a.example"}, frozenset())
    await tick(world, a, seconds=FIRST_PAUSE)
    assert await send(a, "a.example", Signal.REFUSED)
    await tick(world, a)
    world.memory.is_gone = False
    await tick(world, a, b)
    assert b.closed() == {"a.example"}


async def test_operator_takes_over(world: World) -> None:
    """A breaker that an operator closed is closed for every worker a tick later."""
    a, b = world.worker(), world.worker()
    await send(a, "a.example", Signal.REFUSED)
    await tick(world, a, b)
    assert "a.example refuses our mail: 550 5.7.1 no" in b.trouble()
    world.memory.conditions.clear()
    await tick(world, a, b)
    assert a.closed() == b.closed() == frozenset()
    assert b.trouble() == ""
    assert await send(a, "a.example")


async def test_tarpit(world: World) -> None:
    """A destination that holds what it gets leaves connections to the others, and no more is claimed for it."""
    worker, sent = world.worker(), 0
    back: list[str] = []
    worker.attach(lambda: None, back.extend)
    held: list[tuple[str, float]] = []
    for number in range(200):
        worker.put("slow.example" if number % 3 else f"{number % 7}.example", "x")
        for name, started in await begun(worker):
            if name == "slow.example":
                held.append((name, started))
            else:
                worker.end(name, started, Signal.ACCEPTED)
                sent += 1
        world.now += 0.1
    assert sent == 67
    await tick(world, worker)
    assert len(held) == 2
    assert worker.room() == {"slow.example": 0}
    assert len(back) == 133 - len(held)


steps = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["a.example", "b.example"]),
        st.sampled_from([*Signal, "tick", "tick", "tick", "flush", "gone", "back", "hour"]),
    ),
    max_size=30,
)


@settings(max_examples=30)
@given(steps)
async def test_any_history(history: list[tuple[int, str, Signal | str]]) -> None:
    """Whatever is heard, lost and found: no worker ever sends to a destination it knows to be closed, and after hours
    of success nothing is left of any trouble."""
    world = World()
    workers = [world.worker(a_example=Limit(rate=5.0, connections=2)) for _ in range(2)]
    special: dict[str, Callable[[], None]] = {
        "flush": world.memory.flush,
        "gone": lambda: setattr(world.memory, "is_gone", True),
        "back": lambda: setattr(world.memory, "is_gone", False),
        "hour": lambda: setattr(world, "now", world.now + 3600),
    }
    for number, name, step in history:
        worker = workers[number]
        if isinstance(step, Signal):
            was_closed = name in worker.closed()
            assert not (await send(worker, name, step) and was_closed)
        elif step == "tick":
            await tick(world, worker)
        else:
            special[step]()
        assert all(room >= 0 for room in worker.room().values())
    world.memory.is_gone = False
    for seconds in [3600.0] * 4 + [CALM] * 30:
        for worker in workers:
            worker.put("a.example", "x")
            worker.put("b.example", "x")
        await tick(world, *workers, seconds=seconds)
        for worker in workers:
            for name, started in await begun(worker, 6):
                worker.end(name, started, Signal.ACCEPTED)
            worker.take_out_all()
    await tick(world, *workers)
    assert [dict(worker.conditions) for worker in workers] == [{}, {}]

"""What workers share about destinations and connections: the same cases in memory and in Redis."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailer.delivery.condition import Condition
from mailer.queue.destinations import connect_destinations
from mailer.service.sharing import Demand, Shared, Sharing
from tests.servers.sharing import MemorySharing, SharedMemory

pytest_plugins = ("tests.servers.redis",)

SLOW = Condition(rate=1.5, usual=3.0, slowed_at=12.25, counted_at=12.25)
OPEN = Condition(pause=60.0, open_until=1e9, why="550 5.7.1 nö, „nein“")


@pytest.fixture(params=["memory", "redis"])
async def workers(request: pytest.FixtureRequest) -> AsyncIterator[list[Sharing]]:
    """Three workers' access."""
    if request.param == "memory":
        memory = SharedMemory(time.time)
        yield [MemorySharing(memory) for _ in range(3)]
        return
    url = request.getfixturevalue("redis_url")
    shared = [connect_destinations(url) for _ in range(3)]
    yield list(shared)
    for one in shared:
        await one.close()


async def told(worker: Sharing, *demands: Demand) -> Shared:
    shared = await worker.exchange(demands)
    assert shared is not None
    return shared


async def test_nothing_yet(workers: list[Sharing]) -> None:
    """In the beginning nothing is wrong anywhere, and the clock goes right."""
    shared = await told(workers[0])
    assert (shared.workers, shared.conditions, shared.connections) == (1, {}, {})
    assert shared.now == pytest.approx(time.time(), abs=5)


async def test_workers_are_counted(workers: list[Sharing]) -> None:
    """Each worker counts once, however often it asks."""
    for worker in (*workers, *workers):
        shared = await told(worker)
    assert shared.workers == 3


async def test_worker_that_leaves(workers: list[Sharing]) -> None:
    """What a worker had is free at once when it leaves: the one that is started in its place needn't wait."""
    demand = Demand("relay", 4, using=4, wanted=True)
    assert (await told(workers[0], demand)).connections == {"relay": 4}
    assert (await told(workers[1], Demand("relay", 4, using=0, wanted=True))).connections == {"relay": 0}
    await workers[0].close()
    shared = await told(workers[1], Demand("relay", 4, using=0, wanted=True))
    assert (shared.connections, shared.workers) == ({"relay": 4}, 1)


async def test_conditions_are_shared(workers: list[Sharing]) -> None:
    """A condition that one worker sets is what all see, to the last digit."""
    assert await workers[0].change("a.example", None, SLOW)
    assert await workers[1].change("b.example", None, OPEN)
    assert (await told(workers[2])).conditions == {"a.example": SLOW, "b.example": OPEN}


async def test_only_one_changes_a_value(workers: list[Sharing]) -> None:
    """Of two changes made from the same value only the first is done."""
    assert await workers[0].change("a.example", None, SLOW)
    assert not await workers[1].change("a.example", None, OPEN)
    assert await workers[1].change("a.example", SLOW, OPEN)
    assert not await workers[0].change("a.example", SLOW, None)
    assert await workers[0].change("a.example", OPEN, None)
    assert (await told(workers[0])).conditions == {}


async def test_connections_are_divided(workers: list[Sharing]) -> None:
    """A worker that is alone gets nearly all; when another wants some, each gets its part as they become free."""
    a, b, _ = workers
    assert (await told(a, Demand("r", 8, 0, True))).connections == {"r": 8}
    assert (await told(b, Demand("r", 8, 0, True))).connections == {"r": 0}
    assert (await told(a, Demand("r", 8, 8, True))).connections == {"r": 4}
    assert (await told(b, Demand("r", 8, 0, True))).connections == {"r": 0}
    assert (await told(a, Demand("r", 8, 5, True))).connections == {"r": 4}
    assert (await told(b, Demand("r", 8, 0, True))).connections == {"r": 3}
    assert (await told(a, Demand("r", 8, 4, True))).connections == {"r": 4}
    assert (await told(b, Demand("r", 8, 3, True))).connections == {"r": 4}


async def test_one_to_begin_with(workers: list[Sharing]) -> None:
    """Where there are plenty, a worker that wants nothing keeps one, so that it can begin at once."""
    a, b, c = workers
    for worker in (a, b):
        assert (await told(worker, Demand("r", 8, 0, False))).connections == {"r": 1}
    assert (await told(c, Demand("r", 8, 0, True))).connections == {"r": 6}


async def test_demands_are_apart(workers: list[Sharing]) -> None:
    """Each name has connections of its own."""
    await told(workers[0], Demand("r", 8, 8, True))
    shared = await told(workers[1], Demand("r", 8, 0, True), Demand("s", 2, 0, True))
    assert shared.connections == {"r": 0, "s": 2}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.integers(1, 9),
    steps=st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 9)), min_size=1, max_size=30),
    name=st.uuids(),
)
async def test_never_more_than_the_limit(
    workers: list[Sharing], limit: int, steps: list[tuple[int, bool, int]], name: object
) -> None:
    """Whoever asks when, wanting some or none, opening as many as allowed and closing any number: never are more open
    than the limit, and in the end all can be used."""
    using = [0, 0, 0]
    for who, wanted, closed in steps:
        using[who] = max(0, using[who] - closed)
        allowed = (await told(workers[who], Demand(f"{name}", limit, using[who], wanted))).connections[f"{name}"]
        if wanted:
            using[who] = max(using[who], allowed)
        assert sum(using) <= limit
    for who in (0, 1, 2, 0, 1, 2):  # the others want nothing any more
        shared = await told(workers[who], Demand(f"{name}", limit, 0, who == 2))
    assert limit - (0 if limit < 6 else 2) <= shared.connections[f"{name}"] <= limit

"""The pool keeps relays' rates and warm-ups, and nobody waits for a slow relay while another is free."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime

import pytest

from mailer.errors import RelayError
from mailer.model.settings import Relay
from mailer.service.relay_pace import RelayPace
from mailer.service.sharing import Alone
from mailer.service.warm_up import Ramp, WarmUp
from mailer.smtp import pool as pool_module
from mailer.smtp.connect import place
from mailer.smtp.connection import Timeouts
from mailer.smtp.pool import RelayPool
from mailer.wire.envelope import Envelope
from tests.servers.smtp import SmtpServer

pytest_plugins = ("tests.servers.quiet",)
pytestmark = pytest.mark.usefixtures("quiet_loop")

SHORT = Timeouts(connect=1, mail=1, rcpt=1, data=1, block=1, dot=1, quit=0.3)
MAIL = Envelope("a@example.com", "b@example.org", b"Subject: x\r\n\r\nx\r\n")
HOUR = 1 / 3600
"""One message an hour: the first at once, the second never, as far as a test goes."""


def relay(server: SmtpServer, name: str = "", **settings: float | str) -> Relay:
    return Relay(host="127.0.0.1", name=name, port=server.port, security="none", **settings)  # type: ignore[arg-type]


class Places:
    """A pace of one process that counts what was asked of it."""

    def __init__(self) -> None:
        self.taken, self._alone = Counter[str](), Alone(time.monotonic)

    async def take(self, name: str, per_second: float) -> float:
        self.taken[name] += 1
        await asyncio.sleep(0)  # as where another process is asked
        return await self._alone.take(name, per_second)


class Day:
    """A quota with so many messages left."""

    def __init__(self, left: int) -> None:
        self.left = left

    async def take(self, name: str, day: float, ceiling: int, wanted: int) -> int:
        given = min(wanted, self.left)
        self.left -= given
        return given

    async def begin(self, name: str, day: float, used: int) -> None:
        raise AssertionError("there is a count")

    async def sent_since(self, moment: float) -> int:
        raise AssertionError("there is a count")

    async def workers(self) -> int:
        raise AssertionError("there is a count")

    def warm_up(self, relay: Relay) -> WarmUp:
        ramps = {place(relay): Ramp(first=self.left, growth=1.0, since=date(2030, 1, 1), connections=8)}
        return WarmUp(ramps, self, self, lambda: datetime(2030, 1, 2, 18, tzinfo=UTC).timestamp())


@asynccontextmanager
async def paced(
    *relays: Relay, rates: Mapping[str, float], places: Places | None = None, warm_up: WarmUp | None = None
) -> AsyncIterator[RelayPool]:
    """A pool of relays with rates by name."""
    by_place = {place(relay): rates[relay.name] for relay in relays if relay.name in rates}
    pool = RelayPool(relays, SHORT, pace=RelayPace(places or Places(), by_place, warm_up))
    try:
        yield pool
    finally:
        await asyncio.wait_for(pool.close(), 5)


async def send(pool: RelayPool) -> None:
    async with pool.connection() as connection:
        assert await connection.offer(MAIL) is None
        await connection.dot()


async def send_all(pool: RelayPool, count: int, couriers: int) -> None:
    """As the deliverer does: so many couriers, each with one message after the other."""
    left = iter(range(count))

    async def carry() -> None:
        for _ in left:
            await send(pool)

    await asyncio.gather(*(carry() for _ in range(couriers)))


async def test_slow_relay_stalls_nobody() -> None:
    """Of two relays the slow one gets what its rate allows and the quick one all the rest, though there are more
    couriers than the quick one has connections."""
    async with SmtpServer() as one, SmtpServer() as two:
        slow, quick = relay(one, "slow", connections=8), relay(two, "quick", connections=4)
        async with paced(slow, quick, rates={"slow": HOUR}) as pool:
            await asyncio.wait_for(send_all(pool, 300, couriers=12), 20)
            assert (one.accepted, two.accepted) == (1, 299)


async def test_two_rates() -> None:
    """Two relays with rates each come close to theirs, and never exceed it."""
    async with SmtpServer() as one, SmtpServer() as two:
        slow, quick = relay(one, "slow", connections=8), relay(two, "quick", connections=4)
        async with paced(slow, quick, rates={"slow": 2.0, "quick": 50.0}) as pool:
            began = time.monotonic()
            await asyncio.wait_for(send_all(pool, 105, couriers=12), 60)
            took = time.monotonic() - began
        assert took >= 1.9  # 104 intervals of 1/52 s, with the first of each at once
        assert one.accepted <= 1 + 2 * took
        assert two.accepted <= 1 + 50 * took
        assert two.accepted >= 10 * one.accepted


async def test_weights_with_rates() -> None:
    """Relays whose rates aren't reached get their parts by weight, one after the other and many at once."""
    async with SmtpServer() as one, SmtpServer() as two:
        first, second = relay(one, "first", weight=3), relay(two, "second", weight=1)
        async with paced(first, second, rates={"first": 10_000.0}) as pool:
            for _ in range(20):
                await send(pool)
            assert (one.accepted, two.accepted) == (15, 5)
            await send_all(pool, 40, couriers=4)
            assert one.accepted == pytest.approx(45, abs=3)


async def test_slow_relay_is_no_dead_relay() -> None:
    """While a relay of the better priority only waits for its next message, the other priority isn't used."""
    async with (
        SmtpServer() as one,
        SmtpServer() as two,
        paced(relay(one, "slow"), relay(two, "backup", priority=1), rates={"slow": HOUR}) as pool,
    ):
        await send(pool)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(send(pool), 0.1)
        assert (one.accepted, two.accepted) == (1, 0)


async def test_backup_of_a_slow_relay() -> None:
    """When a relay with a rate can't be reached, the next priority takes over at once."""
    async with (
        SmtpServer(max_connections=0) as one,
        SmtpServer() as two,
        paced(relay(one, "slow"), relay(two, "backup", priority=1), rates={"slow": HOUR}) as pool,
    ):
        await asyncio.wait_for(send_all(pool, 10, couriers=3), 10)
        assert (one.accepted, two.accepted) == (0, 10)


async def test_one_message_one_place() -> None:
    """Each message takes one place in its relay's line, and one that isn't sent takes none."""
    places = Places()
    async with SmtpServer() as server, paced(relay(server, "ses"), rates={"ses": 10_000.0}, places=places) as pool:
        for _ in range(5):
            async with pool.connection():
                pass  # nothing to carry
            await send(pool)
        assert server.accepted == 5
        assert sum(places.taken.values()) <= 6


async def test_old_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that nobody used for long is let go, so that it can't be used together with the next."""
    monkeypatch.setattr(pool_module, "UNUSED", 0.05)
    places, day = Places(), Day(left=10)
    async with SmtpServer() as server:
        ses = relay(server, "ses")
        warm_up = day.warm_up(ses)
        async with paced(ses, rates={"ses": 10_000.0}, places=places, warm_up=warm_up) as pool:
            async with pool.connection():
                pass
            await asyncio.sleep(0.1)
            await send(pool)
            assert sum(places.taken.values()) == 2
            for _ in range(9):
                await send(pool)
            with pytest.raises(RelayError, match="no more than 10 messages today"):
                await send(pool)


async def test_reach_takes_no_place() -> None:
    """Finding out whether a relay can be reached takes no place in line, and waits for none."""
    places = Places()
    async with SmtpServer() as server, paced(relay(server, "ses"), rates={"ses": HOUR}, places=places) as pool:
        await pool.reach()
        assert not places.taken
        await send(pool)
        waiting = asyncio.create_task(send(pool))
        await asyncio.sleep(0)
        await asyncio.wait_for(pool.reach(), 5)
        waiting.cancel()
        assert server.accepted == 1


async def test_warm_up() -> None:
    """A relay that has had its messages of the day rests until the next; what isn't sent isn't counted."""
    places, day = Places(), Day(left=2)
    async with SmtpServer() as server:
        ses = relay(server, "ses")
        async with paced(ses, rates={"ses": 10_000.0}, places=places, warm_up=day.warm_up(ses)) as pool:
            for _ in range(2):
                async with pool.connection():
                    pass
                await send(pool)
            with pytest.raises(RelayError, match="no more than 2 messages today"):
                await send(pool)
            assert server.accepted == 2


async def test_backup_of_a_relay_that_is_warmed_up() -> None:
    """What a relay may not have today goes to the next priority."""
    day = Day(left=3)
    async with SmtpServer() as one, SmtpServer() as two:
        new = relay(one, "new")
        async with paced(new, relay(two, "old", priority=1), rates={}, warm_up=day.warm_up(new)) as pool:
            await asyncio.wait_for(send_all(pool, 10, couriers=3), 10)
            assert (one.accepted, two.accepted) == (3, 7)


async def test_nobody_can_tell(caplog: pytest.LogCaptureFixture) -> None:
    """A defect where the pace is asked for sends the relay to rest, with the reason; nobody waits for ever."""

    class Broken(Places):
        async def take(self, name: str, per_second: float) -> float:
            raise ZeroDivisionError

    async with SmtpServer() as server, paced(relay(server, "ses"), rates={"ses": 1.0}, places=Broken()) as pool:
        with pytest.raises(RelayError, match="nobody can tell"):
            await send(pool)
        assert "ZeroDivisionError" in caplog.text


async def test_two_accounts_at_one_provider() -> None:
    """Two relays with one host and port are two: each has its own rate, warm-up and connections."""
    async with SmtpServer() as server:
        one, two = relay(server, "one", connections=2), relay(server, "two", connections=3)
        async with paced(one, two, rates={"one": HOUR}) as pool:
            await asyncio.wait_for(send_all(pool, 20, couriers=5), 10)
            assert server.accepted == 20
            assert {demand.name: demand.limit for demand in pool.demands()} == {place(one): 2, place(two): 3}

"""Rates of relays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from mailer.errors import RelayError
from mailer.model.ledger import Reply
from mailer.model.settings import Relay
from mailer.service.ports import Refused
from mailer.service.warm_up import Ramp, WarmUp
from mailer.smtp.capture import Capture
from mailer.smtp.connect import place
from mailer.smtp.pool import RelayPool
from mailer.wire.envelope import Envelope
from workers.paced import PacedRelays

MAIL = Envelope("a@example.com", "b@example.com", b"Subject: x\r\n\r\nx\r\n")


class Line:
    """A connection, a pool of it, and a pace, that write down what is asked of them."""

    def __init__(self, where: str, wait: float = 0.0) -> None:
        self.where, self.wait, self.lent, self.offered = where, wait, 0, 0
        self.calls: list[object] = []

    async def offer(self, envelope: Envelope) -> Refused | None:
        self.calls.append("offer")
        self.offered += 1
        return None

    def again(self) -> bool:
        return False

    async def dot(self) -> Reply:
        return Reply(250)

    def drop(self) -> None:
        self.calls.append("drop")

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Line]:
        self.lent += 1
        yield self

    async def reach(self) -> None:
        self.calls.append("reach")

    async def close(self) -> None:
        self.calls.append("close")

    async def take(self, name: str, per_second: float) -> float:
        self.calls.append((name, per_second))
        return self.wait


async def test_relay_with_a_rate() -> None:
    """Each message takes one place in the line of its relay before it gets a connection."""
    line = Line("ses")
    relays = PacedRelays(line, line, {"ses": 14.0})
    for _ in range(2):
        async with relays.connection() as connection:
            await connection.offer(MAIL)
    assert line.calls == [("ses", 14.0), "offer", ("ses", 14.0), "offer"]


async def test_long_wait() -> None:
    """Nobody holds a connection through a long wait; the place in line is paid once."""
    line = Line("ses", wait=0.1)
    relays = PacedRelays(line, line, {"ses": 14.0})
    async with relays.connection() as connection:
        await connection.offer(MAIL)
    assert line.calls == [("ses", 14.0), "offer"]
    assert line.lent == 2


class Day:
    """A quota with so many messages left, and a pool's rest that writes down what it is told."""

    def __init__(self, left: int) -> None:
        self.left, self.rests = left, list[tuple[str, float, str]]()

    async def take(self, name: str, day: float, ceiling: int, wanted: int) -> int:
        given = min(wanted, self.left)
        self.left -= given
        return given

    async def begin(self, name: str, day: float, used: int) -> None:
        raise AssertionError("there is a count")

    async def sent_since(self, moment: float) -> int:
        raise AssertionError("there is a count")

    def rest(self, where: str, seconds: float, why: str) -> None:
        self.rests.append((where, seconds, why))
        raise RelayError(why, where=where)  # as the pool does when there is no other relay


async def test_warm_up() -> None:
    """A relay that has had its messages of the day rests until the next; the one over it takes no turn of its rate."""
    line, day = Line("ses"), Day(left=2)
    ramps = {"ses": Ramp(first=2, growth=1.0, since=date(2030, 1, 1))}
    warm_up = WarmUp(ramps, day, day.sent_since, lambda: datetime(2030, 1, 2, 18, tzinfo=UTC).timestamp())
    relays = PacedRelays(line, line, {"ses": 14.0}, warm_up, day.rest)
    for _ in range(2):
        async with relays.connection() as connection:
            await connection.offer(MAIL)
    with pytest.raises(RelayError, match="no more than 2 messages today"):
        async with relays.connection():
            pass
    assert [(where, seconds) for where, seconds, _ in day.rests] == [("ses", 6 * 3600)]
    assert line.calls == [("ses", 14.0), "offer", ("ses", 14.0), "offer"]


async def test_warm_up_counts_messages() -> None:
    """A connection that is lent and carries nothing costs no message of the day."""
    line, day = Line("ses"), Day(left=1)
    ramps = {"ses": Ramp(first=1, growth=1.0, since=date(2030, 1, 1))}
    warm_up = WarmUp(ramps, day, day.sent_since, lambda: datetime(2030, 1, 2, 18, tzinfo=UTC).timestamp())
    relays = PacedRelays(line, line, {}, warm_up, day.rest)
    for _ in range(3):
        async with relays.connection():
            pass
    async with relays.connection() as connection:
        await connection.offer(MAIL)
    with pytest.raises(RelayError, match="no more than 1 messages today"):
        async with relays.connection():
            pass


async def test_reach() -> None:
    """Finding out whether a relay can be reached takes no place in line."""
    line = Line("ses")
    await PacedRelays(line, line, {"ses": 14.0}).reach()
    assert line.calls == ["reach"]


async def test_relay_without_a_rate() -> None:
    """A relay without a rate is asked at once."""
    line = Line("other")
    relays = PacedRelays(line, line, {"ses": 14.0})
    async with relays.connection() as connection:
        await connection.offer(MAIL)
    await relays.close()
    assert line.calls == ["offer", "close"]


async def test_relay_of_a_connection(tmp_path: Path) -> None:
    """A real connection is known to be its relay's, so that the rate in the settings meets the right messages."""
    async with Capture(tmp_path) as capture:
        relay = Relay(name="ses", host="127.0.0.1", port=capture.port, security="none")
        pool = RelayPool([relay])
        async with pool.connection() as connection:
            assert connection.where == place(relay)
        await pool.close()

"""What ``--at`` means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.cli.when import parse_when
from mailer.errors import SendError

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 18, 12, 0, tzinfo=BERLIN)  # a Wednesday

MEANS = {
    "2026-11-23 06:00": "2026-11-23T06:00+01:00",
    " 2026-11-23T06:00 ": "2026-11-23T06:00+01:00",
    "2026-11-23 06:00:30": "2026-11-23T06:00:30+01:00",
    "2026-11-23T06:00Z": "2026-11-23T06:00+00:00",
    "2026-11-23T06:00-05:00": "2026-11-23T06:00-05:00",
    "2027-07-01 06:00": "2027-07-01T06:00+02:00",
    "monday 06:00": "2026-11-23T06:00+01:00",
    "Mon, 06:00": "2026-11-23T06:00+01:00",
    "monday at 6:00": "2026-11-23T06:00+01:00",
    "wednesday 13:00": "2026-11-18T13:00+01:00",
    "wednesday 12:00": "2026-11-25T12:00+01:00",
    "tuesday 12:00": "2026-11-24T12:00+01:00",
    "today 12:01": "2026-11-18T12:01+01:00",
    "tomorrow 06:00": "2026-11-19T06:00+01:00",
    "13:00": "2026-11-18T13:00+01:00",
    "11:00": "2026-11-19T11:00+01:00",
    "12:00": "2026-11-19T12:00+01:00",
}


@pytest.mark.parametrize(("text", "moment"), MEANS.items())
def test_means(text: str, moment: str) -> None:
    """Each way to say a time means one moment, in the publication's timezone unless it brings an offset."""
    assert parse_when(text, NOW, "Europe/Berlin") == datetime.fromisoformat(moment)


WRONG = {
    "2026-11-18 11:59": "lies in the past",
    "today 11:00": "lies in the past",
    "2026-11-18T12:00+01:00": "lies in the past",
    "2026-11-23": "has no time of day",
    "montag 06:00": "'montag' is no weekday",
    "mo 06:00": "'mo' is no weekday",
    "25:00": "is no time",
    "monday 06:60": "is no time",
    "soon": "is no time",
    "": "is no time",
    "2027-03-28 02:30": "doesn't exist in Europe/Berlin",
    "2027-10-31 02:30": "comes twice in Europe/Berlin",
}


@pytest.mark.parametrize(("text", "reason"), WRONG.items())
def test_wrong(text: str, reason: str) -> None:
    """What is no moment to come is refused with the reason and something to write instead."""
    with pytest.raises(SendError, match=reason) as caught:
        parse_when(text, NOW, "Europe/Berlin")
    assert caught.value.todo


def test_twice_offers_both() -> None:
    """An hour that comes twice is offered with both offsets, and each of those is taken."""
    with pytest.raises(SendError) as caught:
        parse_when("2027-10-31 02:30", NOW, "Europe/Berlin")
    first, second = caught.value.todo.split('"')[1::2]
    gap = parse_when(second, NOW, "Europe/Berlin") - parse_when(first, NOW, "Europe/Berlin")
    assert gap == timedelta(hours=1)


def test_other_side_of_the_world() -> None:
    """'monday' is the publication's monday, not the server's."""
    now = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)  # already Monday 02:00 in Auckland
    assert parse_when("monday 06:00", now, "Pacific/Auckland") == datetime(2026, 11, 22, 17, 0, tzinfo=UTC)


@given(
    st.integers(0, 4 * 365 * 24 * 60).map(lambda minutes: NOW + timedelta(minutes=minutes)),
    st.integers(0, 6),
    st.integers(4, 23),
)
def test_next_weekday(now: datetime, day: int, hour: int) -> None:
    """'<weekday> HH:00' is always to come, on that weekday and hour, and at most a week (and a clock change) away."""
    name = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")[day]
    moment = parse_when(f"{name} {hour}:00", now, "Europe/Berlin")
    local = moment.astimezone(BERLIN)
    assert (local.weekday(), local.hour, local.minute) == (day, hour, 0)
    assert timedelta(0) < moment - now <= timedelta(days=7, hours=1)

"""What ``--at`` means: a moment, said the way people say it, in the publication's timezone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from mailer.errors import SendError, nearest

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_EXAMPLES = 'Write "2026-11-23 06:00", "monday 06:00", "06:00" or "2026-11-23T06:00+01:00".'
_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?"


def parse_when(text: str, now: datetime, timezone: str) -> datetime:
    """The moment a text means, as an aware datetime in UTC.

    ``2026-11-23 06:00``, ``monday 06:00`` (the next one), ``tomorrow 06:00``, ``06:00`` (the next one), or ISO 8601
    with an offset; without one it is local time in ``timezone``. ``now`` is aware. Raises ``SendError`` for what is no
    time, lies in the past, doesn't exist (the hour that summer time leaves out) or comes twice.
    """
    zone = ZoneInfo(timezone)
    here = now.astimezone(zone)
    words = " ".join(text.strip().lower().split())
    if found := re.fullmatch(_TIME, words):
        moment = _next(here, range(2), _clock(found, text), zone, text)
    elif found := re.fullmatch(rf"(?P<day>[a-z]+),? (?:at )?{_TIME}", words):
        moment = _next(here, _days_ahead(found["day"], here, text), _clock(found, text), zone, text)
    else:
        moment = _iso(text, zone)
    if moment <= now:
        local = moment.astimezone(zone)
        raise SendError(
            f"'{text}' lies in the past ({local:%Y-%m-%d %H:%M} {timezone}; it is {here:%Y-%m-%d %H:%M} there)",
            todo="Give a later time, or leave --at out to send now.",
        )
    return moment


def _clock(found: re.Match[str], text: str) -> time:
    try:
        return time(int(found["hour"]), int(found["minute"]), int(found["second"] or 0))
    except ValueError:
        raise _no_time(text) from None


def _days_ahead(word: str, here: datetime, text: str) -> range:
    """How many days ahead the day may lie: a weekday is today or a week from now when today's time has passed."""
    if word in ("today", "tomorrow"):
        ahead = int(word == "tomorrow")
        return range(ahead, ahead + 1)
    days = [index for index, day in enumerate(_DAYS) if len(word) >= 3 and day.startswith(word)]
    if not days:
        raise SendError(f"'{text}': '{word}' is no weekday", todo=nearest(word, (*_DAYS, "today", "tomorrow")))
    ahead = (days[0] - here.weekday()) % 7
    return range(ahead, ahead + 8, 7)


def _next(here: datetime, ahead: range, clock: time, zone: ZoneInfo, text: str) -> datetime:
    """The first of the days on which the time is yet to come; the last of them when there is none."""
    moments = (_local(datetime.combine(here.date() + timedelta(days=days), clock), zone, text) for days in ahead)
    last = here.astimezone(UTC)
    for last in moments:
        if last > here:
            break
    return last


def _iso(text: str, zone: ZoneInfo) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise _no_time(text) from None
    if not re.search(r"\d:\d|T\d", text):
        raise SendError(f"'{text}' has no time of day", todo=_EXAMPLES)
    return moment.astimezone(UTC) if moment.tzinfo else _local(moment, zone, text)


def _local(naive: datetime, zone: ZoneInfo, text: str) -> datetime:
    """A wall clock's time as a moment; PEP 495's ``fold`` tells which hours are missing or come twice."""
    first, second = (naive.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first.astimezone(UTC)
    if _exists(first, zone):
        earlier, later = first.isoformat(timespec="minutes"), second.isoformat(timespec="minutes")
        raise SendError(
            f"'{text}' comes twice in {zone.key}: clocks are put back then", todo=f'Write "{earlier}" or "{later}".'
        )
    raise SendError(
        f"'{text}' doesn't exist in {zone.key}: clocks are put forward then",
        todo=f'Write "{first.astimezone(UTC).astimezone(zone).isoformat(timespec="minutes")}", for one.',
    )


def _exists(moment: datetime, zone: tzinfo) -> bool:
    return moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == moment.replace(tzinfo=None)


def _no_time(text: str) -> SendError:
    return SendError(f"'{text}' is no time", todo=_EXAMPLES)

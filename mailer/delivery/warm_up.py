"""Warm-up of a relay whose address nobody knows yet: a ceiling for each day, which grows. What is over it waits.

Days are those of UTC: receivers count by their own days anyway.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

UNLIMITED = 10**9
"""A ceiling that is none."""


def ceiling(first: int, growth: float, since: date, now: float) -> int:
    """Messages of the day that ``now`` (Unix seconds) is in; none before the first."""
    days = (_day(now) - since).days
    if days < 0:
        return 0
    try:
        return min(int(first * growth**days), UNLIMITED)
    except OverflowError:
        return UNLIMITED


def day_began(now: float) -> float:
    """When that day began, in Unix seconds."""
    return datetime.combine(_day(now), datetime.min.time(), UTC).timestamp()


def day_ends(now: float) -> float:
    """When the next one begins."""
    return datetime.combine(_day(now) + timedelta(days=1), datetime.min.time(), UTC).timestamp()


def _day(now: float) -> date:
    return datetime.fromtimestamp(now, UTC).date()

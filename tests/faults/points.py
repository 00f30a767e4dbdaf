"""Every named failpoint, in one table: tests and the soak draw from it, and ``docs/guarantee.md`` shows it.

A transaction has two: ``before-commit`` is inside the open transaction, its statements executed; ``committed`` is after
the commit, before anybody was told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Occasion = Literal["start", "send", "leave", "ghost", "command"]


@dataclass(frozen=True, slots=True)
class Point:
    """``occasion``: when a process passes it. ``start``: a worker that starts; ``send``: one that delivers; ``leave``:
    one that was told to end in the middle; ``ghost``: one that finds a dead one's rows; ``command``: an operator's
    command. ``often``: how many times it is passed in a send to a few dozen, at least.
    """

    name: str
    occasion: Occasion
    often: int
    meaning: str


def _transaction(name: str, occasion: Occasion, often: int, meaning: str) -> tuple[Point, Point]:
    return (
        Point(f"{name}.before-commit", occasion, often, f"{meaning}, not committed"),
        Point(f"{name}.committed", occasion, often, f"{meaning}, committed, and nobody knows yet"),
    )


POINTS: tuple[Point, ...] = (
    *_transaction("register", "start", 1, "a new worker has entered itself"),
    *_transaction("beat", "start", 1, "the worker's heart has beaten"),
    Point("enqueue.begun", "start", 1, "unfinished batches were found; Redis hasn't heard of them"),
    Point("enqueue.done", "start", 1, "unfinished batches are in Redis"),
    *_transaction("claim", "send", 1, "rows were claimed"),
    Point("mail.written", "send", 20, "MAIL, RCPT and DATA are out"),
    Point("body.begun", "send", 20, "half of a message's body is out"),
    Point("body.out", "send", 20, "all of a message is out but its dot"),
    *_transaction("dot", "send", 5, "the compare-and-set has granted dots"),
    Point("dot.written", "send", 20, "a dot is out, its reply wasn't read"),
    Point("reply.read", "send", 20, "the reply to a dot was read, its outcome isn't written"),
    *_transaction("outcome", "send", 5, "outcomes were written"),
    *_transaction("finish", "send", 1, "the send was set to finished"),
    *_transaction("release", "leave", 1, "claims were given back"),
    *_transaction("retire", "leave", 1, "the worker has signed off"),
    *_transaction("reap", "ghost", 3, "a dead worker was suspected (1st), buried (2nd), its rows freed (3rd)"),
    *_transaction("create", "command", 1, "a send and its ledger were written"),
    *_transaction("pause", "command", 1, "a send was paused"),
    *_transaction("resume", "command", 1, "a send was resumed"),
    *_transaction("cancel", "command", 1, "a send was cancelled"),
    *_transaction("resolve", "command", 1, "those in doubt were settled"),
    *_transaction("suppress", "command", 2, "an address was suppressed (1st), its rows skipped (2nd)"),
)

BY_NAME = {point.name: point for point in POINTS}


def names(*occasions: Occasion) -> list[str]:
    """The points that are passed on these occasions."""
    return [point.name for point in POINTS if point.occasion in occasions]

"""What a process does when it passes a named point: nothing, unless it was armed there.

    arm([Arm("dot.committed", 3)], Path("points.log"))

makes the process kill itself with SIGKILL at the third passage. What it did is written to the log before it does it:
one line, ``<what> <point> <pid>``.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.faults.points import BY_NAME


@dataclass(frozen=True, slots=True)
class Arm:
    """What is to happen at the ``nth`` passage of a point: the process kills itself, is stopped until somebody
    continues it, or the thread waits for ``seconds``."""

    point: str
    nth: int = 1
    does: Literal["kill", "stop", "hold"] = "kill"
    seconds: float = 0.0


class _Process:
    """The arms of this process, and how often each point was passed."""

    def __init__(self) -> None:
        self.arms: dict[tuple[str, int], Arm] = {}
        self.passages: Counter[str] = Counter()
        self.log = -1
        self.trace = False
        self.lock = threading.Lock()


_process = _Process()

turns: set[threading.Lock] = set()
"""Of SQLite databases: whoever writes has it. A process that is stopped meanwhile would keep everybody from writing for
as long as it is; which is known, and not what a stop is to show."""


def arm(arms: Sequence[Arm], log: Path, *, trace: bool = False) -> None:
    """Arms this process. ``trace``: the first passage of every point is logged too, as ``passed``."""
    for one in arms:
        assert one.point in BY_NAME, f"no point is called {one.point}"
    _process.arms = {(one.point, one.nth): one for one in arms}
    _process.trace = trace
    _process.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def passed(point: str) -> None:
    """Called where a point is passed, in any thread."""
    if not _process.arms and not _process.trace:
        return
    assert point in BY_NAME, f"no point is called {point}"
    with _process.lock:
        _process.passages[point] += 1
        count = _process.passages[point]
    if _process.trace and count == 1:
        _say("passed", point)
    found = _process.arms.get((point, count))
    if found is None:
        return
    _say(found.does, point)
    if found.does == "hold":
        time.sleep(found.seconds)
    else:
        if found.does == "stop":
            for turn in turns:
                turn.acquire()
        # To this very thread: another one that takes the signal would let this one go on for a moment.
        number = signal.SIGKILL if found.does == "kill" else signal.SIGSTOP
        signal.pthread_kill(threading.get_ident(), number)
        if found.does == "stop":
            for turn in turns:
                turn.release()


def _say(what: str, point: str) -> None:
    os.write(_process.log, f"{what} {point} {os.getpid()}\n".encode())


def said(log: Path) -> list[tuple[str, str, int]]:
    """The lines of a log: what, point, pid."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(what, point, int(pid)) for what, point, pid in map(str.split, lines)]

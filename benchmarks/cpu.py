"""CPU time, memory and bytes read of processes, as Linux counts them in /proc (proc(5))."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and all its descendants took from start to end; ``cpu`` is user and system, both in seconds."""

    seconds: float
    cpu: float


class Process:
    """A command that is timed. As a context manager it is killed at the block's end, unless it has ended by then."""

    def __init__(self, command: Sequence[str], cwd: Path, log: Path) -> None:
        """``log``: where its stdout and stderr go."""
        self._command, self._log = command, log
        self._began = time.monotonic()
        with log.open("wb") as out:
            self._popen = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.pid = self._popen.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._popen.returncode is None:
            self._popen.kill()
            self._popen.wait()

    def poll(self) -> Usage | None:
        """The usage once it has ended, else None. Raises ``RuntimeError`` when it failed."""
        return self._reap(os.WNOHANG)

    def wait(self) -> Usage:
        """The usage at its end. Raises ``RuntimeError`` when it failed."""
        usage = self._reap(0)
        assert usage is not None
        return usage

    def _reap(self, options: int) -> Usage | None:
        pid, status, used = os.wait4(self.pid, options)
        if not pid:
            return None
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        if self._popen.returncode:
            said = self._log.read_text(errors="replace")
            raise RuntimeError(f"{' '.join(self._command)} exited {self._popen.returncode}\n{said}")
        return Usage(time.monotonic() - self._began, used.ru_utime + used.ru_stime)


def cpu_seconds(pid: int) -> float:
    """User and system time of one process, with that of those children that have ended. 0 when it is gone."""
    fields = _stat(pid)
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS if fields else 0.0


def tree(pid: int) -> Iterator[int]:
    """A process and its living descendants."""
    yield pid
    try:
        tasks = [task.name for task in Path(f"/proc/{pid}/task").iterdir()]
        found = " ".join(Path(f"/proc/{pid}/task/{task}/children").read_text() for task in tasks)
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in found.split():
        yield from tree(int(child))


def name(pid: int) -> str:
    """The name of its program, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def peak_memory(pid: int) -> int:
    """The greatest resident set so far, in bytes. 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def bytes_read(pid: int) -> int:
    """What its read(2) calls have given so far, sockets included. 0 where the system doesn't say."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("rchar:")), 0)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (state) on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []

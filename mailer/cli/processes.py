"""Runs child processes of ours: ``mailer up``, ``mailer worker --processes N``, the worker of ``mailer send --wait``.

* A child that ends though nobody told it to is started again, with growing pauses. Status 2 (misused) is final.
* ``drain`` asks every child to finish what it has begun and leave (SIGTERM); ``kill`` ends them at once.
* Children sit in sessions of their own, so that Ctrl-C in a terminal reaches the supervisor only, which passes it on.
* A child learns from a pipe that its supervisor is gone, however it went (kill -9 included), and drains by itself. For
  that it is started through this module: ``python -m mailer.cli.processes FD …``.
"""

from __future__ import annotations

import logging
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

log = logging.getLogger(__name__)

PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before a child is started again; the last one repeats."""

STEADY = 60.0
"""Seconds after which a child counts as healthy, and the pauses begin anew."""

LOOK_EVERY = 0.1

MODULE = "mailer.cli.processes"

MISUSED = 2


@dataclass(frozen=True, slots=True)
class Child:
    """A process to be kept running. ``arguments`` follow ``python``: ``("-m", "mailer", "worker")`` or a script.

    ``descriptors``: open files of ours that it gets, under the same numbers.
    """

    name: str
    arguments: tuple[str, ...]
    descriptors: tuple[int, ...] = ()


class _Running:
    """A child's process, and its history."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | None = None
        self.failures = 0
        self.started_at = self.start_at = 0.0

    def start(self, read_end: int, now: float) -> None:
        command = [sys.executable, "-m", MODULE, str(read_end), *self.child.arguments]
        descriptors = (read_end, *self.child.descriptors)
        try:
            self.process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.DEVNULL, pass_fds=descriptors, start_new_session=True
            )
        except OSError as error:
            log.warning("%s can't be started: %s", self.child.name, error)
            self._failed(now)
        self.started_at = now

    def ended(self, now: float) -> int | None:
        """The status of a process that has just ended, else None. From then on there is none."""
        status = None if self.process is None else self.process.poll()
        if status is not None:
            self.process = None
            if now - self.started_at > STEADY:
                self.failures = 0
            self._failed(now)
        return status

    def _failed(self, now: float) -> None:
        self.start_at = now + PAUSES[min(self.failures, len(PAUSES) - 1)]
        self.failures += 1


class Supervisor:
    """Keeps children running in a thread of its own. ``status`` is what the whole may exit with."""

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = [_Running(child) for child in children]
        self._lock = threading.Lock()
        self._leaving = False
        self._read_end, self._write_end = os.pipe()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self.status = 0

    def start(self) -> None:
        """Starts every child."""
        with self._lock:
            for running in self._children:
                running.start(self._read_end, time.monotonic())
        self._thread.start()

    def drain(self) -> None:
        """Asks every child to leave; none is started again."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends every child at once."""
        self._signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until every child has ended for good. False: the time was up before."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:
            self._leaving = True
            for running in self._children:
                if running.process is not None and running.process.poll() is None:
                    running.process.send_signal(number)

    def _watch(self) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                for running in self._children:
                    status = running.ended(now)
                    if status is not None:
                        self._ended(running, status, now)
                if not self._leaving:
                    for running in self._children:
                        if running.process is None and now >= running.start_at:
                            running.start(self._read_end, now)
                elif all(running.process is None for running in self._children):
                    break
            time.sleep(LOOK_EVERY)
        os.close(self._write_end)
        os.close(self._read_end)

    def _ended(self, running: _Running, status: int, now: float) -> None:
        name = running.child.name
        if self._leaving:
            # One that was asked to leave before it could listen to signals hadn't begun anything.
            self.status = self.status or int(status not in (0, -signal.SIGTERM))
        elif status == MISUSED:
            log.error("%s can't run (status %d); all processes leave", name, status)
            self.status, self._leaving = MISUSED, True
            for other in self._children:
                if other.process is not None:
                    other.process.send_signal(signal.SIGTERM)
        else:
            log.warning("%s ended with status %d; it starts again in %g s", name, status, running.start_at - now)


def supervise(children: Sequence[Child]) -> int:
    """Runs children until a signal; gives the exit status. The first signal drains, a second one kills.

    To be called from the main thread.
    """
    supervisor = Supervisor(children)
    told: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        # A handler may run anywhere, also where the lock is held: so the signal is passed on by another thread.
        told.append(number)
        act = supervisor.drain if len(told) == 1 else supervisor.kill
        threading.Thread(target=act, daemon=True).start()

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        supervisor.start()
        while not supervisor.wait(1.0):
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return supervisor.status


@contextmanager
def running(children: Sequence[Child]) -> Iterator[Supervisor]:
    """Children for as long as a block of code runs; then they drain. Ctrl-C while they drain kills them."""
    supervisor = Supervisor(children)
    supervisor.start()
    try:
        yield supervisor
    finally:
        try:
            supervisor.drain()
            supervisor.wait()
        except KeyboardInterrupt:
            supervisor.kill()
            supervisor.wait()
            raise


def _leave_with_parent(read_end: int) -> None:
    """A signal for ourselves when the other end of the pipe is closed.

    SIGHUP where it is handled: for a worker that drains already, a second SIGTERM would mean "at once".
    """

    def watch() -> None:
        os.read(read_end, 1)
        handled = signal.getsignal(signal.SIGHUP) not in (signal.SIG_DFL, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGHUP if handled else signal.SIGTERM)

    os.set_inheritable(read_end, False)
    threading.Thread(target=watch, name="supervisor's pipe", daemon=True).start()


def main(arguments: Sequence[str]) -> None:
    """A supervised child: watches the pipe and runs what ``python`` would run with the remaining arguments."""
    _leave_with_parent(int(arguments[0]))
    if arguments[1] == "-m":
        sys.argv = list(arguments[2:])
        runpy.run_module(arguments[2], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments[1:])
        runpy.run_path(arguments[1], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])

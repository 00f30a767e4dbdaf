"""Real worker and command processes, quickly: one process imports everything once and is forked for each.

    python -m tests.faults.nursery

reads a request a line from stdin and answers each with a line, both JSON; ``Nursery`` speaks with it. When stdin ends,
however the asking process ended, everything it started is killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.faults.failpoints import Arm
from tests.servers.waiting import until

ROOT = Path(__file__).resolve().parents[2]


class Nursery:
    """Starts processes in folders that hold a ``mailer.toml``. Any thread may use it."""

    def __init__(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAILER_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lock = threading.Lock()
        self._ended: dict[int, int] = {}

    def worker(self, home: Path, arms: Sequence[Arm] = (), *, trace: bool = False) -> int:
        """``python -m workers`` in ``home``, armed; gives its pid. Log: ``worker.log``; points: ``points.log``."""
        return self._start(home, None, arms, trace, home / "worker.log", Path(os.devnull))

    def command(self, home: Path, *arguments: str, arms: Sequence[Arm] = (), trace: bool = False) -> int:
        """``mailer …`` in ``home``, armed; gives its pid. What it says goes to ``command.log``."""
        log = home / "command.log"
        return self._start(home, arguments, arms, trace, log, log)

    def status(self, pid: int) -> int | None:
        """The exit status of a process (negative: the signal that ended it); None while it lives."""
        with self._lock:
            if pid not in self._ended:
                status = self._ask({"poll": pid})
                if status is None:
                    return None
                self._ended[pid] = status
            return self._ended[pid]

    def wait(self, pid: int, seconds: float) -> int | None:
        """Its exit status; None if it still lives after so many seconds."""
        until(lambda: self.status(pid) is not None, seconds, 0.1)
        return self.status(pid)

    def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal, unless the process has ended."""
        if self.status(pid) is None:
            os.kill(pid, number)

    def close(self) -> None:
        """Kills whatever lives."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _start(
        self, home: Path, arguments: Sequence[str] | None, arms: Sequence[Arm], trace: bool, log: Path, out: Path
    ) -> int:
        request = {
            "home": str(home),
            "arguments": arguments,
            "arms": [asdict(arm) for arm in arms],
            "trace": trace,
            "log": str(log),
            "out": str(out),
        }
        with self._lock:
            return int(self._ask(request))

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the nursery has died; its last words are on stderr"
        return json.loads(answer)


# --- the process that is forked ---------------------------------------------------------------------------------------


def main() -> None:
    """Serves requests until stdin ends."""
    import mailer.cli.control
    import mailer.cli.recipients
    import mailer.cli.send
    import mailer.cli.status
    import mailer.cli.suppressions  # noqa: F401
    import workers.compose  # noqa: F401
    from tests.faults.instrument import instrument

    instrument()
    children: set[int] = set()
    while line := sys.stdin.readline():
        request = json.loads(line)
        answer: int | None
        if "poll" in request:
            answer = _poll(request["poll"], children)
        else:
            answer = os.fork()
            if not answer:
                _be(request)
            children.add(answer)
        print(json.dumps(answer), flush=True)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _poll(pid: int, children: set[int]) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    if not found:
        return None
    children.discard(pid)
    return os.waitstatus_to_exitcode(status)


def _be(request: dict[str, Any]) -> None:
    """Becomes the process that was asked for; never returns."""
    status = 1
    try:
        from tests.faults.failpoints import arm

        home = Path(request["home"])
        os.chdir(home)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(request["out"], flags, 0o644), 1)
        os.dup2(os.open(request["log"], flags, 0o644), 2)
        arm([Arm(**one) for one in request["arms"]], home / "points.log", trace=request["trace"])
        status = _program(request["arguments"])()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _program(arguments: Sequence[str] | None) -> Callable[[], int]:
    if arguments is None:
        from workers.__main__ import main as run_worker

        return lambda: run_worker([])
    from mailer.cli.main import run

    return lambda: run(arguments)


if __name__ == "__main__":
    main()

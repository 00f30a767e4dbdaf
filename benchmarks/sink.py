"""Where the mail goes: Postfix's ``smtp-sink``, which is fast, or our own judging server, which keeps a log."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu import bytes_read, cpu_seconds

ROOT = Path(__file__).resolve().parent.parent

_SESSIONS = "1024"


@dataclass(frozen=True, slots=True)
class Sink:
    """An SMTP server on this machine. ``log`` is the judging one's."""

    port: int
    pid: int
    log: Path | None = None

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far."""
        return cpu_seconds(self.pid)

    @property
    def received(self) -> int:
        """Bytes so far; 0 where that isn't known."""
        return bytes_read(self.pid)


def program(name: str) -> str:
    """Where one of Postfix's programs is. Raises ``SystemExit`` when it isn't installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise SystemExit(f"{name} isn't installed: on Debian, apt-get install postfix")
    return found


@contextmanager
def fast_sink() -> Iterator[Sink]:
    """smtp-sink(1), offering PIPELINING. Raises ``SystemExit`` when it isn't installed or doesn't start."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    command = [program("smtp-sink"), *user, "-m", _SESSIONS, f"127.0.0.1:{port}", _SESSIONS]
    with _running(command, None) as process:
        _reach(port, process)
        yield Sink(port, process.pid)


@contextmanager
def judging_sink(log: Path) -> Iterator[Sink]:
    """Our test server, which writes one JSON line per accepted message before it answers."""
    command = [sys.executable, "-m", "tests.servers.smtp", "--port", "0", "--log", str(log)]
    with _running(command, subprocess.PIPE) as process:
        assert process.stdout is not None
        yield Sink(int(process.stdout.readline()), process.pid, log)


@contextmanager
def _running(command: Sequence[str], stdout: int | None) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stdout) as process:
        try:
            yield process
        finally:
            process.terminate()


def _reach(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the sink doesn't answer: {error}") from None
            time.sleep(0.02)

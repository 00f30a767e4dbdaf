"""The embedded Redis: a real server of our own on a unix socket, for whoever configured none.

Any number of processes may ask for it at once: a lock lets one of them start it, the others use it. It ends with the
process that started it; whoever still needs it then starts the next one. It keeps nothing on disk, since SQL is the
truth and the reconciler queues again what it lost.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from mailer.errors import QueueError
from mailer.queue.binary import find_server
from mailer.queue.socket_dir import SOCKET_NAME, ensure_private, socket_dir

START_LIMIT = 15.0
"""Seconds a server may take to start, and a process waits for another one that is starting it."""

ANSWER_LIMIT = 5.0
"""Seconds a server that took the connection may take to answer."""

# PR_SET_PDEATHSIG (Linux, prctl(2)) survives execve. It is set by a process in between, since a preexec_fn isn't safe
# in a program with threads. The parent may have died before it was set: then nobody needs the server.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedRedis:
    """The embedded Redis of one data directory, as seen by one process."""

    def __init__(self, data_dir: Path) -> None:
        self._dir = socket_dir(data_dir)
        self._socket = self._dir / SOCKET_NAME
        self._log = self._dir / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What ``[redis] url`` would say."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def is_ours(self) -> bool:
        """Whether this process started the server that runs."""
        return self._process is not None and self._process.poll() is None

    def running(self) -> bool:
        """Whether a server answers, no matter who started it."""
        try:
            return self._answers()
        except QueueError:
            return False

    def start(self) -> None:
        """Starts the server unless one answers already; returns when it answers. Raises ``QueueError``.

        Blocks for about 0.1 s. Call it from the main thread: on Linux the server ends with the *thread* it was started
        from. Elsewhere one that outlives a killed process is found and used by the next.
        """
        if self._answers():
            return
        ensure_private(self._dir)
        with self._lock():
            if not self._answers():
                self._launch(find_server())

    def stop(self) -> None:
        """Stops the server if this process started it; else does nothing."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        """Whether a server answers. One that takes the connection and says nothing raises ``QueueError``: it is there,
        and a second one beside it would split the workers."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(ANSWER_LIMIT)
            try:
                client.connect(str(self._socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
            except TimeoutError:
                raise QueueError(
                    "the embedded Redis doesn't answer",
                    where=str(self._socket),
                    todo=f"It may be stopped or overloaded; its process: {self._pid_text()}.",
                ) from None
            except OSError:
                return False

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with open(self._dir / "lock", "wb") as file:
            deadline = time.monotonic() + START_LIMIT
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise QueueError(
                            "another process is starting the embedded Redis and doesn't get done", where=str(self._dir)
                        ) from None
                    time.sleep(0.02)
            yield

    def _launch(self, binary: Path) -> None:
        self.stop()
        self._socket.unlink(missing_ok=True)
        command = [str(binary), *self._options()]
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]
        with open(self._log, "ab") as log:
            # A session of its own: Ctrl-C in a terminal must reach the workers, which still need Redis to drain.
            self._process = subprocess.Popen(  # noqa: S603
                command, cwd=self._dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_LIMIT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise QueueError(
                    f"the embedded Redis doesn't start: {self._last_words()}",
                    where=str(self._log),
                    todo="Mend that, or set [redis] url to a server that runs elsewhere.",
                )
            time.sleep(0.01)

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._dir),
            "pidfile": str(self._dir / "redis.pid"),
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "loglevel": "notice",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _pid_text(self) -> str:
        try:
            return (self._dir / "redis.pid").read_text().strip()
        except OSError:
            return "unknown"

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        return lines[-1].strip() if lines else "it said nothing"

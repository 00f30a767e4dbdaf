"""A Redis as a process of its own, on a unix socket, to be killed and started again by any thread."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from mailer.queue.binary import find_server
from tests.servers.waiting import until


class RedisProcess:
    """Keeps nothing on disk: whoever kills it makes it forget everything."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="redis-", dir="/tmp"))  # a socket's path must be short
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"unix://{self._folder}/s"

    def start(self) -> None:
        """Returns when it answers."""
        options = ["--port", "0", "--unixsocket", f"{self._folder}/s", "--save", "", "--appendonly", "no"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(find_server()), *options],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        assert until(self._answers), (self._folder / "log").read_text()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def flush(self) -> None:
        """FLUSHALL."""
        assert self._say("FLUSHALL") == b"+OK\r\n"

    def destroy(self) -> None:
        """Kills it and removes its files."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            return self._say("PING") == b"+PONG\r\n"
        except OSError:
            return False

    def _say(self, word: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(f"{self._folder}/s")
            client.sendall(f"{word}\r\n".encode())
            return client.recv(64)

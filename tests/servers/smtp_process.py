"""The judging SMTP server as a process of its own, which outlives whoever is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class SmtpProcess:
    """``faults`` as in ``tests.servers.smtp_faults.Fault``, by name. ``restart`` keeps port and log."""

    def __init__(self, log: Path, faults: Sequence[dict[str, Any]] = ()) -> None:
        self.log, self._faults = log, faults
        self.port = 0
        self._entries: list[dict[str, Any]] = []
        self._read = 0
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Returns when it takes connections."""
        command = [sys.executable, "-m", "tests.servers.smtp", "--port", str(self.port), "--log", str(self.log)]
        for fault in self._faults:
            command += ["--fault", json.dumps(fault)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> None:
        """Kills it. Returns when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def accepted(self) -> list[dict[str, Any]]:
        """What it has accepted so far, a dict a message: see ``tests.servers.smtp_faults.Accepted.log_line``."""
        with self._lock:
            if self.log.exists():
                with self.log.open("rb") as file:
                    file.seek(self._read)
                    data = file.read()
                whole = data[: data.rfind(b"\n") + 1]
                self._read += len(whole)
                self._entries += [json.loads(line) for line in whole.splitlines()]
            return list(self._entries)

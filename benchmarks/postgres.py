"""A PostgreSQL of the benchmark's own, with its default settings: every commit is on the disk, autovacuum runs."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server on a unix socket. ``pid`` is its first process, whose children all others are."""

    folder: Path
    pid: int

    def create(self, name: str) -> str:
        """Makes an empty database; gives its URL."""
        self._execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def drop(self, name: str) -> None:
        self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def size(self, name: str) -> int:
        """Bytes of a database on disk."""
        with psycopg.connect(self.url("postgres")) as connection:
            found = connection.execute("SELECT pg_database_size(%s)", (name,)).fetchone()
        assert found is not None
        return int(found[0])

    def url(self, name: str) -> str:
        return f"postgresql://mailer@/{name}?host={self.folder}"

    def _execute(self, sql: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.encode())


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Makes and starts a server, and removes it. Raises ``SystemExit`` when PostgreSQL isn't installed."""
    with tempfile.TemporaryDirectory(prefix="mailer-bench-pg-") as directory:
        folder, who = Path(directory), _user()
        if "user" in who:
            shutil.chown(folder, who["user"])
        _run([_binary("initdb"), "-D", f"{folder}/data", "-U", "mailer", "-A", "trust", "-E", "UTF8"], folder, who)
        options = {"listen_addresses": "", "unix_socket_directories": str(folder)}
        command = [_binary("postgres"), "-D", f"{folder}/data"]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **who) as process,
        ):
            try:
                server = Postgres(folder, process.pid)
                _reach(server, process)
                yield server
            finally:
                process.send_signal(signal.SIGINT)  # its fast shutdown


def _binary(name: str) -> str:
    """On PATH, or where Debian keeps the newest."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    found = str(places[-1]) if places else shutil.which(name)
    if not found:
        raise SystemExit(f"{name} isn't installed: on Debian, apt-get install postgresql; or use --stores sqlite")
    return found


def _user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    return {"user": user.pw_name, "group": user.pw_gid, "extra_groups": []}


def _run(command: list[str], folder: Path, who: dict[str, Any]) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **who)
    if done.returncode:
        raise SystemExit(f"{command[0]}: {done.stderr}")


def _reach(server: Postgres, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(server.url("postgres"), connect_timeout=2).close()
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"PostgreSQL doesn't start: {error}\n{(server.folder / 'log').read_text()}") from None
            time.sleep(0.05)

"""A real PostgreSQL for tests: started once a session on a unix socket, an empty database for each test.

Use it with ``pytest_plugins = ("tests.servers.postgres",)`` in a test module.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from mailer.store import SqlStore, migrate, open_store
from tests.servers.waiting import until

TEMPLATE = "migrated"

_SCHEMA = """
SELECT string_agg(format('%s %s %s %s', relname, relkind, relhastriggers, attname), ', ' ORDER BY relname, attnum)
    || (SELECT string_agg(version_num, ', ') FROM alembic_version)
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid WHERE relnamespace = 'public'::regnamespace
"""
_FILLED = """
SELECT string_agg(quote_ident(relname), ', ') FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
    AND pg_relation_size(oid) > 0
"""
_TO_THE_START = """
SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) FROM pg_sequences
WHERE last_value IS NOT NULL
"""
_OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def binary(name: str) -> str:
    """The path of a PostgreSQL program: on PATH, or where Debian keeps the newest."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: int(p.parts[4].split(".")[0]))
    found = str(places[-1]) if places else shutil.which(name)
    if not found:
        pytest.fail(f"{name} isn't installed, and these tests need a real PostgreSQL: apt-get install postgresql")
    return found


class PostgresServer:
    """One server of ours. ``stop(signal.SIGKILL)`` and ``start()`` are for tests of a database that goes away."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        self._idle: list[str] = []
        self._schema = ""
        # PostgreSQL refuses to run as root.
        self._user = None
        if os.getuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            self._user = "postgres" if "postgres" in names else "nobody"
            shutil.chown(self.folder, self._user)
        self._run([binary("initdb"), "-D", self.data, "-U", "mailer", "-A", "trust", "-E", "UTF8", "--no-sync"])

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    def _as_user(self) -> dict[str, object]:
        if self._user is None:
            return {}
        return {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(  # type: ignore[call-overload]
            command,
            cwd=self.folder,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            check=False,
            **self._as_user(),
        )
        assert done.returncode == 0, done.stderr.decode()

    def start(self) -> None:
        """Returns when it takes connections."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",  # the machine doesn't crash in tests; a killed server loses nothing by it
            "max_connections": "100",
            "shared_buffers": "64MB",
            "autovacuum": "off",
        }
        command = [binary("postgres"), "-D", self.data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(  # type: ignore[call-overload]
                command, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **self._as_user()
            )
        until = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                gone = self._process is None or self._process.poll() is not None
                if gone or time.monotonic() > until:
                    pytest.fail(f"PostgreSQL didn't start:\n{(self.folder / 'log').read_text()[-2000:]}")
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """SIGQUIT and SIGKILL: as in a crash; SIGINT: orderly. Returns when it is gone."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None
            if how is signal.SIGKILL:
                self._wait_for_children()

    def _wait_for_children(self) -> None:
        """After a SIGKILL its children notice by themselves; until then they hold the shared memory."""
        until = time.monotonic() + 30
        while time.monotonic() < until and _processes_in(self.data):
            time.sleep(0.05)
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def destroy(self) -> None:
        """Stops it and removes its files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, name: str) -> str:
        """The address of one of its databases."""
        return f"postgresql://mailer@/{name}?host={self.folder}"

    def execute(self, sql: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql)

    def fresh(self, template: str = TEMPLATE) -> str:
        """The address of a new database with our schema, or another one. ``drop`` it."""
        name = f"t_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        self.execute(f"DROP DATABASE {url.partition('?')[0].rpartition('/')[2]} WITH (FORCE)")

    def lend(self) -> str:
        """The address of an empty database with our schema: one that came back, which costs a tenth of a new one."""
        return self._idle.pop() if self._idle else self.fresh()

    def give_back(self, url: str) -> None:
        """Empties a database for the next borrower. One that somebody still uses, or changed the schema of, goes."""
        if self._emptied(url):
            self._idle.append(url)
        else:
            self.drop(url)

    def _emptied(self, url: str) -> bool:
        with psycopg.connect(url, autocommit=True) as connection:

            def first(sql: LiteralString) -> Any:
                row = connection.execute(sql).fetchone()
                return row and row[0]

            # The server needs a moment to notice that a client has gone.
            if not until(lambda: first(_OTHERS) == 0, 0.5, 0.01) or first(_SCHEMA) != self._schema_of_template():
                return False
            if filled := first(_FILLED):
                connection.execute(f"TRUNCATE {filled} CASCADE")
                connection.execute("DELETE FROM pg_statistic WHERE starelid >= 16384")  # the system's own are below
            connection.execute(_TO_THE_START)
            return True

    def _schema_of_template(self) -> str:
        if not self._schema:
            with psycopg.connect(self.url(TEMPLATE)) as connection:
                (self._schema,) = connection.execute(_SCHEMA).fetchone() or ("",)
        return self._schema


def _processes_in(folder: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "cwd") == folder:
                    found.append(entry.name)
            except OSError:  # it ended meanwhile, or is somebody else's
                continue
    return found


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's server, with a migrated template database."""
    server = PostgresServer()
    try:
        server.start()
        server.execute(f"CREATE DATABASE {TEMPLATE}")
        migrate(server.url(TEMPLATE))
        yield server
    finally:
        server.destroy()


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """An empty PostgreSQL database with our schema."""
    url = postgres.lend()
    yield url
    postgres.give_back(url)


@pytest.fixture(scope="session")
def _migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "mailer.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(_migrated_sqlite: Path, tmp_path: Path) -> str:
    """A fresh SQLite database with our schema."""
    shutil.copy(_migrated_sqlite, tmp_path / "mailer.db")
    return f"sqlite:///{tmp_path}/mailer.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of each kind in turn."""
    fixture = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture
def store(store_url: str) -> Iterator[SqlStore]:
    """A fresh, open store of each kind in turn."""
    opened = open_store(store_url)
    yield opened
    opened.close()

"""Connections, transactions and locks: the same for SQLite and PostgreSQL, and safe for several threads.

Isolation. SQLite has one writer at a time: a writing transaction begins with ``BEGIN IMMEDIATE``, so nothing it read
can have changed when it writes. PostgreSQL runs under READ COMMITTED, where each statement sees what was committed
before it began; what must not change in between is guarded by an advisory lock that the transaction holds, taken by a
statement of its own. Advisory locks are fair (a waiting ``pause`` isn't overtaken by new shared locks, as it would be
with ``FOR SHARE`` on the send's row) and write nothing.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, TextClause, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from mailer.errors import StoreError, StoreUnavailable
from mailer.store.dialect import POSTGRESQL, SQLITE, given, statement
from mailer.store.failures import store_error

LOCK_SECONDS = 30.0
"""How long a transaction waits for another before it gives up."""

IDLE_SECONDS = 10
"""How long PostgreSQL lets a client that was stopped in the middle of a transaction keep its locks."""

_SQLITE_AT_LEAST = (3, 35, 0)  # UPDATE … FROM, RETURNING


HOLD = "SELECT 1 FROM recipients WHERE {rows} ORDER BY send, position FOR NO KEY UPDATE"
"""Rows of the ledger in the order in which all groups take them, where an UPDATE would take them as an index has them:
two that take the same rows never wait for each other in a circle. For PostgreSQL."""


class Lock(IntEnum):
    """What an advisory lock guards: the first of PostgreSQL's two lock numbers."""

    SEND = 7001  # shared: a claim or a dot of the send; exclusive: whoever changes its state
    SLUG = 7002  # whoever creates a send of the slug
    PEOPLE = 7003  # whoever adds or changes subscribers; shared: the end of creating a send
    SCHEMA = 7004  # whoever migrates
    EVENTS = 7005  # whoever acts on events
    SIGN_UPS = 7006  # whoever asks to be subscribed


@dataclass(frozen=True, slots=True)
class Hot:
    """A statement that is given to the driver as it is: SQLAlchemy's share of running a statement is more than what
    SQLite itself needs for a row. ``places``: the parameters in order, where the driver wants them so."""

    sql: str
    places: tuple[str, ...] | None

    def run(self, connection: Connection, values: Mapping[str, object]) -> Any:
        """The driver's cursor. To be used within ``Database.read`` or ``write``, which make a driver's errors ours."""
        given = values if self.places is None else [values[name] for name in self.places]
        return _driver(connection).execute(self.sql, given)


class Database:
    """An engine and its transactions. ``where`` is the address without the password."""

    def __init__(self, engine: Engine, where: str) -> None:
        self.engine, self.where, self.dialect = engine, where, engine.dialect.name
        self._writing = engine.execution_options(writing=True)
        self._turn = threading.Lock()
        self._driver_error: type[Exception] = engine.dialect.loaded_dbapi.Error

    def sql(self, template: str, **more: str) -> TextClause:
        """A statement with this dialect's words; see ``mailer.store.dialect``."""
        return statement(self.dialect, template, **more)

    def hot(self, template: str, **more: str) -> Hot:
        """Likewise, for what is run all the time."""
        compiled = self.sql(template, **more).compile(dialect=self.engine.dialect)
        places = compiled.positiontup
        return Hot(compiled.string, tuple(places) if places is not None else None)

    def given(self, parameter: str, **columns: str) -> str:
        """A derived table of the rows in a JSON parameter."""
        return given(self.dialect, parameter, **columns)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads; on PostgreSQL too, all its statements see the same moment."""
        with self._our_errors(), self.engine.connect() as connection, connection.begin():
            if self.dialect == POSTGRESQL:
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes; committed at the end, rolled back when an exception passes."""
        with self._our_errors():
            if self.dialect != SQLITE:
                with self._writing.begin() as connection:
                    yield connection
                return
            # Threads of one process take turns here: SQLite's own waiting polls, and isn't fair.
            if not self._turn.acquire(timeout=LOCK_SECONDS):
                raise StoreUnavailable(
                    "the database is busy with a long transaction", where=self.where, todo="Try again."
                )
            try:
                with self._writing.begin() as connection:
                    yield connection
            finally:
                self._turn.release()

    @contextmanager
    def _our_errors(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise store_error(error, self.where) from error
        except self._driver_error as error:
            known = DBAPIError.instance(None, None, error, self._driver_error)
            raise store_error(known, self.where) from error

    def lock(self, connection: Connection, kind: Lock, numbers: Iterable[int | str] = (0,)) -> None:
        """Holds the lock until the transaction ends. Nothing to do on SQLite, which has one writer."""
        self._lock(connection, "pg_advisory_xact_lock", kind, numbers)

    def lock_shared(self, connection: Connection, kind: Lock, numbers: Iterable[int | str]) -> None:
        """Likewise, beside other shared holders."""
        self._lock(connection, "pg_advisory_xact_lock_shared", kind, numbers)

    def hold(self, connection: Connection, rows: TextClause, values: Mapping[str, object]) -> None:
        """Locks what a statement made of ``HOLD`` selects until the transaction ends. Nothing to do on SQLite."""
        if self.dialect == POSTGRESQL:
            connection.execute(rows, values)

    def _lock(self, connection: Connection, function: str, kind: Lock, numbers: Iterable[int | str]) -> None:
        if self.dialect == POSTGRESQL:
            hashed = {zlib.crc32(n.encode()) - 2**31 if isinstance(n, str) else n for n in numbers}
            for number in sorted(hashed):
                connection.exec_driver_sql(f"SELECT {function}({int(kind)}, {number})")

    def analyze(self, connection: Connection, table: str) -> None:
        """Tells PostgreSQL's planner that a table has changed much; SQLite's statements name their indexes."""
        if self.dialect == POSTGRESQL:
            connection.exec_driver_sql(f"ANALYZE {table}")

    def along_index(self, connection: Connection) -> None:
        """For the rest of the transaction PostgreSQL walks along an index and stops early, and doesn't sort."""
        if self.dialect == POSTGRESQL:
            connection.exec_driver_sql("SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off")

    def close(self) -> None:
        """Closes all connections."""
        self.engine.dispose()


def clean(value: str, longest: int = 500) -> str:
    """A text of a stranger that every database takes: no NUL, no lone surrogate, not endless."""
    if len(value) <= longest and value.isascii() and "\0" not in value:
        return value
    return value[:longest].replace("\0", " ").encode("utf-8", "replace").decode()


def connect(url: str, *, create: bool = False) -> Database:
    """The database of a URL; ``create`` makes a SQLite file that isn't there. No connection is opened yet.

    Raises ``StoreError``.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError(
            "[store] url is no database URL", todo="Give sqlite:///path or postgresql://user:password@host/name."
        ) from None
    name = parsed.get_backend_name()
    if name == SQLITE:
        return _sqlite(parsed, create=create)
    if name == POSTGRESQL or name == "postgres":
        return _postgresql(parsed)
    raise StoreError(f"no store can be kept in {name!r}", todo="Give sqlite:///path or postgresql://….")


def _sqlite(url: URL, *, create: bool) -> Database:
    if sqlite3.sqlite_version_info < _SQLITE_AT_LEAST:
        raise StoreError(
            f"this Python has SQLite {sqlite3.sqlite_version}, and mailer needs 3.35 or newer",
            todo="Use a newer Python, or PostgreSQL.",
        )
    if not url.database or url.database == ":memory:":
        raise StoreError("SQLite in memory is no place for a store", todo="Give a path: sqlite:///mailer.db.")
    path, where = Path(url.database), f"sqlite:///{url.database}"
    if not path.exists():
        if not create:
            raise StoreError("there is no database yet", where=where, todo="Run mailer migrate.")
        _make_file(path, where)
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)), connect_args={"timeout": LOCK_SECONDS}, pool_size=8
    )
    event.listen(engine, "connect", _sqlite_connected)
    event.listen(engine, "begin", _sqlite_begin)
    return Database(engine, where)


def _make_file(path: Path, where: str) -> None:
    """Only its owner may read it: SQLite gives its -wal and -shm files the same permissions."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(f"the database file can't be made: {error.strerror}", where=where) from error


def _sqlite_connected(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own: _sqlite_begin does
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "journal_size_limit=67108864"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing", False)
    _driver(connection).execute("BEGIN IMMEDIATE" if writing else "BEGIN")


def _driver(connection: Connection) -> Any:
    """The driver's own connection: to ask it takes a tenth of what asking SQLAlchemy takes."""
    return connection.connection.driver_connection


def _postgresql(url: URL) -> Database:
    place = {name: value for name, value in url.query.items() if name in ("host", "port", "dbname")}
    where = url.set(drivername="postgresql", password=None, query=place).render_as_string()
    milliseconds = int(LOCK_SECONDS * 1000)
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=8,
        connect_args={
            "connect_timeout": 10,
            "application_name": "mailer",
            "options": f"-c lock_timeout={milliseconds} -c client_encoding=UTF8"
            f" -c idle_in_transaction_session_timeout={IDLE_SECONDS * 1000}"
            # A host that is gone without a goodbye is noticed, by the server and by us.
            " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=3 -c tcp_keepalives_count=3",
            "keepalives_idle": 10,
            "keepalives_interval": 3,
            "keepalives_count": 3,
        },
    )
    return Database(engine, where)


def scalar(connection: Connection, sql: str, **parameters: object) -> Any:
    """The first column of the first row, or None."""
    return connection.execute(text(sql), parameters).scalar()

"""Opening, migrating, and what goes wrong: each a ``StoreError`` that says what, where and what to do."""

from __future__ import annotations

import multiprocessing
import signal
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.command import upgrade
from alembic.config import Config
from alembic.script import ScriptDirectory

from mailer.delivery.states import UNFINISHED
from mailer.errors import StoreError
from mailer.model.ledger import RecipientState as S
from mailer.store import database as database_module
from mailer.store import migrate, open_store, schema
from mailer.store.database import clean, connect
from tests.contract.store_cases import NOW, counts, dotted, people, settle, started
from tests.servers.postgres import PostgresServer

pytest_plugins = ("tests.servers.postgres",)


def test_revisions_are_the_scripts() -> None:
    """The versions this code knows are those of its migrations, in order."""
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    scripts = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(scripts)) == schema.REVISIONS


def test_schema_knows_the_unfinished_states(sqlite_url: str) -> None:
    """The indexed column is set exactly in the states that the table of moves calls unfinished."""
    store = open_store(sqlite_url)
    with store.database.write() as connection:
        for position, state in enumerate(S):
            connection.exec_driver_sql(
                "INSERT INTO recipients (send, position, email, state, epoch, attempts, updated_at)"
                " VALUES (1, ?, '', ?, 0, 0, 0)",
                (position, str(state)),
            )
        found = connection.exec_driver_sql("SELECT state FROM recipients WHERE open_epoch IS NOT NULL").scalars()
        assert set(found) == UNFINISHED
    store.close()


def test_migrate(store_url: str) -> None:
    """A database that is up to date is left as it is."""
    assert migrate(store_url) == ("0003", "0003")


def test_migrate_from_the_first(tmp_path: Path, postgres: PostgresServer) -> None:
    """A database of the first version is brought to this one and keeps all that is in it."""
    for url in (f"sqlite:///{tmp_path}/old.db", postgres.fresh("template1")):
        at_first = connect(url, create=True)
        with at_first.write() as connection:
            config = Config()
            config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
            config.attributes["connection"] = connection
            upgrade(config, "0001")
            connection.exec_driver_sql(
                "INSERT INTO subscribers (email, email_key, destination, status, created_at, updated_at)"
                " VALUES ('a@example.com', 'a@example.com', 'example.com', 'subscribed', 1, 1)"
            )
        at_first.close()
        with pytest.raises(StoreError, match=r"has schema 0001 and needs 0003\. Run mailer migrate"):
            open_store(url)
        assert migrate(url) == ("0001", "0003")
        store = open_store(url)
        assert [one.email for one in store.subscribers.each()] == ["a@example.com"]
        assert store.sign_ups.due(NOW, 1) == []
        store.close()


def test_fresh_file(tmp_path: Path) -> None:
    """``create`` makes file, folders and schema; only the owner may read the file and what stands beside it."""
    url = f"sqlite:///{tmp_path}/data/mailer.db"
    with pytest.raises(StoreError, match=r"there is no database yet\. Run mailer migrate"):
        open_store(url)
    assert not (tmp_path / "data").exists()
    store = open_store(url, create=True)
    people(store, "a")
    files = sorted((tmp_path / "data").iterdir())
    assert [file.name for file in files] == ["mailer.db", "mailer.db-shm", "mailer.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    store.close()
    again = open_store(url)
    assert again.subscribers.count() == 1
    again.close()


def test_durable(sqlite_url: str) -> None:
    """SQLite runs with WAL, a sync at each commit, and foreign keys."""
    store = open_store(sqlite_url)
    with store.database.read() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in ("journal_mode", "synchronous")]
        assert found == ["wal", 2]
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    store.close()


@pytest.mark.parametrize(
    ("version", "says"),
    [("0000", "made by a newer mailer"), ("9999", "made by a newer mailer"), ("", r"empty\. Run mailer migrate")],
)
def test_other_version(store_url: str, version: str, says: str) -> None:
    """A database of another version is refused, by opening and by readiness."""
    store = open_store(store_url)
    store.ready()
    with store.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM alembic_version")
        if version:
            connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{version}')")
    with pytest.raises(StoreError, match=says):
        store.ready()
    with pytest.raises(StoreError, match=says):
        open_store(store_url)
    store.close()


def test_older_version(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database with an older schema is refused, and the error says which command brings it up."""
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, "9999"))
    monkeypatch.setattr(schema, "CURRENT", "9999")
    with pytest.raises(StoreError, match=r"has schema 0003 and needs 9999\. Run mailer migrate"):
        open_store(store_url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "is no database URL"),
        ("mysql://h/db", "no store can be kept in 'mysql'"),
        ("sqlite://", "in memory is no place"),
        ("sqlite:////dev/null/x/mailer.db", "can't be made"),
        ("postgresql://u:s3cret@nowhere.invalid/db", "the database host isn't known"),
        ("postgresql://u:s3cret@127.0.0.1:1/db", "PostgreSQL can't be reached"),
        ("postgresql:///db?host=/nonexistent&password=s3cret", "PostgreSQL can't be reached"),
    ],
)
def test_wrong_url(url: str, says: str) -> None:
    """A URL that leads nowhere is an error that says why, and never shows the password."""
    with pytest.raises(StoreError) as caught:
        open_store(url, create=True)
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.todo or caught.value.where


def test_wrong_database(postgres: PostgresServer) -> None:
    """A database that isn't there is an error that says so."""
    with pytest.raises(StoreError, match="no such database or user"):
        open_store(postgres.url("missing"))


def test_not_a_database(tmp_path: Path) -> None:
    """A file that is something else is an error that says so."""
    (tmp_path / "x.db").write_bytes(b"hello" * 1000)
    with pytest.raises(StoreError, match="the file is no SQLite database"):
        open_store(f"sqlite:///{tmp_path}/x.db")


def _hold(path: str, held: Any, done: Any) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    held.set()
    done.wait(60)


@pytest.fixture
def locked(sqlite_url: str) -> Iterator[tuple[str, Any]]:
    """A SQLite database whose write lock another process holds, until the event is set."""
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(sqlite_url.removeprefix("sqlite:///"), held, done))
    process.start()
    assert held.wait(30)
    yield sqlite_url, done
    done.set()
    process.join(30)


def test_locked(locked: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that another process holds is an error after the wait; readers aren't held up, and it can go on."""
    url, done = locked
    monkeypatch.setattr(database_module, "LOCK_SECONDS", 0.2)
    store = open_store(url)
    with pytest.raises(StoreError, match="locked by another process"):
        people(store, "a")
    assert store.subscribers.count() == 0
    done.set()
    for _ in range(50):
        try:
            people(store, "a")
            break
        except StoreError:
            continue
    assert store.subscribers.count() == 1
    store.close()


def test_restarted_server() -> None:
    """While PostgreSQL is away each call is a ``StoreError``; when it is back the store works, and lost nothing."""
    server = PostgresServer()
    try:
        server.start()
        server.execute("CREATE DATABASE mailer")
        migrate(server.url("mailer"))
        store = open_store(server.url("mailer"))
        send = started(store, "a", "b").id
        claims = dotted(store, send, limit=1)
        for how in (signal.SIGINT, signal.SIGKILL):
            server.stop(how)
            for _ in range(2):
                with pytest.raises(StoreError):
                    store.sends.status(send, NOW)
            server.start()
        settle(store, claims, S.SENT)
        assert counts(store, send) == {"sent": 1, "pending": 1}
        store.close()
    finally:
        server.destroy()


def test_restart_between_calls() -> None:
    """A server restarted between two calls costs at most one ``StoreError``."""
    server = PostgresServer()
    try:
        server.start()
        server.execute("CREATE DATABASE mailer")
        migrate(server.url("mailer"))
        store = open_store(server.url("mailer"))
        people(store, "a")
        server.stop()
        server.start()
        with pytest.raises(StoreError, match="closed the connection"):
            store.subscribers.count()
        assert store.subscribers.count() == 1
        store.close()
    finally:
        server.destroy()


@pytest.mark.parametrize(("given", "kept"), [("a\0b", "a b"), ("\udcff", "?"), ("x" * 600, "x" * 500), ("ä", "ä")])
def test_clean(given: str, kept: str) -> None:
    """A stranger's text is made such that every database takes it."""
    assert clean(given) == kept

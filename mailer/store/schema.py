"""The schema's version: bringing a database to it, and refusing one that is older or newer."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from mailer.errors import StoreError
from mailer.store.database import Database, Lock, connect

REVISIONS = ("0001", "0002", "0003")
"""All that this version knows, oldest first."""

CURRENT = REVISIONS[-1]

_TABLE = "alembic_version"
_MIGRATIONS = Path(__file__).parent / "migrations"


def revision(connection: Connection) -> str:
    """The database's schema version; empty for an empty database."""
    if not inspect(connection).has_table(_TABLE):
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def check(database: Database) -> None:
    """Raises ``StoreError`` unless the database has this version's schema."""
    with database.read() as connection:
        found = revision(connection)
    if found in REVISIONS[:-1] or not found:
        what = f"the database has schema {found} and needs {CURRENT}" if found else "the database is empty"
        raise StoreError(what, where=database.where, todo="Run mailer migrate.")
    _not_newer(found, database.where)


def upgrade(database: Database) -> tuple[str, str]:
    """Brings it to this version's schema, in one transaction; gives the versions before and after."""
    from alembic.command import upgrade as alembic_upgrade  # slow to import, and seldom needed
    from alembic.config import Config

    with database.write() as connection:
        database.lock(connection, Lock.SCHEMA)  # two processes at once: the second finds the work done
        before = revision(connection)
        if before:
            _not_newer(before, database.where)
        if before != CURRENT:
            config = Config()
            config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
            config.attributes["connection"] = connection
            alembic_upgrade(config, "head")
    return before, CURRENT


def migrate(url: str) -> tuple[str, str]:
    """Brings the database of a URL to this version's schema; gives the versions before ("" where empty) and after.

    Safe when two processes do it at once. Raises ``StoreError``.
    """
    database = connect(url, create=True)
    try:
        return upgrade(database)
    finally:
        database.close()


def _not_newer(found: str, where: str) -> None:
    if found not in REVISIONS:
        raise StoreError(
            f"the database was made by a newer mailer (schema {found}; this one knows {CURRENT})",
            where=where,
            todo="Install that version.",
        )

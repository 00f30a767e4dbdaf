"""What the database driver says, as a ``StoreError`` that says what, where and what to do."""

from __future__ import annotations

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from mailer.errors import StoreError, StoreUnavailable

# Part of the driver's message, in lower case → what is wrong, what to do. The first that fits counts.
_KNOWN: tuple[tuple[str, str, str], ...] = (
    # SQLite: messages of sqlite3_errstr()
    ("database is locked", "the database is locked by another process", "End the process that holds it, or wait."),
    ("database table is locked", "the database is locked", "Try again."),
    ("disk is full", "the disk is full", "Free some space; nothing that was committed is lost."),
    ("disk i/o error", "the disk can't be read or written", "Look at the disk and at the system's log."),
    ("unable to open database file", "the database file can't be opened", "Look at its path and its permissions."),
    ("readonly database", "the database file can't be written", "Look at the permissions of the file and its folder."),
    ("is not a database", "the file is no SQLite database", "Give another path in [store] url."),
    ("malformed", "the database file is damaged", "Restore it from a backup."),
    # PostgreSQL
    ("password authentication failed", "PostgreSQL refuses user or password", "Look at [store] url."),
    ("no password supplied", "PostgreSQL asks for a password", "Give one in [store] url."),
    ("no pg_hba.conf entry", "PostgreSQL doesn't allow this user from this host", "Look at pg_hba.conf."),
    ("failed to resolve host", "the database host isn't known", "Look at the host name in [store] url."),
    ("could not translate host name", "the database host isn't known", "Look at the host name in [store] url."),
    ("connection refused", "PostgreSQL can't be reached", "Start it, or look at host and port in [store] url."),
    ("no such file or directory", "PostgreSQL can't be reached", "Start it, or look at the socket in [store] url."),
    ("timeout expired", "PostgreSQL doesn't answer", "Look at host and port in [store] url, and at the network."),
    ("no space left", "the disk of PostgreSQL is full", "Free some space; nothing that was committed is lost."),
    ("could not extend file", "the disk of PostgreSQL is full", "Free some space; nothing committed is lost."),
    ("too many clients", "PostgreSQL has no connection left", "Raise max_connections, or run fewer workers."),
    ("remaining connection slots", "PostgreSQL has no connection left", "Raise max_connections, or run fewer workers."),
    ("deadlock detected", "two transactions waited for each other", "Try again."),
    ("lock timeout", "the database is locked by another process", "End the process that holds it, or wait."),
    ("starting up", "PostgreSQL is starting", "Wait a moment."),
    ("shutting down", "PostgreSQL is shutting down", "Start it again."),
    ("terminating connection", "PostgreSQL closed the connection", "Start it again, or wait."),
    ("server closed the connection", "PostgreSQL closed the connection", "Start it again, or wait."),
    ("the connection is closed", "PostgreSQL closed the connection", "Start it again, or wait."),
    ("consuming input failed", "PostgreSQL closed the connection", "Start it again, or wait."),
    ("does not exist", "PostgreSQL knows no such database or user", "Create it, or look at [store] url."),
    ("permission denied", "the database user may not do this", "Give it the rights, or look at [store] url."),
)

_AT_FAULT = (IntegrityError, DataError, ProgrammingError)


def store_error(error: SQLAlchemyError, where: str) -> StoreError:
    """The error as a person should read it. ``where`` is the database's address without the password.

    ``StoreUnavailable`` unless the statement or its values are at fault, which would be so the next time too.
    """
    kind = StoreError if isinstance(error, _AT_FAULT) else StoreUnavailable
    said = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    if isinstance(error, PoolTimeout):
        return StoreUnavailable("all connections to the database are in use", where=where, todo="Try again.")
    lower = said.lower()
    for part, what, todo in _KNOWN:
        if part in lower:
            return kind(what, where=where, todo=todo)
    line = next((line.strip() for line in said.splitlines() if line.strip()), type(error).__name__)
    return kind(f"the database says: {line}", where=where)

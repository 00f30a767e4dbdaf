"""The store, opened."""

from __future__ import annotations

from dataclasses import dataclass

from mailer.store import schema
from mailer.store.complaints import SqlComplaints
from mailer.store.database import Database, connect
from mailer.store.events import SqlEvents
from mailer.store.issues import SqlIssues
from mailer.store.ledger import SqlLedger
from mailer.store.preferences import SqlPreferences
from mailer.store.recovery import Recovery
from mailer.store.resend import Resends
from mailer.store.send_keys import SendKeys
from mailer.store.sends import SqlSends
from mailer.store.sign_ups import SqlSignUps
from mailer.store.subscribers import SqlSubscribers
from mailer.store.suppressions import SqlSuppressions
from mailer.store.workers import SqlWorkers


@dataclass(frozen=True, slots=True)
class SqlStore:
    """``mailer.service.ports.Store`` on SQLite or PostgreSQL; any thread may use it."""

    database: Database
    subscribers: SqlSubscribers
    preferences: SqlPreferences
    sign_ups: SqlSignUps
    suppressions: SqlSuppressions
    events: SqlEvents
    complaints: SqlComplaints
    issues: SqlIssues
    sends: SqlSends
    ledger: SqlLedger
    workers: SqlWorkers

    def ready(self) -> None:
        """Raises ``StoreError`` unless the database answers and has this version's schema."""
        schema.check(self.database)

    def close(self) -> None:
        """Closes all connections."""
        self.database.close()


def open_store(url: str, *, create: bool = False) -> SqlStore:
    """The store at ``sqlite:///path`` or ``postgresql://user:password@host/name``.

    ``create`` makes a SQLite file that isn't there, with its schema. Raises ``StoreError`` where the database can't be
    reached or has another version's schema.
    """
    database = connect(url, create=create)
    try:
        if create and database.dialect == "sqlite":
            with database.read() as connection:
                empty = not schema.revision(connection)
            if empty:
                schema.upgrade(database)
        schema.check(database)
    except BaseException:
        database.close()
        raise
    recovery, resends = Recovery(database), Resends(database)
    return SqlStore(
        database,
        SqlSubscribers(database, resends),
        SqlPreferences(database, resends),
        SqlSignUps(database, resends),
        SqlSuppressions(database),
        SqlEvents(database),
        SqlComplaints(database),
        SqlIssues(database),
        SqlSends(database, resends),
        SqlLedger(database, SendKeys(), recovery),
        SqlWorkers(database, recovery),
    )

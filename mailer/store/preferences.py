"""What a person changes about themselves, on the page behind ``links.preferences``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row

from mailer.model.people import Preferences
from mailer.store.database import Database, Lock, clean
from mailer.store.people import PERSON, person
from mailer.store.resend import Resends

_LONGEST = 1000


class SqlPreferences:
    """``mailer.service.ports.PreferenceStore``."""

    def __init__(self, database: Database, resends: Resends) -> None:
        self._database, self._resends = database, resends
        self._find = database.sql(
            "SELECT {person}, s.paused_until FROM subscribers s WHERE s.id = :id AND s.status <> 'unsubscribed'",
            person=PERSON,
        )
        self._save = database.sql(
            """UPDATE subscribers SET first_name = :first_name, last_name = :last_name, language = :language,
                paused_until = :paused_until, updated_at = :now
            WHERE id = :id AND status <> 'unsubscribed'"""
        )

    def find(self, subscriber: int) -> Preferences | None:
        with self._database.read() as connection:
            row = self._row(connection, subscriber)
        return None if row is None else _preferences(row)

    def save(self, subscriber: int, wanted: Preferences, now: float) -> bool:
        new = replace(
            wanted,
            first_name=clean(wanted.first_name, _LONGEST),
            last_name=clean(wanted.last_name, _LONGEST),
            language=clean(wanted.language, _LONGEST),
        )
        with self._database.write() as connection:
            self._database.lock(connection, Lock.PEOPLE)
            row = self._row(connection, subscriber)
            if row is None:
                return False
            old = _preferences(row)
            if new == old:
                return True
            if replace(new, paused_until=None) != replace(old, paused_until=None):
                self._resends.keep(connection, {subscriber: person(row)})
            values = {
                "id": subscriber,
                "first_name": new.first_name,
                "last_name": new.last_name,
                "language": new.language,
                "paused_until": new.paused_until,
                "now": now,
            }
            return connection.execute(self._save, values).rowcount > 0

    def _row(self, connection: Connection, subscriber: int) -> Row[Any] | None:
        return connection.execute(self._find, {"id": subscriber}).first()


def _preferences(row: Row[Any]) -> Preferences:
    return Preferences(row.first_name, row.last_name, row.language, row.paused_until)

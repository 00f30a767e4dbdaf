"""Addresses that mail may not go to. They outlive the subscriber: one imported again stays suppressed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Row

from mailer.model.people import Suppression
from mailer.store.database import Database, clean

_PAGE = 1000
_SKIP = """
    UPDATE recipients SET state = 'skipped', worker = NULL, next_attempt_at = NULL, updated_at = :now,
        reply = 'the address is suppressed'
    WHERE state IN ({can_skip})"""


class SqlSuppressions:
    """``mailer.service.ports.Suppressions``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = database.sql
        self._add = sql(
            "INSERT INTO suppressions (email_key, reason, source, created_at) VALUES (:key, :reason, :source, :now)"
            " ON CONFLICT DO NOTHING"
        )
        self._skip = [
            sql(
                """{skip} AND subscriber = (SELECT id FROM subscribers WHERE email_key = :key)
                AND send IN (SELECT key FROM sends WHERE state IN ({active_sends}))""",
                skip=_SKIP,
            ),
            sql(
                """{skip} AND address_key = :key
                AND send IN (SELECT key FROM sends WHERE kind = 'test' AND state IN ({active_sends}))""",
                skip=_SKIP,
            ),
        ]
        self._remove = sql("DELETE FROM suppressions WHERE email_key = :key")
        self._find = sql(
            """SELECT email_key, reason, source, created_at FROM suppressions
            WHERE email_key IN (SELECT k FROM {keys} AS g)""",
            keys=database.given("keys", k="text"),
        )
        self._each = sql(
            """SELECT email_key, reason, source, created_at FROM suppressions
            WHERE email_key > :after ORDER BY email_key LIMIT :page"""
        )

    def add(self, key: str, reason: str, source: str, now: float) -> bool:
        """True when it is new; one that is there keeps its reason. Effective for running sends when it returns."""
        values = {"key": key, "reason": clean(reason), "source": clean(source), "now": now}
        with self._database.write() as connection:
            added = connection.execute(self._add, values).rowcount > 0
        with self._database.write() as connection:  # after the commit above: see SqlSubscribers
            for statement in self._skip:
                connection.execute(statement, values)
        return added

    def remove(self, key: str) -> bool:
        with self._database.write() as connection:
            return connection.execute(self._remove, {"key": key}).rowcount > 0

    def find(self, keys: Sequence[str]) -> dict[str, Suppression]:
        with self._database.read() as connection:
            rows = connection.execute(self._find, {"keys": json.dumps([[key] for key in keys])})
            return {row.email_key: _suppression(row) for row in rows}

    def each(self) -> Iterator[Suppression]:
        after = ""
        while True:
            with self._database.read() as connection:
                page = [_suppression(row) for row in connection.execute(self._each, {"after": after, "page": _PAGE})]
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].email


def _suppression(row: Row[Any]) -> Suppression:
    return Suppression(row.email_key, row.reason, row.source, row.created_at)

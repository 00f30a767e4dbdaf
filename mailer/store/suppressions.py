"""Addresses that mail may not go to. They outlive the subscriber: one imported again stays suppressed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Row

from mailer.model.people import COMPLAINED, Suppression
from mailer.service.sign_up import LIFTED
from mailer.store.database import HOLD, Database, clean
from mailer.store.dialect import quoted

SUPPRESS = """
    INSERT INTO suppressions (email_key, reason, source, created_at)
    SELECT g.email_key, g.reason, g.source, g.created_at FROM {rows} AS g WHERE true
    ON CONFLICT (email_key) DO UPDATE
    SET reason = excluded.reason, source = excluded.source, created_at = excluded.created_at
    WHERE excluded.reason = 'complained' AND suppressions.reason <> 'complained'
        OR suppressions.reason IN ({lifted}) AND excluded.reason NOT IN ({lifted})"""
"""What is suppressed keeps its reason, unless one comes that outweighs it: a complaint outweighs all others, and what
only an operator may lift what a confirmation may."""

_PAGE = 1000
_OF_SUBSCRIBERS = """state IN ({can_skip})
    AND subscriber IN (SELECT id FROM subscribers WHERE email_key IN (SELECT k FROM {keys} AS g))
    AND send IN (SELECT key FROM sends WHERE state IN ({active_sends}))"""
_OF_TESTS = """state IN ({can_skip})
    AND address_key IN (SELECT k FROM {keys} AS g)
    AND send IN (SELECT key FROM sends WHERE kind = 'test' AND state IN ({active_sends}))"""
_SKIP = """
    UPDATE recipients SET state = {skipped}, worker = NULL, next_attempt_at = NULL, updated_at = :now,
        reply = 'the address is suppressed'
    WHERE {rows}"""


class SqlSuppressions:
    """``mailer.service.ports.Suppressions``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = database.sql
        given = database.given
        self._add = sql(
            SUPPRESS,
            rows=given("rows", email_key="text", reason="text", source="text", created_at="float"),
            lifted=quoted(LIFTED),
        )
        keys = given("keys", k="text")
        self._skip = [
            (sql(HOLD, keys=keys, rows=rows), sql(_SKIP, keys=keys, rows=rows)) for rows in (_OF_SUBSCRIBERS, _OF_TESTS)
        ]
        self._remove = sql("DELETE FROM suppressions WHERE email_key = :key")
        self._find = sql(
            """SELECT email_key, reason, source, created_at FROM suppressions
            WHERE email_key IN (SELECT k FROM {keys} AS g)""",
            keys=given("keys", k="text"),
        )
        self._by_reason = sql("SELECT reason, count(*) AS people FROM suppressions GROUP BY reason")
        self._each = sql(
            """SELECT email_key, reason, source, created_at FROM suppressions
            WHERE email_key > :after ORDER BY email_key LIMIT :page"""
        )

    def add(self, key: str, reason: str, source: str, now: float) -> bool:
        return self.add_all([Suppression(key, reason, source, now)], now) > 0

    def add_all(self, rows: Sequence[Suppression], now: float) -> int:
        cleaned: dict[str, tuple[str, str, str, float]] = {}
        for one in sorted(
            rows, key=_weight, reverse=True
        ):  # of an address the weightiest stays, and of these the first
            cleaned.setdefault(one.email, (one.email, clean(one.reason), clean(one.source), one.created_at))
        with self._database.write() as connection:
            added = connection.execute(self._add, {"rows": json.dumps(sorted(cleaned.values()))}).rowcount
        values = {"keys": json.dumps([[key] for key in sorted(cleaned)]), "now": now}
        with self._database.write() as connection:  # after the commit above: see SqlSubscribers
            for hold, skip in self._skip:
                self._database.hold(connection, hold, values)
                connection.execute(skip, values)
        return added

    def remove(self, key: str) -> bool:
        with self._database.write() as connection:
            return connection.execute(self._remove, {"key": key}).rowcount > 0

    def find(self, keys: Sequence[str]) -> dict[str, Suppression]:
        with self._database.read() as connection:
            rows = connection.execute(self._find, {"keys": json.dumps([[key] for key in keys])})
            return {row.email_key: _suppression(row) for row in rows}

    def by_reason(self) -> dict[str, int]:
        with self._database.read() as connection:
            return {row.reason: row.people for row in connection.execute(self._by_reason)}

    def each(self) -> Iterator[Suppression]:
        after = ""
        while True:
            with self._database.read() as connection:
                page = [_suppression(row) for row in connection.execute(self._each, {"after": after, "page": _PAGE})]
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].email


def _weight(one: Suppression) -> int:
    """The order in which ``SUPPRESS`` lets a reason outweigh another."""
    return 2 if one.reason == COMPLAINED else int(one.reason not in LIFTED)


def _suppression(row: Row[Any]) -> Suppression:
    return Suppression(row.email_key, row.reason, row.source, row.created_at)

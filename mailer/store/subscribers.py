"""The people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from mailer.delivery.destination import destination
from mailer.model.people import Subscriber, SubscriberStatus
from mailer.service.ports import Change, Incoming, Leader, Upserted
from mailer.store.database import HOLD, Database, Lock, clean
from mailer.store.feedback import Feedback
from mailer.store.people import BY_KEYS, PERSON, REACHABLE, dump_attributes, person
from mailer.store.removed import Removed
from mailer.store.resend import Resends
from mailer.store.sign_ups import FORGET as FORGET_SIGN_UPS

_PAGE = 1000
_FIELDS = ("first_name", "last_name", "language", "timezone")
_LONGEST = 10_000
_STORED = (*_FIELDS, "attributes")
_SKIPPING = """
    persona = NULL,
    state = CASE WHEN state IN ({can_skip}) THEN {skipped} ELSE state END,
    worker = CASE WHEN state IN ({can_skip}) THEN NULL ELSE worker END,
    next_attempt_at = CASE WHEN state IN ({can_skip}) THEN NULL ELSE next_attempt_at END,
    updated_at = CASE WHEN state IN ({can_skip}) THEN :now ELSE updated_at END"""


class SqlSubscribers:
    """``mailer.service.ports.Subscribers``.

    What ends somebody's mail is done in two transactions: first it is committed, then the rows that wait are moved. A
    claim or a dot that saw the person as they were before holds their row, and the second transaction waits for it. It
    takes the rows in the order in which groups of a worker, and of events, do: else each could wait for the other.
    """

    def __init__(self, database: Database, resends: Resends) -> None:
        self._database, self._resends, self._feedback = database, resends, Feedback(database)
        self._removed = Removed(database)
        sql, given = database.sql, database.given
        columns = ("email_key", "email", "destination", *_STORED)
        rows = given("rows", **dict.fromkeys(columns, "text"))
        self._by_keys = sql(BY_KEYS, person=PERSON, keys=given("keys", k="text"))
        self._insert = sql(
            """INSERT INTO subscribers ({columns}, status, created_at, confirmed_at, updated_at)
            SELECT {columns}, 'subscribed', :now, :now, :now FROM {rows} AS g""",
            columns=", ".join(columns),
            rows=rows,
        )
        self._update = sql(
            """UPDATE subscribers SET {changes}, updated_at = :now FROM {rows} AS g
            WHERE subscribers.email_key = g.email_key""",
            changes=", ".join(f"{name} = g.{name}" for name in _STORED),
            rows=rows,
        )
        self._new_names = sql(
            "INSERT INTO attribute_names (name) SELECT n FROM {names} AS g WHERE true ON CONFLICT DO NOTHING",
            names=given("names", n="text"),
        )
        self._names = sql("SELECT name FROM attribute_names ORDER BY name")
        self._delete = sql("DELETE FROM subscribers WHERE id = :id RETURNING id, unsubscribed_at")
        self._forget_sign_ups = sql(FORGET_SIGN_UPS)
        self._all_of_them = sql(HOLD, rows="subscriber = :id")
        # Addresses go; what happened stays. A test-send's rows are found by address, and by whom they show.
        self._forget = [
            sql(
                """UPDATE recipients SET subscriber = NULL, email = '', destination = '', {skipping}
                WHERE subscriber = :id AND send IN (SELECT key FROM sends)""",
                skipping=_SKIPPING,
            ),
            sql(
                """UPDATE recipients SET address_key = '', email = '', destination = '', {skipping}
                WHERE address_key = :key AND send IN (SELECT key FROM sends WHERE kind = 'test')""",
                skipping=_SKIPPING,
            ),
            sql(
                """UPDATE recipients SET persona = NULL
                WHERE {persona_id} = :id AND send IN (SELECT key FROM sends WHERE kind = 'test')"""
            ),
        ]
        self._unsubscribe = sql(
            """UPDATE subscribers SET status = 'unsubscribed', unsubscribed_at = :now, updated_at = :now
            WHERE id = :id AND status <> 'unsubscribed'"""
        )
        self._has_not_left = sql(
            "SELECT NOT EXISTS (SELECT 1 FROM subscribers WHERE id = :id AND status = 'unsubscribed')"
        )
        waiting = """subscriber = :id AND state IN ({can_skip})
            AND send IN (SELECT key FROM sends WHERE state IN ({active_sends}))"""
        self._waiting = sql(HOLD, rows=waiting)
        self._skip = sql(
            """UPDATE recipients SET state = {skipped}, worker = NULL, next_attempt_at = NULL, reply = 'unsubscribed',
                updated_at = :now
            WHERE {rows}""",
            rows=waiting,
        )
        self._each = {
            reachable: sql(
                "SELECT {person} FROM subscribers s WHERE s.id > :after {only} ORDER BY s.id LIMIT :page",
                person=PERSON,
                only=f"AND {REACHABLE}" if reachable else "",
            )
            for reachable in (False, True)
        }
        self._count = sql("SELECT count(*) FROM subscribers s WHERE {reachable}", reachable=REACHABLE)
        self._leaders = sql(
            """SELECT s.first_name, s.email, l.brought
            FROM subscribers s JOIN (
                SELECT referrer_id, count(*) AS brought, max(confirmed_at) AS reached FROM subscribers
                WHERE referrer_id IS NOT NULL AND confirmed_at >= :since AND confirmed_at < :until
                GROUP BY referrer_id) AS l ON l.referrer_id = s.id
            ORDER BY l.brought DESC, l.reached, s.id LIMIT :limit"""
        )

    def upsert(self, rows: Sequence[Incoming], now: float) -> list[Upserted]:
        with self._database.write() as connection:
            self._database.lock(connection, Lock.PEOPLE)
            known = self._known(connection, {row.key for row in rows})
            before = dict(known)
            removed = self._removed.find(connection, {row.key for row in rows} - known.keys())
            answers: list[Upserted] = []
            for row in rows:
                old = known.get(row.key)
                new = _merged(old, row)
                if old is None and removed.get(row.key, (0, None))[1] is not None:
                    new = replace(new, status=SubscriberStatus.UNSUBSCRIBED)
                change: Change = "added" if old is None else "unchanged" if new == old else "updated"
                answers.append(Upserted(change, new.status))
                known[row.key] = new
            added = [_values(key, s) for key, s in known.items() if key not in before]
            changed = [_values(key, s) for key, s in known.items() if key in before and before[key] != s]
            self._resends.keep(connection, {before[key].id: before[key] for key, *_ in changed})
            for statement, values in ((self._insert, added), (self._update, changed)):
                if values:
                    connection.execute(statement, {"rows": json.dumps(values), "now": now})
            self._removed.come_back(connection, removed)
            names = sorted({name for row in rows for name in row.attributes or ()})
            if names:
                connection.execute(self._new_names, {"names": json.dumps([[name] for name in names])})
        return answers

    def find(self, key: str) -> Subscriber | None:
        with self._database.read() as connection:
            return self._known(connection, {key}).get(key)

    def remove(self, key: str, now: float) -> bool:
        found = self.find(key)
        if found is None:
            return False
        values = {"id": found.id, "key": key, "now": now}
        for _ in range(2):  # the second time finds rows that a send wrote meanwhile
            with self._database.write() as connection:
                self._database.hold(connection, self._all_of_them, {"id": found.id})
                for statement in self._forget:
                    connection.execute(statement, values)
                # As they were at the last moment: whoever unsubscribes beside this has done so before it, or after.
                for row in connection.execute(self._delete, values).all():
                    self._removed.note(connection, key, row.id, row.unsubscribed_at)
                connection.execute(self._forget_sign_ups, values)
        return True

    def unsubscribe(self, subscriber: int, now: float, *, send: int | None = None) -> bool:
        values = {"id": subscriber, "now": now}
        with self._database.write() as connection:
            changed = connection.execute(self._unsubscribe, values).rowcount > 0
            if not changed and connection.execute(self._has_not_left, values).scalar():
                self._database.lock(connection, Lock.PEOPLE)  # an import may be bringing them back
                changed = connection.execute(self._unsubscribe, values).rowcount > 0
                if not changed:
                    self._removed.leave(connection, subscriber, now)
            if changed:
                self._feedback.left(connection, subscriber, send, now)
        with self._database.write() as connection:
            self._database.hold(connection, self._waiting, {"id": subscriber})
            connection.execute(self._skip, values)
        return changed

    def each(self, *, reachable: bool = False) -> Iterator[Subscriber]:
        after = 0
        while True:
            with self._database.read() as connection:
                page = [
                    person(row) for row in connection.execute(self._each[reachable], {"after": after, "page": _PAGE})
                ]
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].id

    def count(self) -> int:
        with self._database.read() as connection:
            return int(connection.execute(self._count).scalar_one())

    def attribute_names(self) -> list[str]:
        with self._database.read() as connection:
            return list(connection.execute(self._names).scalars())

    def leaders(self, since: float, until: float, limit: int) -> list[Leader]:
        with self._database.read() as connection:
            rows = connection.execute(self._leaders, {"since": since, "until": until, "limit": limit})
            return [Leader(row.first_name or _masked(row.email), row.brought) for row in rows]

    def _known(self, connection: Connection, keys: set[str]) -> dict[str, Subscriber]:
        rows = connection.execute(self._by_keys, {"keys": json.dumps([[key] for key in sorted(keys)])})
        return {row.email_key: person(row) for row in rows}


def _merged(old: Subscriber | None, row: Incoming) -> Subscriber:
    """What is there, with what the row brings."""
    base = old or Subscriber(id=0, email=clean(row.email, _LONGEST))
    brought = {name: clean(value, _LONGEST) for name in _FIELDS if (value := getattr(row, name)) is not None}
    attributes = {name: clean(value, _LONGEST) for name, value in (row.attributes or {}).items()}
    fields = {name: getattr(base, name) for name in _FIELDS} | brought
    return Subscriber(base.id, base.email, **fields, attributes={**base.attributes, **attributes}, status=base.status)


def _values(key: str, subscriber: Subscriber) -> list[str]:
    fields = [getattr(subscriber, name) for name in _FIELDS]
    return [key, subscriber.email, destination(subscriber.email), *fields, dump_attributes(subscriber.attributes)]


def _masked(email: str) -> str:
    """``a…@example.com``"""
    return f"{email[:1]}…@{email.rpartition('@')[2]}"

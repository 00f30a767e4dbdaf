"""The inbox of events: stored once each before their source hears 200, kept for a while after they were acted on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from mailer.bounces.event import Event, EventType, Reason
from mailer.model.ledger import SendId
from mailer.service.inbox import RELAY, Acted, Decision, KeptEvent, NewEvent, NewEvents, Once, TokenReused
from mailer.store.acting import SOFT_SECONDS, Acting
from mailer.store.database import Database, clean

KEEP_SECONDS = 90 * 86400.0
"""How long an event is kept after it was acted on: as long as its source may tell it again, and people may ask."""

TOKEN_SECONDS = 10 * 3600.0
"""How long a token is known: longer than its signature is taken."""

MAX_RAW = 65_536
"""Characters of the source's own words that are kept of an event: one request may tell of a thousand recipients."""

_LONGEST_ID = 300


class SqlEvents:
    """``mailer.service.inbox.Events``."""

    def __init__(self, database: Database) -> None:
        self._database, self._acting = database, Acting(database)
        sql, hot, given = database.sql, database.hot, database.given
        self._add = hot(
            """INSERT INTO events (provider, event_id, received_at, verified, send, position, event)
            SELECT g.provider, g.event_id, g.received_at, g.verified, g.send, g.position, g.event
            FROM {events} AS g WHERE true
            ON CONFLICT (provider, event_id) DO NOTHING RETURNING provider, event_id""",
            events=given(
                "events",
                provider="text",
                event_id="text",
                received_at="float",
                verified="int",
                send="text",
                position="int",
                event="text",
            ),
        )
        tokens = given("tokens", token="text", digest="text", received_at="float")  # noqa: S106 - a column's type
        self._take = hot(
            """INSERT INTO webhook_tokens (token, digest, received_at)
            SELECT g.token, g.digest, g.received_at FROM {tokens} AS g WHERE true
            ON CONFLICT DO NOTHING RETURNING token""",
            tokens=tokens,
        )
        self._taken = hot(
            "SELECT t.token, t.digest FROM {tokens} AS g JOIN webhook_tokens t ON t.token = g.token", tokens=tokens
        )
        self._waiting = hot(
            """SELECT key, provider, CASE WHEN acted_at IS NULL THEN {without_raw} ELSE event END, received_at, send,
                position, verified, acted_at
            FROM events WHERE state = 'new' ORDER BY key LIMIT :limit""",
            without_raw=_WITHOUT_RAW,
        )
        self._refusals = hot(
            """SELECT e.id, r.position, r.email, r.state, r.code, r.status, r.reply, r.updated_at
            FROM recipients r {by_refused} JOIN sends e ON e.key = r.send
            WHERE r.refused_at IS NOT NULL LIMIT :limit"""
        )
        self._backlog = sql(
            """SELECT count(*) AS waiting, min(CASE WHEN acted_at IS NULL THEN received_at END) AS since FROM events
            WHERE state = 'new'"""
        )
        self._some = sql(
            "SELECT max(key) FROM (SELECT key FROM events WHERE key > :after ORDER BY key LIMIT :limit) AS g"
        )
        self._replay = sql(
            """UPDATE events SET state = 'new' WHERE key > :after AND key <= :last AND state <> 'new'
            AND received_at >= :since AND CAST(:provider AS text) IN ('', provider)"""
        )
        self._totals = sql("SELECT provider, type, reason, total FROM event_totals")
        old = """SELECT key FROM (SELECT key, received_at, state FROM events ORDER BY key LIMIT :limit) AS first
            WHERE received_at < :until AND state <> 'new'"""
        old_tokens = "SELECT token FROM webhook_tokens WHERE received_at < :tokens_until LIMIT :limit"
        old_bounces = "SELECT email_key, send FROM soft_bounces WHERE at < :bounces_until LIMIT :limit"
        self._anything_old = sql(
            "SELECT EXISTS ({old}) OR EXISTS ({old_tokens}) OR EXISTS ({old_bounces})",
            old=old,
            old_tokens=old_tokens,
            old_bounces=old_bounces,
        )
        self._forget = [
            sql("DELETE FROM events WHERE key IN ({old})", old=old),
            sql("DELETE FROM webhook_tokens WHERE token IN ({old})", old=old_tokens),
            sql("DELETE FROM soft_bounces WHERE (email_key, send) IN ({old})", old=old_bounces),
        ]

    def add(self, provider: str, events: Sequence[NewEvent], now: float, *, once: Once | None = None) -> int:
        (stored,) = self.add_all([NewEvents(provider, events, now, once)])
        if isinstance(stored, TokenReused):
            raise stored
        return stored

    def add_all(self, told: Sequence[NewEvents]) -> list[int | TokenReused]:
        rows = [[_row(one, event) for event in one.events] for one in told]
        with self._database.write() as connection:
            answers = self._take_tokens(connection, told)
            to_add = [row for answer, several in zip(answers, rows, strict=True) if answer is None for row in several]
            # In one order, so that two transactions with the same events never wait for each other in a circle.
            values = {"events": json.dumps(sorted(to_add, key=_key))}
            new = set(self._add.run(connection, values)) if to_add else set()
        counted: list[int | TokenReused] = []
        for answer, several in zip(answers, rows, strict=True):
            own = new.intersection(map(_key, several)) if answer is None else set()
            new -= own
            counted.append(len(own) if answer is None else answer)
        return counted

    def _take_tokens(self, connection: Connection, told: Sequence[NewEvents]) -> list[int | TokenReused | None]:
        """What is clear before events are stored: 0 for what came before, the error for what only looks like it."""
        tokens = [clean(f"{one.provider}:{one.once.token}") if one.once else "" for one in told]
        wanted: dict[str, tuple[str, float]] = {}
        for token, one in zip(tokens, told, strict=True):
            if one.once:
                wanted.setdefault(token, (one.once.digest, one.at))
        if not wanted:
            return [None] * len(told)
        values = {"tokens": json.dumps([(token, *wanted[token]) for token in sorted(wanted)])}
        new = {token for (token,) in self._take.run(connection, values)}
        digests = dict(self._taken.run(connection, values))
        answers: list[int | TokenReused | None] = []
        for token, one in zip(tokens, told, strict=True):
            if one.once and digests.get(token) != one.once.digest:
                answers.append(TokenReused("the request's token came before, with another body", where=one.provider))
            else:
                answers.append(None if not one.once or token in new else 0)
                new.discard(token)
        return answers

    def waiting(self, limit: int) -> list[KeptEvent]:
        with self._database.read() as connection:
            self._database.along_index(connection)
            return [_kept(*row) for row in self._waiting.run(connection, {"limit": limit})]

    def refusals(self, limit: int) -> list[KeptEvent]:
        with self._database.read() as connection:
            return [_refusal(*row) for row in self._refusals.run(connection, {"limit": limit})]

    def act(self, decisions: Sequence[Decision], now: float, soft_limit: int) -> Acted:
        return self._acting.act(decisions, now, soft_limit)

    def forget(self, now: float, limit: int) -> int:
        values = {
            "limit": limit,
            "until": now - KEEP_SECONDS,
            "tokens_until": now - TOKEN_SECONDS,
            "bounces_until": now - SOFT_SECONDS,
        }
        with self._database.read() as connection:
            self._database.along_index(connection)
            if not connection.execute(self._anything_old, values).scalar():
                return 0
        with self._database.write() as connection:
            return sum(connection.execute(statement, values).rowcount for statement in self._forget)

    def replay(self, provider: str, since: float, after: int, limit: int) -> tuple[int, int | None]:
        values = {"provider": provider, "since": since, "after": after}
        with self._database.write() as connection:
            last = connection.execute(self._some, {"after": after, "limit": limit}).scalar()
            if last is None:
                return 0, None
            return connection.execute(self._replay, values | {"last": last}).rowcount, int(last)

    def backlog(self) -> tuple[int, float | None]:
        with self._database.read() as connection:
            found = connection.execute(self._backlog).one()
            return found.waiting, found.since

    def totals(self) -> dict[tuple[str, str, str], int]:
        with self._database.read() as connection:
            return {(row.provider, row.type, row.reason): row.total for row in connection.execute(self._totals)}


def dump_event(event: Event) -> str:
    """An event as JSON in ASCII: no NUL and no lone surrogate of the source's reaches the database as such."""
    raw = event.raw if isinstance(event.raw, str) else json.dumps(event.raw)
    fields: dict[str, object] = {
        "type": event.type,
        "recipient": event.recipient,
        "permanent": event.permanent,
        "reason": event.reason,
        "status": event.status,
        "diagnostic": event.diagnostic,
        "message_id": event.message_id,
        "event_id": event.event_id,
        "timestamp": event.timestamp,
    }
    return json.dumps(
        {name: value for name, value in fields.items() if value not in (None, "")} | {"raw": raw[:MAX_RAW]}
    )


def load_event(text: str) -> Event:
    """The inverse of ``dump_event``, but for ``raw``, which stays JSON text."""
    fields: dict[str, Any] = json.loads(text)
    fields["type"] = EventType(fields["type"])
    if "reason" in fields:
        fields["reason"] = Reason(fields["reason"])
    return Event(**fields)


_WITHOUT_RAW = """substr(event, 1, {index_of}(event, ', "raw": "') - 1) || '}}'"""
"""What ``dump_event`` gives, but for the last field: within a text, a quotation mark would be escaped."""

_Row = tuple[str, str, float, int, str | None, int | None, str]
"""Provider, event id, when it came, whether it is verified, send, position, event."""


def _row(told: NewEvents, new: NewEvent) -> _Row:
    event = dump_event(new.event)
    own = clean(new.event.event_id, _LONGEST_ID) or hashlib.sha256(event.encode()).hexdigest()[:32]
    return told.provider, own, told.at, int(new.verified), new.send, new.position, event


def _key(row: _Row) -> tuple[str, str]:
    return row[:2]


def _kept(
    key: int,
    provider: str,
    event: str,
    received_at: float,
    send: str | None,
    position: int | None,
    verified: int,
    acted_at: float | None,
) -> KeptEvent:
    own = SendId(send) if send is not None else None
    return KeptEvent(key, provider, load_event(event), received_at, own, position, bool(verified), acted_at is not None)


def _refusal(
    send: str,
    position: int,
    email: str,
    state: str,
    code: int | None,
    status: str | None,
    reply: str | None,
    updated_at: float,
) -> KeptEvent:
    """``permanent`` is None: a 5xx says that trying again is of no use, not that the address is no good."""
    said = f"{code or ''} {status or ''} {reply or ''}"
    event = Event(
        EventType.BOUNCED if code else EventType.FAILED,  # without a reply there was no message, or no relay
        recipient=email,
        permanent=None if state == "failed" else False,
        status=status or "",
        diagnostic=" ".join(said.split()),
        event_id=f"{send}:{position}",
        timestamp=updated_at,
    )
    return KeptEvent(0, RELAY, event, updated_at, SendId(send), position)

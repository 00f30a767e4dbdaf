"""Doing what was decided about events: a group of them in one transaction, which also marks them as done.

Everything here can be done twice and changes nothing the second time. Rows that wait for somebody who is suppressed or
has left from now on aren't touched: their claim, and their dot, will ask. Only one transaction of this kind runs at a
time. It takes the locks of sends before it changes any row, as all others do.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection

from mailer.model.ledger import RecipientState, SendId
from mailer.model.people import BOUNCED, COMPLAINED, SOFT_BOUNCES
from mailer.service.effects import BLOCKED, Effect
from mailer.service.inbox import MAIL, Acted, Decision
from mailer.service.sign_up import LIFTED
from mailer.store.database import Database, Hot, Lock, clean
from mailer.store.dialect import quoted
from mailer.store.feedback import LATEST, LATEST_SECONDS, Feedback
from mailer.store.suppressions import SUPPRESS

SOFT_SECONDS = 90 * 86400.0
"""How long a temporary failure counts against an address."""


class _About(NamedTuple):
    """What a decision is about, as the ledger knows it: 0 and empty for what it doesn't. ``proven``: the event named
    the message itself; else it is put down to the latest send that reached the address."""

    send: int = 0
    send_id: SendId | None = None
    position: int = 0
    state: str = ""
    subscriber: int = 0
    address: str = ""
    test: bool = False
    proven: bool = False
    unjudged: bool = False


@dataclass(slots=True)
class _Work:
    """The rows that the statements of a group are given."""

    settled: list[tuple[int, int, str, str, str]] = field(default_factory=list)
    judged: list[tuple[int, int]] = field(default_factory=list)
    left: dict[int, float] = field(default_factory=dict)
    suppressed: dict[str, tuple[str, str]] = field(default_factory=dict)
    soft: dict[tuple[str, int], float] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    cleared: dict[str, float] = field(default_factory=dict)
    feedback: set[tuple[int, int, str, float]] = field(default_factory=set)
    totals: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    blocked: Counter[SendId] = field(default_factory=Counter)
    done: list[tuple[int, str, str]] = field(default_factory=list)


class Acting:
    """Statements that act."""

    def __init__(self, database: Database) -> None:
        self._database, self._feedback = database, Feedback(database)
        hot, given = database.hot, database.given
        self._new = hot("SELECT key FROM events WHERE state = 'new' AND key BETWEEN :first AND :last")
        self._by_message = hot(
            """SELECT g.n, e.key AS send, e.id AS send_id, r.position, r.state, coalesce(r.subscriber, 0) AS subscriber,
                coalesce(r.address_key, s.email_key, '') AS address, e.kind, r.refused_at IS NOT NULL AS unjudged
            FROM {messages} AS g CROSS JOIN sends e CROSS JOIN recipients r
            LEFT JOIN subscribers s ON s.id = r.subscriber
            WHERE e.id = g.send AND r.send = e.key AND r.position = g.position""",
            messages=given("messages", n="int", send="text", position="int"),
        )
        self._by_address = hot(
            """SELECT f.n, f.subscriber, coalesce(e.key, 0) AS send, coalesce(e.id, '') AS send_id,
                coalesce(r.position, 0) AS position
            FROM (SELECT g.n, s.id AS subscriber, ({latest}) AS send
                FROM {addresses} AS g CROSS JOIN subscribers s WHERE s.email_key = g.address) AS f
            LEFT JOIN sends e ON e.key = f.send
            LEFT JOIN recipients r ON r.send = f.send AND r.subscriber = f.subscriber""",
            addresses=given("addresses", n="int", address="text", at="float"),
            latest=LATEST.format(at="g.at", latest_seconds=LATEST_SECONDS),
        )
        self._settle = hot(
            """UPDATE recipients AS r SET state = g.state, judged = 1, updated_at = :now, status = nullif(g.status, ''),
                reply = g.reply
            FROM {settled} AS g
            WHERE r.send = g.send AND r.position = g.position AND r.state = 'in_doubt'
                AND (r.state, g.state) IN {legal_moves}""",
            settled=given("settled", send="int", position="int", state="text", status="text", reply="text"),
        )
        self._judge = hot(
            """UPDATE recipients AS r SET judged = 1 FROM {judged} AS g
            WHERE r.send = g.send AND r.position = g.position""",
            judged=given("judged", send="int", position="int"),
        )
        self._leave = hot(
            """UPDATE subscribers AS s SET status = 'unsubscribed', unsubscribed_at = :now, updated_at = :now
            FROM {left} AS g
            WHERE s.id = g.id AND s.status <> 'unsubscribed' AND coalesce(s.confirmed_at, g.at) <= g.at""",
            left=given("left", id="int", at="float"),
        )
        self._suppress = hot(
            SUPPRESS,
            rows=given("rows", email_key="text", reason="text", source="text", created_at="float"),
            lifted=quoted(LIFTED),
        )
        self._count = hot(
            """INSERT INTO soft_bounces (email_key, send, at) SELECT g.email_key, g.send, g.at FROM {soft} AS g
            WHERE true ON CONFLICT DO NOTHING""",
            soft=given("soft", email_key="text", send="int", at="float"),
        )
        self._clear = hot(
            """DELETE FROM soft_bounces WHERE (email_key, send) IN (
                SELECT b.email_key, b.send FROM {cleared} AS g CROSS JOIN soft_bounces b
                WHERE b.email_key = g.email_key AND b.at <= g.at)""",
            cleared=given("cleared", email_key="text", at="float"),
        )
        self._too_many = hot(
            """SELECT email_key FROM soft_bounces
            WHERE email_key IN (SELECT k FROM {keys} AS g) AND at > :since
            GROUP BY email_key HAVING count(*) >= :soft_limit""",
            keys=given("keys", k="text"),
        )
        self._add_up = hot(
            """INSERT INTO event_totals (provider, type, reason, total)
            SELECT g.provider, g.type, g.reason, g.total FROM {totals} AS g WHERE true
            ON CONFLICT (provider, type, reason) DO UPDATE SET total = event_totals.total + excluded.total""",
            totals=given("totals", provider="text", type="text", reason="text", total="int"),
        )
        self._done = hot(
            """UPDATE events AS r SET state = g.state, acted_at = :now, done = g.done FROM {done} AS g
            WHERE r.key = g.key""",
            done=given("done", key="int", state="text", done="text"),
        )

    def act(self, decisions: Sequence[Decision], now: float, soft_limit: int) -> Acted:
        """See ``mailer.service.inbox.Events``."""
        with self._database.write() as connection:
            self._database.lock(connection, Lock.EVENTS)
            found = self._found(connection, self._not_done(connection, decisions))
            work = _work(found, now)
            in_doubt = {send for send, *_ in work.settled}
            self._database.lock_shared(connection, Lock.SEND, in_doubt)
            settled = self._run(connection, self._settle, "settled", work.settled, now=now)
            self._run(connection, self._judge, "judged", work.judged)
            left = self._run(connection, self._leave, "left", work.left.items(), now=now)
            self._weigh_soft(connection, work, now, soft_limit)
            rows = [(key, *why, now) for key, why in work.suppressed.items()]
            suppressed = self._run(connection, self._suppress, "rows", rows)
            self._feedback.note(connection, work.feedback)
            self._run(connection, self._add_up, "totals", [(*key, count) for key, count in work.totals.items()])
            self._run(connection, self._done, "done", work.done, now=now)
        return Acted(len(found), suppressed, left, settled, dict(work.blocked))

    def _not_done(self, connection: Connection, decisions: Sequence[Decision]) -> list[Decision]:
        keys = [one.kept.key for one in decisions if one.kept.key]
        if not keys:
            return list(decisions)
        new = {key for (key,) in self._new.run(connection, {"first": min(keys), "last": max(keys)})}
        return [one for one in decisions if not one.kept.key or one.kept.key in new]

    def _found(self, connection: Connection, decisions: Sequence[Decision]) -> list[tuple[Decision, _About]]:
        """Each with what it is about; relays' refusals only while nobody has looked at them."""
        found: dict[int, _About] = {}
        messages = [(n, *one.message) for n, one in enumerate(decisions) if one.message]
        if messages:
            for n, send, send_id, position, state, subscriber, address, kind, unjudged in self._by_message.run(
                connection, {"messages": json.dumps(messages)}
            ):
                found[n] = _About(
                    send,
                    SendId(send_id),
                    position,
                    state,
                    subscriber,
                    address or decisions[n].address,
                    kind == "test",
                    proven=True,
                    unjudged=bool(unjudged),
                )
        addresses = [
            (n, one.address, one.at)
            for n, one in enumerate(decisions)
            if one.address and (n not in found or _is_of_removed(one, found[n]))
        ]
        if addresses:
            for n, subscriber, send, send_id, position in self._by_address.run(
                connection, {"addresses": json.dumps(addresses)}
            ):
                if n in found:
                    found[n] = found[n]._replace(subscriber=subscriber)
                    continue
                found[n] = _About(send, SendId(send_id), position, subscriber=subscriber, address=decisions[n].address)
        return [
            (one, about)
            for n, one in enumerate(decisions)
            for about in (found.get(n, _About(address=one.address)),)
            if one.kept.key or about.unjudged
        ]

    def _weigh_soft(self, connection: Connection, work: _Work, now: float, soft_limit: int) -> None:
        self._run(connection, self._count, "soft", [(*key, at) for key, at in work.soft.items()])
        self._run(connection, self._clear, "cleared", work.cleared.items())
        if work.soft:
            values = {
                "keys": json.dumps(sorted({(address,) for address, _ in work.soft})),
                "since": now - SOFT_SECONDS,
                "soft_limit": soft_limit,
            }
            for (address,) in self._too_many.run(connection, values):
                work.suppressed.setdefault(address, (SOFT_BOUNCES, work.sources[address]))

    def _run(
        self, connection: Connection, statement: Hot, name: str, rows: Iterable[tuple[Any, ...]], **values: float
    ) -> int:
        """A statement for rows, sorted, so that groups never wait for each other in a circle; how many it changed."""
        ordered = sorted(rows)
        if not ordered:
            return 0
        return int(statement.run(connection, {name: json.dumps(ordered), **values}).rowcount)


def _is_of_removed(one: Decision, about: _About) -> bool:
    """Whether the person of a message was removed, and a provider says whose address it went to: they may be back. A
    mail proves the message, and no address that it names."""
    return not about.subscriber and not about.test and one.kept.provider != MAIL


def _work(found: Collection[tuple[Decision, _About]], now: float) -> _Work:
    work = _Work()
    for one, about in found:
        event, kept = one.kept.event, one.kept
        if not kept.again:
            work.totals[clean(kept.provider), event.type.value, event.reason or ""] += 1
        done = _effect(work, one, about)
        if about.proven and one.settles is not None and about.state == RecipientState.IN_DOUBT:
            reply = clean(f"{kept.provider} says: {event.diagnostic or event.type.value}")
            work.settled.append((about.send, about.position, one.settles, clean(event.status, 20), reply))
            done += f", settled as {one.settles}"
        if about.unjudged:
            work.judged.append((about.send, about.position))
        if about.send:
            work.feedback |= {(about.send, about.position, kind, one.at) for kind in one.counted}
            if about.send_id and BLOCKED in one.counted:
                work.blocked[about.send_id] += 1
        if kept.key:
            state = "ignored" if done.startswith("nothing") else "acted"
            work.done.append((kept.key, state, done))
    return work


def _effect(work: _Work, one: Decision, about: _About) -> str:
    """Notes what is to be done; gives what to say of it."""
    source = clean(one.kept.source)
    if not one.kept.verified:
        return "nothing: it isn't proven who says so"
    match one.effect:
        case Effect.NOTHING | Effect.TELL:
            return one.effect
        case Effect.UNSUBSCRIBE:
            if about.test:
                return "nothing: it was a test-send"
            if not about.subscriber:
                return "nothing: no subscriber has this address"
            work.left[about.subscriber] = max(one.at, work.left.get(about.subscriber, 0.0))
            return one.effect
    if not about.address:
        return "nothing: nobody knows whose address it is"
    match one.effect:
        case Effect.COMPLAINT:
            work.suppressed[about.address] = (COMPLAINED, source)
        case Effect.SUPPRESS:
            work.suppressed.setdefault(about.address, (BOUNCED, source))
        case Effect.COUNT:
            work.soft.setdefault((about.address, about.send), one.at)
            work.sources[about.address] = source
        case Effect.CLEAR:
            work.cleared[about.address] = max(one.at, work.cleared.get(about.address, 0.0))
    return one.effect

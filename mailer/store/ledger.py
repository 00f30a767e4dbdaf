"""The ledger: the protocol's transactions (DESIGN §7).

Each is one commit of very few statements for a whole group. How they stand against each other on PostgreSQL, where
transactions overlap (SQLite has one writer, so there the question doesn't arise):

* Whatever a worker does holds the send's lock shared; whoever pauses, cancels, resolves or reaps holds it exclusively.
  A pause that has returned was committed before any later ``dot`` began, and each ``dot`` that was granted was
  committed before it. And none of these can wait for the other's rows in a circle.
* An unsubscribe or a suppression is committed first, and then moves the person's rows. A ``dot`` that began before it
  was committed and so couldn't see it holds the row; moving the row waits for it. One that began later sees it.
* Two claims never wait for each other (``SKIP LOCKED``), and never get the same row.
* ``claim`` locks its worker's row: ``reap`` can't remove a worker between the check that it lives and its claims.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import NamedTuple

from sqlalchemy import Connection

from mailer.model.ledger import Batch, Outcome, Recipient, RecipientState, SendId, WorkerId
from mailer.model.people import Subscriber
from mailer.service.ports import NO_LIMITS, Key
from mailer.store import statements
from mailer.store.database import Database, Lock, clean
from mailer.store.people import PERSON, load_persona, person
from mailer.store.recovery import Recovery
from mailer.store.send_keys import SendKeys

_REFUSED = {
    "removed": "the subscriber was removed",
    "unsubscribed": "unsubscribed",
    "suppressed": "the address is suppressed",
}


class _Candidate(NamedTuple):
    """A row of ``statements.CANDIDATES``, its columns in order; the subscriber's are None where there is none."""

    position: int
    epoch: int
    email: str
    destination: str
    attempts: int
    first_attempt_at: float | None
    address_key: str | None
    persona: str | None
    resends: int
    referrals_then: int
    suppressed: bool
    id: int | None
    subscriber_email: str
    first_name: str
    last_name: str
    language: str
    timezone: str
    attributes: str
    subscriber_status: str
    referrals: int


class SqlLedger:
    """``mailer.service.ports.Ledger``."""

    def __init__(self, database: Database, keys: SendKeys, recovery: Recovery) -> None:
        self._database, self._keys, self._recovery = database, keys, recovery
        claims = {
            "claims": database.given("claims", send="int", position="int", epoch="int"),
            "same": statements.SAME,
            "unwanted": statements.UNWANTED,
        }
        outcomes = database.given(
            "outcomes",
            send="int",
            position="int",
            epoch="int",
            state="text",
            next_attempt_at="float",
            code="int",
            status="text",
            reply="text",
        )
        sql, hot = database.sql, database.hot
        self._holder = hot(statements.HOLDER)
        not_full = {"full": database.given("full", name="text"), "not_full": statements.NOT_FULL}
        self._candidates = {
            restricted: hot(statements.CANDIDATES, person=PERSON, **(not_full if restricted else {"not_full": ""}))
            for restricted in (False, True)
        }
        taken = database.given("claims", send="int", position="int", epoch="int", referrals="int")
        self._claim = hot(statements.CLAIM, taken=taken, same=statements.SAME)
        self._skip = sql(statements.SKIP, reasons=database.given("reasons", send="int", position="int", reason="text"))
        self._dot = hot(statements.DOT, **claims)
        self._skip_unwanted = sql(statements.SKIP_UNWANTED, **claims)
        self._release = hot(statements.RELEASE, **claims)
        self._settle = hot(statements.SETTLE, outcomes=outcomes, same=statements.SAME, tried=statements.TRIED)
        self._running_sends = sql("SELECT id, key, deaths FROM sends WHERE state = 'running' ORDER BY key")
        self._batches = {
            restricted: sql(
                statements.BATCHES,
                **(not_full if restricted else {"not_full": ""}),
                first_waiting=statements.FIRST_WAITING,
            )
            for restricted in (False, True)
        }

    def claim(
        self,
        send: SendId,
        first: int,
        last: int,
        worker: WorkerId,
        limit: int,
        now: float,
        room: Mapping[str, int] = NO_LIMITS,
    ) -> list[Recipient]:
        with self._database.write() as connection:
            key = self._keys.find(connection, send)
            if key is None:
                return []
            self._database.lock_shared(connection, Lock.SEND, [key])
            found_holder = self._holder.run(connection, {"worker": worker, "send": key}).fetchone()
            if found_holder is None:
                return []
            holder = found_holder[0]
            monday = _monday(now)
            place: dict[str, float | str] = {
                "send": key,
                "first": first,
                "last": last,
                "limit": limit,
                "now": now,
                "monday": monday,
            }
            left = dict(room)
            while True:
                if left:
                    place["full"] = _names(name for name, number in left.items() if number <= 0)
                found = rows = list(map(_Candidate._make, self._candidates[bool(left)].run(connection, place)))
                skipped = [(key, row.position, _REFUSED[why]) for row in rows if (why := _unwanted(row))]
                if skipped:
                    values = {"reasons": json.dumps(skipped), "removed": _REFUSED["removed"], "now": now}
                    connection.execute(self._skip, values)
                    rows = [row for row in rows if not _unwanted(row)]
                if left:
                    rows = [row for row in rows if _fits(row.destination, left)]
                if rows:
                    claims = json.dumps([(key, row.position, row.epoch, _referrals(row)) for row in rows])
                    self._claim.run(connection, {"claims": claims, "worker": holder, "now": now})
                if rows or not found:  # all were skipped, or had no room: there may be others behind them
                    return [_recipient(send, row) for row in rows]
                place["first"] = found[-1].position + 1

    def write(
        self, now: float, *, outcomes: Sequence[Outcome] = (), releases: Sequence[Key] = (), dots: Sequence[Key] = ()
    ) -> set[Key]:
        with self._database.write() as connection:
            sends = {one.send for one in outcomes} | {send for send, _, _ in (*releases, *dots)}
            keys = {send: key for send in sends if (key := self._keys.find(connection, send)) is not None}
            self._database.lock_shared(connection, Lock.SEND, keys.values())
            if settled := [_values(keys[one.send], one, now) for one in outcomes if one.send in keys]:
                settled.sort(key=itemgetter(0, 1, 2))
                self._settle.run(connection, {"outcomes": json.dumps(settled), "now": now})
            if released := _rows(keys, releases):
                self._release.run(connection, {"claims": json.dumps(released), "now": now})
            if wanted := _rows(keys, dots):
                return self._dotted(connection, keys, wanted, now)
        return set()

    def _dotted(
        self, connection: Connection, keys: Mapping[SendId, int], wanted: Sequence[_Row], now: float
    ) -> set[Key]:
        granted = set(self._dot.run(connection, {"claims": json.dumps(wanted), "now": now}))
        if len(granted) < len(wanted):
            # What is still claimed was refused: for the person's sake, or because the send doesn't run.
            values = {"claims": json.dumps([row for row in wanted if row not in granted]), "now": now}
            connection.execute(self._skip_unwanted, values)
            self._release.run(connection, values)
        names = {key: send for send, key in keys.items()}
        return {(names[key], position, epoch) for key, position, epoch in granted}

    def held(self, worker: WorkerId) -> set[Key]:
        return self._recovery.held(worker)

    def reap(self, now: float, lease: float, grace: float = 0.0) -> tuple[int, int]:
        return self._recovery.reap(now, lease, grace)

    def expire(self, now: float, retry_for: float) -> int:
        return self._recovery.expire(now, retry_for)

    def unfinished(self, now: float, batch_size: int, leave_out: Collection[str] = ()) -> list[Batch]:
        values = {"size": batch_size, "now": now, **({"full": _names(leave_out)} if leave_out else {})}
        with self._database.read() as connection:
            self._database.along_index(connection)
            return [
                Batch(SendId(send), number * batch_size + 1, (number + 1) * batch_size, f"{deaths}.{epoch}")
                for send, key, deaths in connection.execute(self._running_sends).all()
                for number, epoch in connection.execute(self._batches[bool(leave_out)], {"send": key, **values}).all()
            ]


_Row = tuple[int, int, int]


def _names(names: Iterable[str]) -> str:
    return json.dumps([[name] for name in sorted(names)])


def _fits(destination: str, left: dict[str, int]) -> bool:
    """Whether the destination has room for one more, which is then taken."""
    if destination not in left:
        return True
    left[destination] -= 1
    return left[destination] >= 0


def _rows(keys: Mapping[SendId, int], claims: Iterable[Key]) -> list[_Row]:
    """The claims by their sends' keys, in the one order that keeps two groups from waiting for each other."""
    return sorted((keys[send], position, epoch) for send, position, epoch in claims if send in keys)


def _values(key: int, outcome: Outcome, now: float) -> tuple[object, ...]:
    due = (outcome.next_attempt_at or now) if outcome.state is RecipientState.DEFERRED else None
    reply = outcome.reply
    said = clean(reply.status, 20), clean(reply.text)
    return key, outcome.position, outcome.epoch, outcome.state, due, reply.code, *said


def _unwanted(row: _Candidate) -> str:
    """Why a candidate gets no mail; empty when it does. Of test-sends only suppressed addresses are left out."""
    if row.suppressed:
        return "suppressed"
    if row.address_key is not None or row.subscriber_status == "subscribed":
        return ""
    return "removed" if row.id is None else "unsubscribed"


def _recipient(send: SendId, row: _Candidate) -> Recipient:
    if row.address_key is not None:
        whom = load_persona(row.persona) if row.persona is not None else Subscriber(id=0, email=row.email)
    elif row.resends and row.persona is not None:
        whom = replace(load_persona(row.persona), referrals_this_week=row.referrals_then)
    else:
        whom = person(row, _referrals(row))
    return Recipient(
        send, row.position, row.epoch + 1, row.email, row.attempts, row.first_attempt_at, whom, row.destination
    )


def _referrals(row: _Candidate) -> int:
    """This week's; for a message that is sent again, those of then."""
    return row.referrals_then if row.resends else row.referrals


def _monday(now: float) -> float:
    """The beginning of the ISO week, in UTC."""
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (today - timedelta(days=today.weekday())).timestamp()

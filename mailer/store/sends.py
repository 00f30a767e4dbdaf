"""Sends: created with their ledgers, started, paused, cancelled, finished."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Any, Literal

from sqlalchemy import Connection, Row, TextClause

from mailer.errors import SendError, nearest
from mailer.model.ledger import RecipientReport, RecipientState, Send, SendId, SendKind, SendState, Status
from mailer.service.ports import Addressee, NewSend
from mailer.store.audience import Audience, nobody, segment_ids
from mailer.store.database import Database, Lock, clean, scalar
from mailer.store.people import REACHABLE
from mailer.store.resend import TO_RESEND, Resends
from mailer.store.status import Figures

_PAGE = 1000
_MANY = 1000
_COLUMNS = "id, key, slug, kind, state, artefact, audience, date, scheduled_at, started_at, finished_at, reason"


class SqlSends:
    """``mailer.service.ports.Sends``."""

    def __init__(self, database: Database, resends: Resends) -> None:
        self._database, self._resends = database, resends
        self._audience, self._figures = Audience(database), Figures(database)
        sql = database.sql
        self._get = sql("SELECT {columns} FROM sends WHERE id = :id", columns=_COLUMNS)
        self._ids = sql("SELECT id FROM sends ORDER BY key")
        self._all = sql("SELECT {columns} FROM sends ORDER BY key", columns=_COLUMNS)
        self._uncancelled = sql(
            "SELECT id, state FROM sends WHERE slug = :slug AND kind = 'issue' AND state <> 'cancelled' ORDER BY key"
        )
        self._insert = sql(
            """INSERT INTO sends
                (id, slug, kind, state, artefact, audience, subscribers, date, created_at, scheduled_at, started_at)
            SELECT :id, :slug, :kind, :state, :artefact, 0, count(*), :date, :now, :scheduled_at, :started_at
            FROM subscribers s WHERE {reachable} RETURNING key""",
            reachable=REACHABLE,
        )
        self._message_at = sql(
            """SELECT e.id, r.email FROM sends e JOIN recipients r ON r.send = e.key
            WHERE e.key = :key AND r.position = :position"""
        )
        self._set_audience = sql("UPDATE sends SET audience = :audience WHERE key = :key")
        self._previous = sql(
            """SELECT subscribers FROM sends WHERE kind = 'issue' AND slug <> :slug AND state <> 'cancelled'
            ORDER BY key DESC LIMIT 1"""
        )
        self._state = sql(
            """UPDATE sends SET state = :state, reason = :reason, started_at = :started_at, finished_at = :finished_at
            WHERE key = :key"""
        )
        self._release = sql(
            """UPDATE recipients {by_touched} SET state = 'pending', worker = NULL, updated_at = :now
            WHERE send = :send AND open_epoch > 0 AND state IN ({can_release})"""
        )
        self._skip = sql(
            """UPDATE recipients {by_unfinished} SET state = {skipped}, worker = NULL, next_attempt_at = NULL,
                reply = 'the send was cancelled', updated_at = :now
            WHERE send = :send AND open_epoch IS NOT NULL AND state IN ({can_skip})"""
        )
        self._due = sql(
            "SELECT id FROM sends WHERE state = 'scheduled' AND scheduled_at <= :now ORDER BY scheduled_at, key"
        )
        open_rows = """EXISTS (
            SELECT 1 FROM recipients r {by_unfinished} WHERE r.send = sends.key AND r.open_epoch IS NOT NULL)"""
        self._done = sql(
            """SELECT id FROM sends WHERE state = 'running' AND NOT {open_rows}
                AND NOT EXISTS (SELECT 1 FROM recipients r {by_lost} WHERE r.send = sends.key AND {to_resend})
            ORDER BY key""",
            open_rows=open_rows,
            to_resend=TO_RESEND,
        )
        # A row that was in flight while its send was cancelled, or in doubt when it finished, may have been deferred
        # since, by a reply that came late.
        self._leftover = sql(
            "SELECT id FROM sends WHERE state IN ('cancelled', 'finished') AND {open_rows}", open_rows=open_rows
        )
        self._arrived = sql(
            """UPDATE recipients {by_lost} SET state = 'sent', updated_at = :now
            WHERE send = :send AND lost_at IS NOT NULL AND state IN ({can_accept}) AND state = 'in_doubt'"""
        )
        report = """SELECT position, email, state, attempts, code, status, reply, updated_at FROM recipients
            WHERE send = :send AND position > :after"""
        self._report = sql("{report} ORDER BY position LIMIT :page", report=report)
        self._report_of = sql("{report} AND state = :state ORDER BY position LIMIT :page", report=report)

    # --- creating

    def create(self, new: NewSend, segment: Iterable[int] | None, now: float, *, remaining: bool = False) -> Send:
        ids = segment_ids(segment)
        with self._database.write() as connection:
            self._database.lock(connection, Lock.SLUG, [new.slug])
            if not remaining and (there := connection.execute(self._uncancelled, {"slug": new.slug}).first()):
                raise SendError(
                    f"{new.slug} was sent already: {there.id} is {there.state}",
                    todo=f"See mailer status {there.id}. Only those it doesn't cover can still be sent to.",
                )
            key, send = self._new(connection, new, now)
            at = now if new.scheduled_at is None else new.scheduled_at
            audience = self._audience.write(connection, key, new.slug, ids, now, at)
            made = self._counted(connection, key, send, new.slug, audience)
            # Whoever changes people knows of this send, or is done before it can be claimed: see mailer.store.resend.
            self._database.lock_shared(connection, Lock.PEOPLE, [0])
            return made

    def create_test(self, new: NewSend, recipients: Sequence[Addressee], now: float) -> Send:
        with self._database.write() as connection:
            self._database.lock(connection, Lock.SLUG, [new.slug])
            key, send = self._new(connection, new, now)
            audience = self._audience.write_tests(connection, key, recipients, now)
            return self._counted(connection, key, send, new.slug, audience)

    def _new(self, connection: Connection, new: NewSend, now: float) -> tuple[int, SendId]:
        stem = new.slug if new.kind is SendKind.ISSUE else f"{new.slug}-test"
        count = "SELECT count(*) FROM sends WHERE slug = :slug AND kind = :kind"
        number = 1 + int(scalar(connection, count, slug=new.slug, kind=new.kind))
        while connection.execute(self._get, {"id": f"{stem}-{number}"}).first():  # of a slug such as kw24-test
            number += 1
        values = {
            "id": f"{stem}-{number}",
            "slug": new.slug,
            "kind": new.kind,
            "state": SendState.RUNNING if new.scheduled_at is None else SendState.SCHEDULED,
            "artefact": new.artefact,
            "date": new.date,
            "now": now,
            "scheduled_at": new.scheduled_at,
            "started_at": now if new.scheduled_at is None else None,
        }
        return int(connection.execute(self._insert, values).scalar_one()), SendId(f"{stem}-{number}")

    def _counted(self, connection: Connection, key: int, send: SendId, slug: str, audience: int) -> Send:
        if not audience:
            raise nobody(slug)
        connection.execute(self._set_audience, {"key": key, "audience": audience})
        if audience >= _MANY:
            self._database.analyze(connection, "recipients")
        return self._find(connection, send)

    # --- reading

    def get(self, send: SendId) -> Send:
        with self._database.read() as connection:
            return self._find(connection, send)

    def _find(self, connection: Connection, send: SendId) -> Send:
        row = connection.execute(self._get, {"id": send}).first()
        if row is None:
            ids = list(connection.execute(self._ids).scalars())
            raise SendError(f"there is no send {send!r}", todo=nearest(send, ids[-20:]) or "Nothing was sent yet.")
        return _send(row)

    def all(self) -> list[Send]:
        """Oldest first."""
        with self._database.read() as connection:
            return [_send(row) for row in connection.execute(self._all)]

    def previous_subscribers(self, slug: str) -> int | None:
        """Cancelled sends don't count."""
        with self._database.read() as connection:
            found: int | None = connection.execute(self._previous, {"slug": slug}).scalar()
            return found

    def remaining(self, slug: str, segment: Iterable[int] | None = None, *, at: float = inf) -> int:
        with self._database.read() as connection:
            return self._audience.remaining(connection, slug, segment, at)

    def status(self, send: SendId, now: float) -> Status:
        with self._database.read() as connection:
            return self._figures.status(connection, self._find(connection, send), now)

    def waiting(self, send: SendId) -> tuple[int, int]:
        with self._database.read() as connection:
            return self._figures.waiting(connection, self._find(connection, send))

    def waiting_for(self, send: SendId, destinations: Collection[str]) -> dict[str, int]:
        with self._database.read() as connection:
            return self._figures.waiting_for(connection, self._find(connection, send), destinations)

    def message_at(self, key: int, position: int) -> tuple[SendId, str] | None:
        with self._database.read() as connection:
            row = connection.execute(self._message_at, {"key": key, "position": position}).one_or_none()
            return None if row is None else (SendId(row.id), row.email)

    def sent_since(self, moment: float) -> int:
        with self._database.read() as connection:
            return self._figures.sent_since(connection, moment)

    def recipients(self, send: SendId, state: RecipientState | None) -> Iterator[RecipientReport]:
        key, after = self.get(send).key, 0
        statement = self._report if state is None else self._report_of
        while True:
            with self._database.read() as connection:
                page = connection.execute(statement, {"send": key, "after": after, "state": state, "page": _PAGE}).all()
            yield from map(_report, page)
            if len(page) < _PAGE:
                return
            after = page[-1].position

    # --- steering

    def pause(self, send: SendId, reason: str, now: float) -> Send:
        with self._database.write() as connection:
            found = self._held(connection, send)
            if found.state is SendState.PAUSED:
                return found
            self._only(found, "paused", SendState.SCHEDULED, SendState.RUNNING)
            connection.execute(self._release, {"send": found.key, "now": now})
            return self._become(connection, found, SendState.PAUSED, reason=reason)

    def resume(self, send: SendId, now: float) -> Send:
        with self._database.write() as connection:
            found = self._held(connection, send)
            if found.state in (SendState.SCHEDULED, SendState.RUNNING):
                return found
            self._only(found, "resumed", SendState.PAUSED)
            if found.scheduled_at is not None and found.scheduled_at > now:
                return self._become(connection, found, SendState.SCHEDULED)
            return self._become(connection, found, SendState.RUNNING, started_at=found.started_at or now)

    def cancel(self, send: SendId, now: float) -> Send:
        with self._database.write() as connection:
            found = self._held(connection, send)
            if found.state is SendState.CANCELLED:
                return found
            self._only(found, "cancelled", SendState.SCHEDULED, SendState.RUNNING, SendState.PAUSED)
            connection.execute(self._skip, {"send": found.key, "now": now})
            return self._become(connection, found, SendState.CANCELLED, finished_at=now)

    def start_due(self, now: float, freshness: float) -> list[Send]:
        """Gives those it started or held."""
        changed = []
        for send in self._ids_of(self._due, {"now": now}):
            with self._database.write() as connection:
                found = self._held(connection, send)
                if found.state is not SendState.SCHEDULED or found.scheduled_at is None:
                    continue
                late = now - found.scheduled_at
                if late > freshness:
                    reason = f"overdue by {late / 3600:.1f} hours when it could have started: resume it, or cancel it"
                    changed.append(self._become(connection, found, SendState.PAUSED, reason=reason))
                else:
                    changed.append(self._become(connection, found, SendState.RUNNING, started_at=now))
        return changed

    def finish(self, now: float, *, resend_since: float = inf) -> list[SendId]:
        finished, since = [], {"since": resend_since}
        for send in self._ids_of(self._done, since):
            with self._database.write() as connection:
                found = self._held(connection, send)
                # Looked at again under the lock: an operator may have had the in-doubt sent again meanwhile.
                if send in set(connection.execute(self._done, since).scalars()):
                    self._become(connection, found, SendState.FINISHED, reason=found.reason, finished_at=now)
                    finished.append(send)
        for send in self._ids_of(self._leftover, {}):
            with self._database.write() as connection:
                found = self._held(connection, send)
                if found.state is SendState.CANCELLED:
                    connection.execute(self._skip, {"send": found.key, "now": now})
                elif found.state is SendState.FINISHED:
                    self._become(connection, found, SendState.RUNNING)
        return finished

    def resolve(self, send: SendId, how: Literal["resend", "sent"], now: float) -> int:
        """Raises ``SendError`` when asked to send again what was cancelled."""
        with self._database.write() as connection:
            found = self._held(connection, send)
            if how == "sent":
                return connection.execute(self._arrived, {"send": found.key, "now": now}).rowcount
            if found.state is SendState.CANCELLED:
                raise SendError(f"{send} was cancelled, so nothing of it is sent again", todo="Settle it as sent.")
            return self._run_again(connection, found, self._resends.again(connection, found.key, now))

    def resend_lost(self, now: float, since: float, until: float) -> int:
        moved = 0
        for send in self._resends.sends(since, until):
            with self._database.write() as connection:
                found = self._held(connection, send)
                if found.state in (SendState.RUNNING, SendState.FINISHED):
                    again = self._resends.once(connection, found.key, now, since, until)
                    moved += self._run_again(connection, found, again)
        return moved

    def _run_again(self, connection: Connection, send: Send, resent: int) -> int:
        if resent and send.state is SendState.FINISHED:
            self._become(connection, send, SendState.RUNNING)
        return resent

    def _ids_of(self, statement: TextClause, values: Mapping[str, float]) -> list[SendId]:
        with self._database.read() as connection:
            return [SendId(send) for send in connection.execute(statement, values).scalars()]

    def _held(self, connection: Connection, send: SendId) -> Send:
        """The send, with its lock held: no claim and no dot of it is under way until this transaction ends."""
        self._database.lock(connection, Lock.SEND, [self._find(connection, send).key])
        return self._find(connection, send)

    def _only(self, send: Send, what: str, *states: SendState) -> None:
        if send.state not in states:
            raise SendError(f"{send.id} is {send.state} and can't be {what}")

    def _become(
        self,
        connection: Connection,
        send: Send,
        state: SendState,
        *,
        reason: str = "",
        started_at: float | None = None,
        finished_at: float | None = None,
    ) -> Send:
        values = {
            "key": send.key,
            "state": state,
            "reason": clean(reason),
            "started_at": send.started_at if started_at is None else started_at,
            "finished_at": finished_at,
        }
        connection.execute(self._state, values)
        return self._find(connection, send.id)


def _send(row: Row[Any]) -> Send:
    return Send(
        SendId(row.id),
        row.key,
        row.slug,
        SendKind(row.kind),
        SendState(row.state),
        row.artefact,
        row.audience,
        row.date,
        row.scheduled_at,
        row.started_at,
        row.finished_at,
        row.reason,
    )


def _report(row: Row[Any]) -> RecipientReport:
    reply = row.reply or ""
    if row.status and not reply.startswith(row.status):
        reply = f"{row.status} {reply}".strip()
    return RecipientReport(
        row.email, RecipientState(row.state), row.attempts, row.code, reply, row.position, row.updated_at
    )

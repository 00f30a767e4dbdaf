"""A send in figures."""

from __future__ import annotations

import json
from collections.abc import Collection

from sqlalchemy import Connection

from mailer.model.ledger import RecipientState, Send, Status
from mailer.service.effects import BLOCKED, BOUNCED, COMPLAINED, UNSUBSCRIBED
from mailer.store.database import Database
from mailer.store.feedback import Feedback

_RATE_SECONDS = 30.0


class Figures:
    """Counts over the ledger; the caller's transaction makes them one moment's."""

    def __init__(self, database: Database) -> None:
        self._counts = database.sql(
            """SELECT state, count(*), sum(CASE WHEN updated_at > :since THEN 1 ELSE 0 END), min(next_attempt_at)
            FROM recipients WHERE send = :send GROUP BY state"""
        )
        self._feedback = Feedback(database)
        self._waiting = database.sql(
            """SELECT count(*) AS people, sum(CASE
                    WHEN x.email_key IS NOT NULL THEN 1
                    WHEN r.address_key IS NULL AND coalesce(s.status, '') <> 'subscribed' THEN 1
                    ELSE 0 END) AS unwanted
            FROM recipients r {by_unfinished}
            LEFT JOIN subscribers s ON s.id = r.subscriber
            LEFT JOIN suppressions x ON x.email_key = coalesce(r.address_key, s.email_key)
            WHERE r.send = :send AND r.open_epoch IS NOT NULL AND r.state IN ({can_claim})"""
        )

        self._waiting_for = database.sql(
            """SELECT r.destination, count(*) AS people FROM recipients r {by_unfinished}
            WHERE r.send = :send AND r.open_epoch IS NOT NULL
                AND r.destination IN (SELECT g.name FROM {names} AS g)
            GROUP BY r.destination""",
            names=database.given("names", name="text"),
        )
        # Only sends that may have sent anything since then: their ledgers are read through.
        self._sent_since = database.sql(
            """SELECT count(*) FROM sends e JOIN recipients r ON r.send = e.key
            WHERE (e.finished_at IS NULL OR e.finished_at >= :since)
            AND r.state IN ('sent', 'dotted', 'in_doubt') AND r.updated_at >= :since"""
        )

    def waiting(self, connection: Connection, send: Send) -> tuple[int, int]:
        """Of the pending and deferred: how many would be sent if the send ran now, and how many skipped."""
        found = connection.execute(self._waiting, {"send": send.key}).one()
        unwanted = found.unwanted or 0
        return found.people - unwanted, unwanted

    def waiting_for(self, connection: Connection, send: Send, destinations: Collection[str]) -> dict[str, int]:
        """How many recipients of these destinations aren't done."""
        names = json.dumps([(name,) for name in sorted(destinations)])
        rows = connection.execute(self._waiting_for, {"send": send.key, "names": names})
        return {row.destination: row.people for row in rows}

    def sent_since(self, connection: Connection, moment: float) -> int:
        """How many messages relays have taken since then, or may have taken."""
        return int(connection.execute(self._sent_since, {"since": moment}).scalar_one())

    def status(self, connection: Connection, send: Send, now: float) -> Status:
        """What came back is counted once a recipient: see ``mailer.store.feedback``."""
        counts = dict.fromkeys(RecipientState, 0)
        sent_lately, next_attempt_at = 0, None
        for state, count, recent, due in connection.execute(
            self._counts, {"send": send.key, "since": now - _RATE_SECONDS}
        ):
            counts[RecipientState(state)] = count
            if state == RecipientState.SENT:
                sent_lately = recent
            if state == RecipientState.DEFERRED:
                next_attempt_at = due
        # A send that began a moment ago has had less time than the window.
        window = min(_RATE_SECONDS, max(now - (send.started_at or now), 1.0))
        back = self._feedback.counts(connection, send.key)
        return Status(
            send=send,
            counts=counts,
            bounced=back.get(BOUNCED, 0),
            complained=back.get(COMPLAINED, 0),
            unsubscribed=back.get(UNSUBSCRIBED, 0),
            blocked=back.get(BLOCKED, 0),
            rate_per_second=sent_lately / window,
            next_attempt_at=next_attempt_at,
        )

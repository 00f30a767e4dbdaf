"""What came back of a send, for its figures: each of its recipients once for each kind."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from sqlalchemy import Connection

from mailer.store.database import Database

LATEST_SECONDS = 30 * 86400.0
"""What comes back without naming its message is put down to the latest send of so many seconds before."""

LATEST = """
    SELECT e.key FROM sends e CROSS JOIN recipients t
    WHERE t.send = e.key AND t.subscriber = s.id AND e.kind = 'issue'
        AND e.started_at <= {at} AND e.started_at > {at} - {latest_seconds}
        AND t.state IN ('sent', 'in_doubt', 'dotted')
    ORDER BY e.started_at DESC LIMIT 1"""
"""The latest send that reached the subscriber ``s``; ``{at}`` is when something came back. CROSS JOIN: SQLite looks the
person up in each send; else it reads the rows of all recipients there ever were, for each event."""


class Feedback:
    """Statements over the table ``feedback``."""

    def __init__(self, database: Database) -> None:
        sql = database.sql
        self._note = sql(
            """INSERT INTO feedback (send, position, kind, at)
            SELECT g.send, g.position, g.kind, g.at FROM {rows} AS g WHERE true ON CONFLICT DO NOTHING""",
            rows=database.given("rows", send="int", position="int", kind="text", at="float"),
        )
        self._left = sql(
            """INSERT INTO feedback (send, position, kind, at)
            SELECT r.send, r.position, 'unsubscribed', :now
            FROM subscribers s JOIN recipients r ON r.subscriber = s.id AND r.send = coalesce(:send, ({latest}))
            WHERE s.id = :id ON CONFLICT DO NOTHING""",
            latest=LATEST.format(at=":now", latest_seconds=LATEST_SECONDS),
        )
        self._counts = sql("SELECT kind, count(*) AS people FROM feedback WHERE send = :send GROUP BY kind")

    def note(self, connection: Connection, rows: Collection[tuple[int, int, str, float]]) -> None:
        """Rows: send, position, kind, when."""
        if rows:
            connection.execute(self._note, {"rows": json.dumps(sorted(rows))})

    def left(self, connection: Connection, subscriber: int, send: int | None, now: float) -> None:
        """A person has left: by the link in a message of ``send``; None: put down to the latest that reached them."""
        connection.execute(self._left, {"id": subscriber, "send": send, "now": now})

    def counts(self, connection: Connection, send: int) -> Mapping[str, int]:
        """How many recipients of each kind."""
        return {row.kind: row.people for row in connection.execute(self._counts, {"send": send})}

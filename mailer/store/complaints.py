"""Complaints of a send, weighed against what it has sent."""

from __future__ import annotations

from mailer.model.ledger import SendId, SendState
from mailer.service.inbox import Complaints
from mailer.store.database import Database, clean


class SqlComplaints:
    """``mailer.service.inbox.ComplaintBook``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._unweighed = database.sql(
            """SELECT e.id, e.key, e.state, e.complaint_rate, count(*) AS complaints
            FROM feedback f JOIN sends e ON e.key = f.send
            WHERE f.kind = 'complained' AND e.kind = 'issue'
            GROUP BY e.id, e.key, e.state, e.complaint_rate, e.complaints_weighed
            HAVING count(*) > e.complaints_weighed ORDER BY e.key"""
        )
        self._sent = database.sql("SELECT count(*) FROM recipients WHERE send = :send AND state = 'sent'")
        self._weighed = database.sql(
            """UPDATE sends SET complaints_weighed = :complaints, complaint_rate = :rate,
                reason = CASE WHEN reason = '' THEN :reason ELSE reason END
            WHERE id = :id"""
        )

    def unweighed(self) -> list[Complaints]:
        with self._database.read() as connection:
            return [
                Complaints(
                    SendId(row.id),
                    SendState(row.state),
                    row.complaints,
                    int(connection.execute(self._sent, {"send": row.key}).scalar_one()),
                    row.complaint_rate,
                )
                for row in connection.execute(self._unweighed).all()
            ]

    def weighed(self, send: SendId, complaints: int, noted_rate: float, reason: str) -> None:
        values = {"id": send, "complaints": complaints, "rate": noted_rate, "reason": clean(reason)}
        with self._database.write() as connection:
            connection.execute(self._weighed, values)

"""Rows that a worker will never finish: those of the dead, and those deferred for too long."""

from __future__ import annotations

from mailer.model.ledger import SendId, WorkerId
from mailer.service.ports import Key
from mailer.store.database import Database, Lock


class Recovery:
    """Statements over rows that were claimed at least once and aren't finished: few, and found by an index."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._suspect = database.sql(
            "UPDATE workers SET suspected_at = :now WHERE beat_at < :since AND suspected_at IS NULL"
        )
        self._bury = database.sql("DELETE FROM workers WHERE beat_at < :since AND suspected_at <= :until")
        self._count_death = database.sql("UPDATE sends SET deaths = deaths + 1 WHERE state = 'running'")
        self._held = database.sql(
            """SELECT e.id, r.position, r.epoch FROM recipients r {by_touched} JOIN sends e ON e.key = r.send
            WHERE r.open_epoch > 0 AND r.worker = (SELECT key FROM workers WHERE id = :id)"""
        )
        held = "worker IS NOT NULL AND worker NOT IN (SELECT key FROM workers)"
        self._anything = database.sql(
            """SELECT EXISTS (SELECT 1 FROM workers WHERE beat_at < :since)
                OR EXISTS (SELECT 1 FROM recipients {by_touched} WHERE open_epoch > 0 AND {held})""",
            held=held,
        )
        self._sends = database.sql(
            "SELECT DISTINCT send FROM recipients {by_touched} WHERE open_epoch > 0 AND {held}", held=held
        )
        self._release = database.sql(
            """UPDATE recipients {by_touched} SET state = 'pending', worker = NULL, updated_at = :now
            WHERE open_epoch > 0 AND state IN ({can_release}) AND {held}""",
            held=held,
        )
        self._lose = database.sql(
            """UPDATE recipients {by_touched} SET state = 'in_doubt', worker = NULL, updated_at = :now,
                attempts = attempts + 1, first_attempt_at = coalesce(first_attempt_at, :now),
                code = NULL, status = NULL, reply = 'the worker died before it saw the reply'
            WHERE open_epoch > 0 AND state IN ({can_lose}) AND {held}""",
            held=held,
        )
        self._due = database.sql(
            """SELECT EXISTS (SELECT 1 FROM recipients {by_touched}
            WHERE open_epoch > 0 AND state IN ({can_expire}) AND first_attempt_at <= :until)"""
        )
        self._expire = database.sql(
            """UPDATE recipients {by_touched} SET state = {expired}, next_attempt_at = NULL, updated_at = :now
            WHERE open_epoch > 0 AND state IN ({can_expire}) AND first_attempt_at <= :until"""
        )

    def held(self, worker: WorkerId) -> set[Key]:
        """What a worker has claimed or dotted and not settled."""
        with self._database.read() as connection:
            return {
                (SendId(send), position, epoch)
                for send, position, epoch in connection.execute(self._held, {"id": worker})
            }

    def reap(self, now: float, lease: float, grace: float) -> tuple[int, int]:
        """Removes dead workers and frees what they held: (claimed, dotted).

        Dead is who wasn't heard of for ``lease`` seconds, and not for ``grace`` more after that was first noticed: if
        it was the database that couldn't be used, or a clock that is wrong, a living one beats in between.
        """
        values = {"now": now, "since": now - lease, "until": now - grace}
        with self._database.read() as connection:
            if not connection.execute(self._anything, values).scalar():
                return 0, 0
        with self._database.write() as connection:
            connection.execute(self._suspect, values)
            if connection.execute(self._bury, values).rowcount:
                # A dead worker's jobs look as if they were under way: from here on batches have other job ids.
                connection.execute(self._count_death)
        return self.orphans(now)

    def orphans(self, now: float) -> tuple[int, int]:
        """Frees the rows held by workers that aren't in the table: claimed → pending, dotted → in_doubt.

        A transaction of its own, after the one that removed the worker: that one waits for a claim of the worker which
        holds its send's lock, and this one waits for that lock.
        """
        with self._database.write() as connection:
            self._database.lock(connection, Lock.SEND, list(connection.execute(self._sends).scalars()))
            released = connection.execute(self._release, {"now": now}).rowcount
            return released, connection.execute(self._lose, {"now": now}).rowcount

    def expire(self, now: float, retry_for: float) -> int:
        """deferred → expired, where the first attempt was ``retry_for`` seconds ago or earlier."""
        values = {"now": now, "until": now - retry_for}
        with self._database.read() as connection:
            if not connection.execute(self._due, values).scalar():
                return 0
        with self._database.write() as connection:
            return connection.execute(self._expire, values).rowcount

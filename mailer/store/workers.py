"""Worker processes and their heartbeats. A worker that isn't in the table is dead."""

from __future__ import annotations

from mailer.model.ledger import WorkerId
from mailer.store.database import Database, clean
from mailer.store.recovery import Recovery


class SqlWorkers:
    """``mailer.service.ports.Workers``."""

    def __init__(self, database: Database, recovery: Recovery) -> None:
        self._database, self._recovery = database, recovery
        self._register = database.sql(
            """INSERT INTO workers (id, host, pid, started_at, beat_at) VALUES (:id, :host, :pid, :now, :now)
            ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at"""
        )
        self._beat = database.sql(
            "UPDATE workers SET beat_at = :now, trouble = :trouble, suspected_at = NULL WHERE id = :id"
        )
        self._retire = database.sql("DELETE FROM workers WHERE id = :id")
        self._troubles = database.sql(
            "SELECT DISTINCT trouble FROM workers WHERE beat_at >= :since AND trouble <> '' ORDER BY trouble"
        )
        self._alive = database.sql("SELECT count(*) FROM workers WHERE beat_at >= :since")

    def register(self, worker: WorkerId, host: str, pid: int, now: float) -> None:
        with self._database.write() as connection:
            connection.execute(self._register, {"id": worker, "host": host, "pid": pid, "now": now})

    def beat(self, worker: WorkerId, now: float, trouble: str = "") -> bool:
        values = {"id": worker, "now": now, "trouble": clean(trouble)}
        with self._database.write() as connection:
            return connection.execute(self._beat, values).rowcount > 0

    def retire(self, worker: WorkerId, now: float) -> None:
        """The worker ends. What it still holds is treated as a dead worker's."""
        with self._database.write() as connection:
            found = connection.execute(self._retire, {"id": worker}).rowcount
        if found:
            self._recovery.orphans(now)

    def troubles(self, now: float, lease: float) -> list[str]:
        with self._database.read() as connection:
            return list(connection.execute(self._troubles, {"since": now - lease}).scalars())

    def alive(self, now: float, lease: float) -> int:
        with self._database.read() as connection:
            return int(connection.execute(self._alive, {"since": now - lease}).scalar_one())

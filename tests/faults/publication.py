"""A small publication for the fault suite: a folder with ``mailer.toml``, a database, people, and processes on it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import text

from mailer.cli.message_ids import message_ids
from mailer.config import load_settings
from mailer.errors import StoreUnavailable
from mailer.model.compiled import CompiledIssue
from mailer.model.ledger import RecipientState, SendId, SendKind, SendState, Status
from mailer.service.ports import Incoming, NewSend
from mailer.store import open_store
from tests.faults.failpoints import Arm, said
from tests.faults.judge import Verdict, judge
from tests.faults.nursery import Nursery
from tests.servers.smtp_process import SmtpProcess
from tests.servers.waiting import until

BODY = "Lorem ipsum dolor sit amet, consectetur adipiscing elit.\n" * 300
"""17 KB: long enough that half of it is a meaningful thing to have sent."""


class Publication:
    """Its processes may be killed; what is asked here is asked by this process, with a store of its own.

    ``store_url``: a migrated database. ``redis_url``: empty for the embedded server.
    """

    def __init__(
        self,
        home: Path,
        nursery: Nursery,
        relay: SmtpProcess,
        store_url: str,
        *,
        people: int,
        redis_url: str = "",
        connections: int = 4,
        batch_size: int = 50,
        in_doubt: str = "hold",
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home, self.nursery, self.relay, self.connections = home, nursery, relay, connections
        redis = f'[redis]\nurl = "{redis_url}"' if redis_url else ""
        (home / "mailer.toml").write_text(
            f"""[publication]
name = "Fault"
from = "Fault <fault@{home.name}.example>"
base_url = "https://{home.name}.example"
postal_address = "Nowhere 1"
[store]
url = "{store_url}"
{redis}
[[relays]]
host = "127.0.0.1"
port = {relay.port}
security = "none"
connections = {connections}
[delivery]
batch_size = {batch_size}
retry_after = "1s"
in_doubt = "{in_doubt}"
"""
        )
        self.loaded = load_settings(home / "mailer.toml", {})
        self.store = open_store(store_url)
        rows = [Incoming(f"r{n}@{home.name}.example", f"r{n}@{home.name}.example") for n in range(people)]
        self.store.subscribers.upsert(rows, time.time())
        self.in_hand: list[int] = []
        self._processes: list[int] = []
        self.samples = 0
        self.breaches: list[str] = []

    # --- what is done -------------------------------------------------------------------------------------------------

    def create(self, slug: str) -> SendId:
        """A send to everybody, in this process."""
        issue = CompiledIssue(
            *(slug, "A fault", "en", "", "UTC", "2026-01-01", f"Fault <fault@{self.home.name}.example>", ""),
            *(("A fault",), (BODY,), (f"<pre>{BODY}</pre>",), 1, 1),
        )
        now = time.time()
        digest = self.store.issues.put(issue, now)
        return self.store.sends.create(NewSend(slug, SendKind.ISSUE, digest, now), None, now).id

    def worker(self, *arms: Arm, trace: bool = False) -> int:
        """Starts a worker process; gives its pid."""
        self._processes.append(self.nursery.worker(self.home, arms, trace=trace))
        return self._processes[-1]

    def command(self, *arguments: str, arms: Sequence[Arm] = (), trace: bool = False, seconds: float = 60) -> int:
        """Runs a command to its end, however it ends; gives its exit status."""
        status = self.nursery.wait(self.nursery.command(self.home, *arguments, arms=arms, trace=trace), seconds)
        assert status is not None, f"mailer {' '.join(arguments)} doesn't end:\n{self.logs()}"
        return status

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Sends a signal to one of its processes."""
        self.nursery.kill(pid, number)

    def note_hand(self, pid: int) -> int:
        """To be called when a worker was killed or stopped: how many dots it has in its hand, as SQL knows it.

        So many become in doubt, and no more than it has connections.
        """
        time.sleep(0.2)  # a COMMIT that it sent to PostgreSQL as its last word may be under way
        query = """SELECT count(*) FROM recipients WHERE state = 'dotted'
            AND worker IN (SELECT key FROM workers WHERE pid = :pid)"""
        found: list[int] = []

        def asked() -> bool:
            try:
                with self.store.database.read() as connection:
                    found.append(int(connection.execute(text(query), {"pid": pid}).scalar_one()))
            except StoreUnavailable:
                return False
            return True

        assert until(asked, 60, 0.2), "the database doesn't come back"
        self.in_hand += found
        if found[0] > self.connections:
            self.breaches.append(f"{found[0]} dots were in the hand of a worker with {self.connections} connections")
        return found[0]

    # --- what is seen -------------------------------------------------------------------------------------------------

    def status(self, send: SendId) -> Status | None:
        """The figures of a send; they must add up. None: the database can't be asked now."""
        try:
            status = self.store.sends.status(send, time.time())
        except StoreUnavailable:
            return None
        self.samples += 1
        if sum(status.counts.values()) != status.send.audience:
            self.breaches.append(f"the states of {send} don't add up: {status}")
        return status

    def states(self, send: SendId) -> dict[str, int]:
        """How many are in each state, without the empty ones."""
        status = self.status(send)
        assert status is not None
        return {state.value: count for state, count in status.counts.items() if count}

    def finished(self, send: SendId, seconds: float) -> bool:
        """Whether a send is finished within so many seconds."""

        def is_finished() -> bool:
            status = self.status(send)
            return status is not None and status.send.state is SendState.FINISHED

        return until(is_finished, seconds, 0.2)

    def accepted(self, send: SendId) -> list[Mapping[str, Any]]:
        """What the relay took of a send."""
        begins, ends = f"<{send}.", f"@{self.home.name}.example>"
        return [
            entry
            for entry in self.relay.accepted()
            if entry["message_id"].startswith(begins) and entry["message_id"].endswith(ends)
        ]

    def wait_accepted(self, send: SendId, count: int, seconds: float = 40.0) -> None:
        """Until the relay has taken so many more of a send than it has now."""
        goal = len(self.accepted(send)) + count
        assert until(lambda: len(self.accepted(send)) >= goal, seconds, 0.05), self.logs()

    def said(self, what: str) -> list[str]:
        """The points at which something was done (``kill``, ``stop``, ``hold``, ``passed``), in order."""
        return [point for done, point, _ in said(self.home / "points.log") if done == what]

    def judge(self, send: SendId, doubtful: int | None = None) -> Verdict:
        """The verdict on a send. ``doubtful``: unless it is given, the dots in all the hands that were noted."""
        found = self.store.sends.get(send)
        rows = list(self.store.sends.recipients(send, None))
        listed = sum(1 for _ in self.store.sends.recipients(send, RecipientState.IN_DOUBT))
        allowed = sum(self.in_hand) if doubtful is None else doubtful
        verdict = judge(found.audience, rows, message_ids(self.loaded, self.store, found), self.accepted(send), allowed)
        more = [] if listed == verdict.states.get("in_doubt", 0) else [f"{listed} are listed as in doubt: {verdict}"]
        return Verdict((*self.breaches, *verdict.breaches, *more), verdict.states, verdict.twice, verdict.lost)

    def logs(self) -> str:
        """What its processes said, to be shown when an assertion fails."""
        names = ("points.log", "worker.log", "command.log")
        return "\n".join(
            f"--- {self.home / name}\n{(self.home / name).read_text()[-6000:]}"
            for name in names
            if (self.home / name).exists()
        )

    def cpu(self, pid: int) -> float:
        """Seconds of CPU that a process has used."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """Kills what it started and lives."""
        for pid in self._processes:
            self.nursery.kill(pid)
        for pid in self._processes:
            self.nursery.wait(pid, 10)
        self.store.close()

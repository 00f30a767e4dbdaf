"""A publisher's folder with a configuration, subscribers and an SMTP relay that keeps a log: for end-to-end tests.

Whatever delivers runs as its users run it: as processes. The judgement is made from outside, the relay's log against
what ``mailer recipients`` says.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mailer.model.ledger import SendId, SendState, Status
from mailer.store import open_store
from tests.servers.command_line import command
from tests.servers.waiting import until

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "templates" / "sample" / "issue.md"

NASTY = [
    ("jürgen@müller.example", "Jürgen", "Groß"),
    ("info@müller.example", "Käthe", "Müller"),
    ("o'brien+news@example.com", "Pat", "O'Brien"),
    ("html@example.net", "<b>Bobby</b>", "& Söhne"),
    ("script@example.net", "<script>alert(1)</script>", "x"),
    ("jinja@example.net", "{{ 7*7 }}", "{% raw %}"),
    ("crlf@example.net", "Eve\r\nBcc: victim@example.com", "x"),
    ("emoji@example.net", "👩‍👩‍👧‍👦", "🏳️‍🌈"),
    ("rtl@example.net", "مريم", "\u202egnp.exe"),
    ("long@example.net", "Ä" * 300, "ß" * 300),
    ("dots@example.net", ".", ".."),
    ("equals@example.net", "=3D=\n.\n", "="),
    ("nameless@example.net", "", ""),
]
"""Legal subscribers that have broken other senders."""


class Publisher:
    """``store``: a database URL. The relay's faults are given as JSON, see ``tests.servers.smtp``."""

    def __init__(self, home: Path, store: str, faults: Sequence[dict[str, Any]] = (), more: str = "") -> None:
        self.home, self.store, self.log = home, store, home / "relay.jsonl"
        relay = [sys.executable, "-m", "tests.servers.smtp", "--log", str(self.log)]
        for fault in faults:
            relay += ["--fault", json.dumps(fault)]
        self.relay = subprocess.Popen(relay, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.relay.stdout is not None
        port = int(self.relay.stdout.readline())
        (home / "mailer.toml").write_text(
            f"""[publication]
name = "Gartenbote"
from = "Gartenbote <bote@garten.example>"
base_url = "https://garten.example"
language = "de"
country = "DE"
timezone = "Europe/Berlin"
editors = ["redaktion@garten.example"]
[store]
url = "{store}"
[[relays]]
host = "127.0.0.1"
port = {port}
security = "none"
connections = 4
[delivery]
batch_size = 50
retry_after = "1s"
{more}
"""
        )

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("MAILER_")}

    def run(self, *arguments: str, status: int = 0) -> str:
        """Runs a command to its end; gives its stdout."""
        done = command(self.home, *arguments)
        assert done.status == status, f"{arguments} exited {done.status}\n{done.out}\n{done.err}"
        return done.out

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def subscribe(self, count: int) -> None:
        """Imports the nasty ones and so many ordinary ones."""
        path = self.home / "people.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["email", "first_name", "last_name"])
            rows.writerows(NASTY)
            rows.writerows((f"leser{n}@firma{n % 7}.example", f"Vorname{n}", "") for n in range(count))
        report = self.json("subscribers", "import", str(path))
        assert report["added"] == count + len(NASTY)
        assert report["refused"] == []

    @contextmanager
    def worker(self, processes: int = 1) -> Iterator[subprocess.Popen[bytes]]:
        """``mailer worker``, ended by SIGTERM; its log is ``worker.log``."""
        with (self.home / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "mailer", "worker", "--processes", str(processes)],
                cwd=self.home,
                env=self.environment,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        try:
            yield worker
        finally:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
            assert worker.wait(60) in (0, -signal.SIGKILL), self.said()

    def accepted(self) -> list[dict[str, Any]]:
        """What the relay has accepted so far."""
        if not self.log.exists():
            return []
        *lines, _ = self.log.read_text().split("\n")  # what follows the last line end may be half of a line
        return [json.loads(line) for line in lines]

    def wait_accepted(self, count: int, seconds: float = 60.0) -> None:
        assert until(lambda: len(self.accepted()) >= count, seconds), self.said()

    def said(self) -> str:
        """The log of its workers."""
        return (self.home / "worker.log").read_text()

    def wait_for(self, send: str, condition: Callable[[Status], object], seconds: float = 90.0) -> None:
        """Looks at the send's figures until a condition comes true; whenever it looks, the states must add up."""
        with closing(open_store(self.store)) as store:

            def fulfilled() -> bool:
                found = store.sends.status(SendId(send), time.time())
                assert sum(found.counts.values()) == found.send.audience
                return bool(condition(found))

            assert until(fulfilled, seconds, 0.1), f"{self.run('status', send)}\n{self.said()}"

    def wait_finished(self, send: str, seconds: float = 90.0) -> dict[str, Any]:
        """The send's status when it is finished."""
        self.wait_for(send, lambda found: found.send.state is SendState.FINISHED, seconds)
        found: dict[str, Any] = self.json("status", send)
        assert sum(found["counts"].values()) == found["audience"]
        return found

    def judge(self, send: str) -> Counter[str]:
        """Relay's log against ledger: whoever is ``sent`` was accepted exactly once, and nobody else; gives states.

        Those in doubt may have been accepted once or not at all.
        """
        rows = self.json("recipients", send)
        taken = Counter(entry["message_id"] for entry in self.accepted())
        assert max(taken.values(), default=0) <= 1, "somebody got it twice"
        states = {row["message_id"]: row["state"] for row in rows}
        assert len(states) == len(rows)
        for message_id, state in states.items():
            if state != "in_doubt":
                assert (message_id in taken) == (state == "sent"), (message_id, state)
        assert set(taken) <= set(states)
        return Counter(states.values())

    def close(self) -> None:
        self.relay.terminate()
        self.relay.wait()
        if self.relay.stdout is not None:
            self.relay.stdout.close()


@pytest.fixture
def publish(tmp_path: Path) -> Iterator[Any]:
    """Makes publishers, and takes them down."""
    made: list[Publisher] = []

    def make(store: str, faults: Sequence[dict[str, Any]] = (), more: str = "") -> Publisher:
        made.append(Publisher(tmp_path, store, faults, more))
        return made[-1]

    yield make
    for publisher in made:
        publisher.close()

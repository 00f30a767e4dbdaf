"""Pace and breakers by destination, from outside: limits, refusals for our sake, a relay that is being warmed up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from mailer.model.ledger import RecipientState, SendState
from tests.servers.publisher import SAMPLE, Publisher
from tests.servers.smtp_process import SmtpProcess
from tests.servers.waiting import until

pytest_plugins = ("tests.servers.postgres", "tests.servers.publisher")

Publish = Callable[..., Publisher]


def times_at(publisher: Publisher, domain: str) -> list[float]:
    """When the relay took the messages of a domain."""
    return sorted(entry["time"] for entry in publisher.accepted() if entry["recipient"].endswith(f"@{domain}"))


def change(home: Path, old: str, new: str) -> None:
    """Changes the configuration."""
    path = home / "mailer.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def shown(publisher: Publisher, send: str) -> str:
    """What the status says to people, however it breaks lines."""
    return " ".join(publisher.run("status", send).split())


def test_rate_of_a_destination(publish: Publish, sqlite_url: str) -> None:
    """A destination's rate holds over two workers, and nobody else waits for it."""
    publisher = publish(sqlite_url, more='[delivery.domains."firma0.example"]\nrate = "4/s"\n')
    publisher.subscribe(187)
    with publisher.worker(2):
        send = publisher.json("send", str(SAMPLE), "--yes")["send"]
        publisher.wait_finished(send)
    assert publisher.judge(send) == {"sent": 200}
    slow, quick = times_at(publisher, "firma0.example"), times_at(publisher, "firma1.example")
    assert len(slow) == 27
    for first, fifth in zip(slow, slow[6:], strict=False):
        assert fifth - first > 1.0, "seven messages within a second"
    assert quick[-1] - quick[0] < (slow[-1] - slow[0]) / 2


def test_three_refuse(publish: Publish, store_url: str) -> None:
    """Three destinations that refuse us for our sake pause the send with the reason, and nobody is suppressed; once an
    operator resumes it, everybody else gets the issue."""
    said = "554 5.7.1 your address has a bad reputation"
    faults: list[dict[str, Any]] = [
        {"phase": "rcpt", "to": f"@firma{n}.example", "reply": said, "times": 1} for n in range(3)
    ]
    publisher = publish(store_url, faults)
    publisher.subscribe(187)
    with publisher.worker():
        send = publisher.json("send", str(SAMPLE), "--yes")["send"]
        publisher.wait_for(send, lambda found: found.send.state is SendState.PAUSED)
        assert "3 destinations refuse our mail" in shown(publisher, send)
        assert "bad reputation" in shown(publisher, send)
        counts = publisher.json("status", send)["counts"]
        assert counts["failed"] == 3
        assert counts["pending"] >= 3 * 20
        publisher.run("resume", send, "--yes")
        publisher.wait_finished(send)
    assert publisher.judge(send) == {"sent": 197, "failed": 3}
    assert publisher.json("suppressions", "list") == []


def test_one_refuses(publish: Publish, sqlite_url: str) -> None:
    """One destination that refuses us gets nothing more for a while; all others go on, and the status says why."""
    said = "550 5.7.1 blocked"
    publisher = publish(sqlite_url, [{"phase": "rcpt", "to": "@firma3.example", "reply": said}])
    publisher.subscribe(187)
    with publisher.worker():
        send = publisher.json("send", str(SAMPLE), "--yes")["send"]
        publisher.wait_for(send, lambda found: found.counts[RecipientState.SENT] == 173)
        assert until(lambda: "firma3.example refuses our mail" in shown(publisher, send), 20, 0.5)
        time.sleep(6)  # a round of the reconciler
        counts = publisher.json("status", send)["counts"]
    assert counts["failed"] <= 4, "no more than were under way"
    assert counts["pending"] + counts["failed"] == 27


def test_421(publish: Publish, sqlite_url: str) -> None:
    """A destination that says 421 gets less, blames nobody, and everybody gets the issue."""
    fault = {"phase": "rcpt", "to": "@firma5.example", "reply": "421 4.7.0 slow down", "times": 3, "drop": True}
    publisher = publish(sqlite_url, [fault])
    publisher.subscribe(187)
    with publisher.worker():
        send = publisher.json("send", str(SAMPLE), "--yes")["send"]
        publisher.wait_finished(send)
    assert publisher.judge(send) == {"sent": 200}
    assert publisher.json("suppressions", "list") == []


def test_two_relays(publish: Publish, sqlite_url: str, tmp_path: Path) -> None:
    """Of two relays the slow one keeps its rate over two workers, and the other takes what it may not have."""
    other = SmtpProcess(tmp_path / "other.jsonl")
    try:
        more = f'[[relays]]\nhost = "127.0.0.1"\nport = {other.port}\nsecurity = "none"\nconnections = 4\n'
        publisher = publish(sqlite_url, more=more)
        change(publisher.home, "connections = 4\n[delivery]", 'connections = 8\nrate = "2/m"\n[delivery]')
        publisher.subscribe(187)
        with publisher.worker(2):
            send = publisher.json("send", str(SAMPLE), "--yes")["send"]
            publisher.wait_finished(send)
        slow, quick = publisher.accepted(), other.accepted()
    finally:
        other.stop()
    assert len({entry["recipient"] for entry in (*slow, *quick)}) == len(slow) + len(quick) == 200
    assert len(slow) >= 1
    times = sorted(entry["time"] for entry in slow)
    for first, second in pairwise(times):
        assert second - first > 20.0


def test_warm_up(publish: Publish, sqlite_url: str) -> None:
    """A relay that is being warmed up takes no more than its day's messages, by two workers; the others wait, and the
    status says why."""
    publisher = publish(sqlite_url)
    today = datetime.now(UTC).date()
    change(publisher.home, "connections = 4", f"connections = 4\nwarm_up = 60\nwarm_up_since = {today}")
    publisher.subscribe(187)
    with publisher.worker(2):
        send = publisher.json("send", str(SAMPLE), "--yes")["send"]
        publisher.wait_accepted(60)
        assert until(lambda: "being warmed up" in shown(publisher, send), 30, 0.5)
        time.sleep(6)
        counts = Counter(publisher.json("status", send)["counts"])
        assert len(publisher.accepted()) == 60
    assert counts["sent"] == 60
    assert counts["pending"] + counts["claimed"] == 140

"""The main job, from outside: commands and workers as their users run them. Faults in depth: ``tests/faults``."""

from __future__ import annotations

import email
import email.policy
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.publisher import NASTY, SAMPLE, Publisher
from tests.servers.redis_command import command
from tests.servers.waiting import gone, until

pytest_plugins = ("tests.servers.postgres", "tests.servers.publisher")

Publish = Callable[..., Publisher]

SLOW = [{"phase": "dot", "delay": 0.03}]
"""A relay that takes its time, so that a fault comes in the middle of a send."""


@pytest.mark.parametrize("processes", [1, 2])
def test_everybody_once(publish: Publish, store_url: str, processes: int) -> None:
    """Every recipient gets the issue exactly once, on either database, with one worker process and with two."""
    publisher = publish(store_url)
    publisher.subscribe(187)
    with publisher.worker(processes):
        send = publisher.json("send", str(SAMPLE), "--yes")["send"]
        status = publisher.wait_finished(send)
    assert status["counts"]["sent"] == status["audience"] == 200
    assert publisher.judge(send) == {"sent": 200}


def test_flushall(publish: Publish, sqlite_url: str) -> None:
    """FLUSHALL in the middle of a send loses and doubles nothing."""
    publisher = publish(sqlite_url, SLOW)
    publisher.subscribe(387)
    with publisher.worker():
        send = publisher.json("send", str(SAMPLE), "--yes")["send"]
        for count in (60, 150):
            publisher.wait_accepted(count)
            assert command(publisher.home / "mailer-data", "FLUSHALL") == b"+OK\r\n"
        publisher.wait_finished(send)
    assert publisher.judge(send) == {"sent": 400}


def test_redis_dies(publish: Publish, sqlite_url: str) -> None:
    """A Redis that is killed in the middle of a send costs nothing; the embedded one is started again."""
    publisher = publish(sqlite_url, SLOW)
    publisher.subscribe(387)
    with publisher.worker() as worker:
        send = publisher.json("send", str(SAMPLE), "--yes")["send"]
        publisher.wait_accepted(60)
        answer = command(publisher.home / "mailer-data", "INFO", "server").decode()
        redis = int(answer.partition("process_id:")[2].split()[0])
        os.kill(redis, signal.SIGKILL)
        assert until(lambda: gone(redis))
        publisher.wait_finished(send)
        assert worker.poll() is None
    assert publisher.judge(send) == {"sent": 400}


def test_sigterm(publish: Publish, store_url: str) -> None:
    """SIGTERM in the middle of a send leaves nobody in doubt; the next worker goes on where it stopped."""
    publisher = publish(store_url, SLOW)
    publisher.subscribe(187)
    with publisher.worker():
        send = publisher.json("send", str(SAMPLE), "--yes")["send"]
        publisher.wait_accepted(60)
    counts = publisher.json("status", send)["counts"]
    assert counts["sent"] == len(publisher.accepted()) < 200
    assert (counts["claimed"], counts["dotted"], counts["in_doubt"]) == (0, 0, 0)
    with publisher.worker():
        publisher.wait_finished(send)
    assert publisher.judge(send) == {"sent": 200}


def workers_of(supervisor: subprocess.Popen[bytes]) -> list[int]:
    """The worker processes among a supervisor's children."""
    children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"workers" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]


def test_kill(publish: Publish, store_url: str) -> None:
    """kill -9 of all workers, Redis alive: the rest goes on within 30 s, and at most one a connection is in doubt."""
    publisher = publish(store_url, SLOW)
    publisher.subscribe(187)
    with publisher.worker(2) as supervisor:
        send = publisher.json("send", str(SAMPLE), "--yes")["send"]
        publisher.wait_accepted(60)
        killed = workers_of(supervisor)
        assert len(killed) == 2
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        assert until(lambda: all(map(gone, killed)))
        publisher.wait_accepted(len(publisher.accepted()) + 20, 30)
        publisher.wait_finished(send)
    states = publisher.judge(send)
    assert states["in_doubt"] <= 4
    assert states["sent"] + states["in_doubt"] == 200


def test_names(publish: Publish, tmp_path: Path) -> None:
    """A name is shown as it is and never interpreted: no markup, no template, no header comes of it."""
    publisher = publish("")
    config = (tmp_path / "mailer.toml").read_text()
    before, _, after = config.partition("[[relays]]")
    (tmp_path / "mailer.toml").write_text(before + "[delivery]" + after.partition("[delivery]")[2])  # captured
    publisher.subscribe(0)
    publisher.run("send", str(SAMPLE), "--yes", "--wait")
    messages = [
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        for path in (tmp_path / "mailer-data" / "captured").rglob("*.eml")
    ]
    assert len(messages) == len(NASTY)
    assert all(message["Bcc"] is None and len(message.get_all("To")) == 1 for message in messages)
    shown = {str(message["To"].addresses[0].addr_spec): message for message in messages}
    script = shown["script@example.net"]
    assert script["To"].addresses[0].display_name == "<script>alert(1)</script> x"
    for part in ("plain", "html"):
        body = shown["jinja@example.net"].get_body((part,)).get_content()
        assert "{{ 7*7 }}" in body
        assert "49" not in body.partition("{{ 7*7 }}")[0][-200:]
    assert "<script" not in script.get_body(("html",)).get_content()
    assert "&lt;script&gt;" in script.get_body(("html",)).get_content()
    assert "<script>alert(1)</script>" in script.get_body(("plain",)).get_content()
    assert "Eve Bcc: victim@example.com" in shown["crlf@example.net"].get_body(("plain",)).get_content()


def test_unsubscribed_on_the_way(publish: Publish, sqlite_url: str) -> None:
    """Whoever is removed or suppressed in the middle of a send, before their turn, gets no mail."""
    publisher = publish(sqlite_url, [{"phase": "dot", "delay": 0.5}])
    publisher.subscribe(87)
    with publisher.worker():
        send = publisher.json("send", str(SAMPLE), "--yes")["send"]
        publisher.wait_accepted(4)
        publisher.run("suppressions", "add", "leser85@firma1.example", "leser86@firma2.example")
        publisher.run("subscribers", "remove", "leser84@firma0.example", "--yes")
        publisher.wait_finished(send)
    assert publisher.judge(send) == {"sent": 97, "skipped": 3}

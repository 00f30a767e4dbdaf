"""What comes back of a real send, from outside: the relay's refusals and providers' webhooks, and what follows."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mailer.model.ledger import SendId, SendState
from mailer.store.store import SqlStore, open_store
from tests.servers.command_line import command
from tests.servers.publisher import SAMPLE, Publisher
from tests.servers.senders import sections_toml, sign
from tests.servers.waiting import until
from tests.servers.web import ask

pytest_plugins = ("tests.servers.postgres", "tests.servers.publisher")

Publish = Callable[..., Publisher]
Say = Callable[..., Any]

UNKNOWN, FULL, BUSY = "leser1@", "leser2@", "leser3@"
POLICY = "o'brien+news@example.com"
"""Alone at a domain: nothing else goes there for a minute after it has refused us."""

REFUSALS = [
    {"phase": "rcpt", "to": UNKNOWN, "reply": "550 5.1.1 No such user here"},
    {"phase": "rcpt", "to": FULL, "reply": "552 5.2.2 Mailbox full"},
    {"phase": "dot", "to": BUSY, "reply": "452 4.2.2 Mailbox full"},
    {"phase": "dot", "to": POLICY, "reply": "554 5.7.1 Message rejected for policy reasons"},
]
MORE = f"""
retry_for = "1s"
[bounces]
soft_limit = 2
{sections_toml()}"""
PEOPLE = 20
COUNTED = ("bounced", "complained", "unsubscribed")


@pytest.fixture
def say(tmp_path: Path) -> Say:
    """Runs a command in the publisher's folder; gives its JSON."""

    def call(*arguments: str) -> Any:
        done = command(tmp_path, *arguments, "--json")
        assert done.status == 0, done.err
        return done.json

    return call


@contextmanager
def web(publisher: Publisher) -> Iterator[str]:
    """``mailer web``; gives its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = [sys.executable, "-m", "mailer", "web", "--port", str(port)]
    with (
        (publisher.home / "web.log").open("ab") as log,
        subprocess.Popen(program, cwd=publisher.home, env=publisher.environment, stderr=log) as process,
    ):
        base = f"http://127.0.0.1:{port}"
        try:
            assert until(lambda: process.poll() is not None or _answers(port)), (publisher.home / "web.log").read_text()
            yield base
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def tell(base: str, provider: str, event: Any) -> None:
    """A provider tells something, twice: it must count once."""
    told = sign(provider, json.dumps(event).encode())
    for _ in range(2):
        assert ask(f"{base}/webhooks/{provider}", "POST", told.body, **told.headers).status == 200


def address(name: str) -> str:
    number = int(name.removeprefix("leser").rstrip("@"))
    return f"leser{number}@firma{number % 7}.example"


def wait_finished(say: Say, store: SqlStore, send: str) -> dict[str, Any]:
    """The status of a send when it is finished."""
    assert until(lambda: store.sends.get(SendId(send)).state is SendState.FINISHED, 90)
    return say("status", send)


def states(say: Say, send: str) -> dict[str, str]:
    return {row["email"]: row["state"] for row in say("recipients", send)}


def test_feedback(publish: Publish, store_url: str, say: Say) -> None:
    """Refusals by the relay and events by webhook end in the right figures, suppressions, and next send's audience."""
    with closing(open_store(store_url)) as store:
        follow(publish(store_url, REFUSALS, MORE), store, say)


def follow(publisher: Publisher, store: SqlStore, say: Say) -> None:
    """``store`` is only waited with: everything that is judged is what commands say."""
    publisher.subscribe(PEOPLE)
    nobody = address(UNKNOWN)
    hard, spam, left, soft, ours, tested = (address(f"leser{n}@") for n in (10, 11, 12, 13, 14, 15))

    with publisher.worker(), web(publisher) as base:
        send = say("send", str(SAMPLE), "--yes")["send"]
        status = wait_finished(say, store, send)
        audience = status["audience"]
        # What the relay has said in the session is the ledger's: nobody is suppressed but whom it doesn't know.
        assert until(lambda: list(store.suppressions.each()))
        assert [(one["email"], one["reason"]) for one in say("suppressions", "list")] == [(nobody, "bounced")]
        found = states(say, send)
        assert [found[one] for one in (nobody, address(FULL), POLICY)] == ["failed"] * 3
        assert found[address(BUSY)] in ("failed", "expired")
        assert status["counts"]["sent"] == audience - 4 == len(publisher.accepted())

        ids = {row["email"]: row["message_id"] for row in say("recipients", send)}
        now = int(time.time())
        tell(
            base,
            "sendgrid",
            [
                {
                    "event": "bounce",
                    "type": "bounce",
                    "email": hard,
                    "smtp-id": ids[hard],
                    "reason": "550 5.1.1 User unknown",
                    "status": "5.1.1",
                    "sg_event_id": "1",
                    "timestamp": now,
                },
                {
                    "event": "bounce",
                    "type": "blocked",
                    "email": ours,
                    "smtp-id": ids[ours],
                    "reason": "550 5.7.1 blocked",
                    "status": "5.7.1",
                    "sg_event_id": "2",
                    "timestamp": now,
                },
            ],
        )
        # Without our Message-ID: put down to the latest send that reached the address.
        complaint = {"RecordType": "SpamComplaint", "Type": "SpamComplaint", "ID": 7, "Email": spam}
        tell(base, "postmark", complaint)
        tell(base, "generic", {"type": "unsubscribed", "recipient": left, "event_id": "3", "message_id": ids[left]})
        full = {"type": "bounced", "permanent": False, "recipient": soft, "status": "4.2.2", "message_id": ids[soft]}
        tell(base, "generic", full | {"event_id": "4"})
        # Nobody proves who says this.
        forged = sign("sendgrid", json.dumps([{"event": "spamreport", "email": tested}]).encode(), forged=True)
        assert ask(f"{base}/webhooks/sendgrid", "POST", forged.body, **forged.headers).status == 403
        # Reports by mail come here (`mailer bounces ingest`): told before the backlog below is waited for.

        def figures() -> tuple[int, ...]:
            found = say("status", send)
            assert sum(found["counts"].values()) == found["audience"] == audience
            return tuple(found[name] for name in COUNTED)

        assert until(lambda: store.events.backlog()[0] == 0)
        assert figures() == (3, 1, 1)  # bounced: hard, ours, soft; what the relay said is counted as failed already

    suppressed = {one["email"]: one for one in say("suppressions", "list")}
    assert {email: one["reason"] for email, one in suppressed.items()} == {
        nobody: "bounced",
        hard: "bounced",
        spam: "complained",
    }
    assert [suppressed[one]["source"].partition(":")[0] for one in (nobody, hard, spam)] == [
        "relay",
        "sendgrid",
        "postmark",
    ]
    counts = say("status", send)["counts"]

    # Done once more, all of it changes nothing.
    replayed = say("events", "replay", "--yes")["replayed"]
    assert replayed == 5
    say("subscribers", "remove", POLICY, "--yes")
    second = publisher.home / "next.md"
    second.write_text(SAMPLE.read_text().replace("\n---", "\nslug: next\n---", 1))
    with publisher.worker():
        following = say("send", str(second), "--yes")["send"]
        wait_finished(say, store, following)
        # The mailbox that was full twice, and the one that was full once here and once by webhook, are at the limit.
        assert until(lambda: len(list(store.suppressions.each())) == 5)
    after = say("status", send)
    assert (after["counts"], *(after[name] for name in COUNTED)) == (counts, 3, 1, 1)
    reached = states(say, following)
    assert set(ids) - set(reached) | {email for email, state in reached.items() if state == "skipped"} == {
        nobody,
        hard,
        spam,
        left,
        POLICY,
    }
    assert {reached[one] for one in (soft, ours, tested)} == {"sent"}
    reasons = {one["email"]: one["reason"] for one in say("suppressions", "list")}
    assert {email: reason for email, reason in reasons.items() if email not in suppressed} == {
        address(FULL): "soft bounces",
        address(BUSY): "soft bounces",
    }

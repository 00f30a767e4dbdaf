"""What comes back of a real send by mail: bounces and requests to unsubscribe, and what follows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.servers.command_line import command
from tests.servers.publisher import SAMPLE, Publisher

pytest_plugins = ("tests.servers.postgres", "tests.servers.publisher")

Publish = Callable[..., Publisher]

MORE = '[bounces]\nreturn_path = "bounces@garten.example"\n'


def come(publisher: Publisher, mail: str) -> list[dict[str, Any]]:
    """A mail server pipes a mail in; gives what it meant."""
    done = command(publisher.home, "bounces", "ingest", "--json", given=mail.encode())
    assert done.status == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def bounce(to: str, recipient: str) -> str:
    return (
        "From: Mail Delivery Subsystem <mailer-daemon@mx.example.net>\n"
        f"Delivered-To: {to}\n"
        "Subject: Delivery Status Notification (Failure)\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        "--b\nContent-Type: text/plain\n\nThe mailbox doesn't exist.\n\n"
        "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\n"
        f"Final-Recipient: rfc822; {recipient}\nAction: failed\nStatus: 5.1.1\n"
        "Diagnostic-Code: smtp; 550 5.1.1 no such user\n\n--b--\n"
    )


def test_feedback_by_mail(publish: Publish, sqlite_url: str) -> None:
    """A bounce to the envelope sender that the relay was given suppresses; a mail to the address for unsubscribing
    unsubscribes; a forged bounce does nothing; and the next send's audience is right."""
    publisher = publish(sqlite_url, more=MORE)
    publisher.subscribe(10)
    with publisher.worker():
        send = publisher.json("send", str(SAMPLE), "--yes")["send"]
        publisher.wait_finished(send)
        senders = {entry["recipient"]: entry["sender"] for entry in publisher.accepted()}
        assert len(set(senders.values())) == len(senders) == 23
        gone, left, safe = (f"leser{n}@firma{n}.example" for n in (1, 2, 3))
        [bounced] = come(publisher, bounce(senders[gone], gone))
        assert (bounced["kind"], bounced["stored"], bounced["events"][0]["verified"]) == ("bounce", 1, True)
        leave = senders[left].replace("+", "+u", 1)
        come(publisher, f"From: x@private.example\nTo: {leave}\nSubject: unsubscribe\n\nunsubscribe\n")
        [forged] = come(publisher, bounce("bounces@garten.example", safe))
        assert forged["events"][0]["verified"] is False

        status = publisher.json("status", send)
        assert (status["bounced"], status["complained"], status["unsubscribed"]) == (1, 0, 1)
        assert [(one["email"], one["reason"]) for one in publisher.json("suppressions", "list")] == [(gone, "bounced")]

        (publisher.home / "next.md").write_text(SAMPLE.read_text())
        following = publisher.json("send", str(publisher.home / "next.md"), "--yes")["send"]
        publisher.wait_finished(following)
        reached = {row["email"] for row in publisher.json("recipients", following)}
    assert len(reached) == len(senders) - 2
    assert {gone, left}.isdisjoint(reached)
    assert safe in reached

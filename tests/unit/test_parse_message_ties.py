"""What ties a mail that came back to a send, and what its events carry."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailer.bounces import parse_message
from mailer.bounces.mail.mime import first
from mailer.bounces.message import read_message, read_messages

MAILS = Path(__file__).parent / "bounce_mails"
RETURNS = ["dsn_postfix_unknown", "qmail", "exim", "gmx", "arf", "arf_hotmail", "zoho", "exchange_german", "dragonfly"]


def sample(name: str) -> bytes:
    return (MAILS / f"{name}.eml").read_bytes()


@pytest.mark.parametrize("name", RETURNS)
def test_original_message_id(name: str) -> None:
    """Our Message-ID is found in the returned message, in a part of its own or in the text."""
    report = read_message(sample(name))
    assert report.original_message_id == "<issue24.7f3a@news.example.org>"
    assert {event.message_id for event in report.events} == {"<issue24.7f3a@news.example.org>"}


def test_the_report_has_an_id_of_its_own() -> None:
    """Without a returned message there is no Message-ID: the report's own isn't taken for it."""
    report = read_message(sample("domino"))
    assert report.original_message_id == ""
    assert report.original == ()


def test_original_header() -> None:
    """The returned message's header is there for whoever looks for more in it."""
    report = read_message(sample("qmail"))
    assert first(report.original, "subject") == "The week"
    assert first(report.original, "return-path") == "<bounces+k1@news.example.org>"


def test_sent_to() -> None:
    """Addresses that the report was sent to, what local delivery added first; the sender's aren't among them."""
    raw = (
        b"Return-Path: <>\nDelivered-To: bounces+k1=2@news.example.org\nX-Original-To: b@news.example.org\n"
        b"From: MAILER-DAEMON@mx.example.net\nTo: Bounces <bounces+K1=2@news.example.org>, c@example.org\n\nx\n"
    )
    assert read_message(raw).sent_to == (
        "bounces+k1=2@news.example.org",
        "b@news.example.org",
        "bounces+K1=2@news.example.org",
        "c@example.org",
    )


@pytest.mark.parametrize("kind", ["abuse", "opt-out", "fraud"])
def test_mail_from(kind: str) -> None:
    """A complaint's ``Original-Mail-From``, as it is written; nothing where it has none."""
    sender = f"Feedback-Type: {kind}\nOriginal-Mail-From: rfc822;\n <bounces+K1@news.example.org>"
    raw = sample("arf").replace(b"Feedback-Type: abuse", sender.encode())
    assert read_message(raw).mail_from == "rfc822; <bounces+K1@news.example.org>"
    assert read_message(sample("arf")).mail_from == ""


def test_mail_from_is_a_complaints() -> None:
    """In a report that nobody complained, in the returned message and in a delivery report the field means nothing."""
    field = b"Original-Mail-From: <bounces+k1@news.example.org>\n"
    for raw in (
        sample("arf_not_spam").replace(b"Feedback-Type:", field + b"Feedback-Type:"),
        sample("arf").replace(b"Return-Path:", field + b"Return-Path:"),
        sample("dsn_postfix_unknown").replace(b"Final-Recipient:", field + b"Final-Recipient:"),
    ):
        assert field in raw
        assert read_message(raw).mail_from == ""


def test_each_mail_of_an_mbox_has_its_own_ties() -> None:
    """In an mbox each mail keeps the addresses that it was sent to: a token ties only its own mail."""
    line = b"From MAILER-DAEMON Mon Jun  2 06:00:05 2025\n"
    second = sample("domino").replace(b"bounces+k1@", b"bounces+k2@")
    reports = read_messages(line + sample("qmail") + b"\n" + line + second)
    assert [report.sent_to for report in reports] == [
        ("bounces+k1@news.example.org",),
        ("bounces+k2@news.example.org",),
    ]


def test_timestamp() -> None:
    """An event is as old as the report; a complaint as old as its arrival date says."""
    assert [event.timestamp for event in parse_message(sample("domino"))] == [1748844005.0]
    assert [event.timestamp for event in parse_message(sample("arf"))] == [1748851200.0]
    assert [event.timestamp for event in parse_message(sample("domino").replace(b"2 Jun 2025", b"32 Jux"))] == [None]


def test_diagnostic_is_one_line() -> None:
    """A folded diagnostic is one line, without its type."""
    (event,) = parse_message(sample("dsn_postfix_unknown"))
    assert event.diagnostic == "550 5.1.1 <reader@example.com>: Recipient address rejected: User unknown"


def test_each_recipient_has_its_own_diagnostic() -> None:
    """In prose, what is said of one recipient isn't said of the next."""
    first_one, second = parse_message(sample("qmail"))
    assert "192.0.2.7 does not like recipient" in first_one.diagnostic
    assert second.diagnostic == "Sorry, no mailbox here by that name. (#5.1.1)"


def test_raw_is_kept() -> None:
    """The mail is kept with the event, cut where it is long."""
    (event,) = parse_message(sample("domino") + b"x" * 1_000_000)
    assert isinstance(event.raw, str)
    assert event.raw.startswith("From: Postmaster@example.net")
    assert len(event.raw) == 64 * 1024


DSN = """\
From: MAILER-DAEMON@mx.example.net
To: bounces+k1@news.example.org
Subject: Delivery report
Content-Type: multipart/report; boundary=B

--B

Failed.
--B
Content-Type: message/delivery-status

{status}
--B
Content-Type: message/rfc822

To: {to}
Subject: The week

x
--B--
"""


def recipients(status: str, to: str = "reader@example.com") -> list[tuple[str, bool | None]]:
    return [(event.recipient, event.permanent) for event in parse_message(DSN.format(status=status, to=to))]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("Final-Recipient: rfc822;a@example.com\nStatus: 5.1.1", [("a@example.com", True)]),
        ("Final-Recipient: rfc822;a@example.com\nStatus: 4.1.1", [("a@example.com", False)]),
        ("Final-Recipient: rfc822;a@example.com\nStatus: 2.0.0", [("a@example.com", None)]),
        ("Final-Recipient: rfc822;a@example.com\nDiagnostic-Code: smtp;450 busy", [("a@example.com", False)]),
        ("Final-Recipient: rfc822;a@example.com", [("a@example.com", None)]),
        ("Action: failed\nFinal-Recipient: rfc822;a@example.com\nStatus: 5.1.1", [("a@example.com", True)]),
        ("Action: expanded\nFinal-Recipient: rfc822;a@example.com", [("a@example.com", None)]),
        (
            "Action: failed\nFinal-Recipient: rfc822;a@b.cc\nAction: delayed\nFinal-Recipient: rfc822;c@b.cc",
            [("a@b.cc", True), ("c@b.cc", False)],
        ),
        (
            "Original-Recipient: rfc822;a@b.cc\nFinal-Recipient: rfc822;x@b.cc\nAction: failed\n"
            "Original-Recipient: rfc822;c@b.cc\nFinal-Recipient: rfc822;y@b.cc\nAction: failed",
            [("a@b.cc", True), ("c@b.cc", True)],
        ),
        ("Original-Recipient: rfc822;\nFinal-Recipient: rfc822;a@b.cc\nAction: failed", [("a@b.cc", True)]),
        ("Final-Recipient: rfc822;reader\nAction: failed", [("reader@example.com", True)]),
        ("Final-Recipient: X-unix;|/bin/x\nAction: failed", [("reader@example.com", True)]),
    ],
)
def test_groups(status: str, expected: list[tuple[str, bool | None]]) -> None:
    """Groups of a report as mailers write them, with and without actions, in any order."""
    assert recipients(status) == expected


def test_a_pipe_written_to_by_many_names_nobody() -> None:
    """Where the returned message went to several, a report for a pipe can't say to whom."""
    assert recipients("Final-Recipient: X-unix;|/bin/x\nAction: failed", "a@b.cc, c@b.cc") == []


def test_the_returned_message_is_no_evidence() -> None:
    """A returned message that itself holds a report, however deep, changes nothing."""
    inner = (
        "reader@example.com\nContent-Type: multipart/report; boundary=I\n\n--I\n"
        "Content-Type: message/delivery-status\n\n"
        "Final-Recipient: rfc822;victim@example.net\nAction: failed\nStatus: 5.1.1\n--I--\n"
    )
    status = "Final-Recipient: rfc822;a@b.cc\nAction: delayed\nStatus: 4.4.1"
    assert recipients(status, inner) == [("a@b.cc", False)]


def test_a_report_that_a_person_pastes_is_no_evidence() -> None:
    """The fields of a report in a person's mail are no report; in a mail system's, under any type, they are."""
    fields = "Final-Recipient: rfc822;a@b.cc\nAction: failed\nStatus: 5.1.1\n"
    assert (
        parse_message(f"From: Reader <reader@example.com>\nSubject: Fwd: Undelivered Mail\n\nLook:\n\n{fields}") == []
    )
    (event,) = parse_message(f"From: MAILER-DAEMON@mx.example.net\nSubject: Undelivered Mail\n\nLook:\n\n{fields}")
    assert event.recipient == "a@b.cc"


def test_a_report_that_a_gateway_wrapped() -> None:
    """A mail system's mail that says nothing itself but holds another's report passes that on."""
    inner = DSN.format(status="Final-Recipient: rfc822;a@b.cc\nAction: failed\nStatus: 5.1.1", to="a@b.cc")
    outer = (
        "From: MAILER-DAEMON@gw.example.net\nTo: NotificationRecipients@gw.example.net\nSubject: Returned mail\n"
        "Content-Type: multipart/mixed; boundary=O\n\n--O\n\nThe original message was received.\n--O\n"
        f"Content-Type: message/rfc822\n\n{inner}\n--O--\n"
    )
    assert [(event.recipient, event.permanent) for event in parse_message(outer)] == [("a@b.cc", True)]
    assert read_message(outer).sent_to == ("NotificationRecipients@gw.example.net",)

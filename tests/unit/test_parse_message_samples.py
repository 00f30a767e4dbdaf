"""Sample mails in ``bounce_mails``: each in the shape that one mailer writes, and what it means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mailer.bounces.message import parse_message, read_message

MAILS = Path(__file__).parent / "bounce_mails"

# Type, recipient, permanent, reason, status.
Told = tuple[str, str, bool | None, str | None, str]

EXPECTED: dict[str, tuple[str, list[Told]]] = {
    "answer_about_delivery": ("other", []),
    "aol": ("bounce", [("bounced", "weeklyreader@aol.com", True, "other", "")]),
    "arf": ("complaint", [("complained", "reader@example.com", None, "spam", "")]),
    "arf_auth_failure": ("other", []),
    "arf_hotmail": ("complaint", [("complained", "reader@example.com", None, "spam", "")]),
    "arf_not_spam": ("other", []),
    "arf_opt_out": ("complaint", [("unsubscribed", "reader@example.com", None, "unsubscribed", "")]),
    "arf_redacted_everywhere": ("complaint", [("complained", "", None, "spam", "")]),
    "arf_redacted_in_report": ("complaint", [("complained", "reader@example.com", None, "spam", "")]),
    "barracuda": ("bounce", [("bounced", "reader@example.com", True, "spam", "5.7.1")]),
    "challenge": ("auto-reply", [("autoresponded", "reader@example.com", None, None, "")]),
    "challenge_boxbe": ("auto-reply", []),
    "challenge_of_postmaster": ("auto-reply", [("autoresponded", "postmaster@example.com", None, None, "")]),
    "courier": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "delivered_in_prose": ("delivery", [("delivered", "reader@example.com", None, None, "")]),
    "domain_gone": ("bounce", [("bounced", "reader@example.com", True, "invalid", "5.1.2")]),
    "domino": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "dragonfly": ("bounce", [("bounced", "reader@example.com", True, "blocked", "5.7.26")]),
    "dsn_base64": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "dsn_blank_within_group": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "dsn_delayed": ("bounce", [("deferred", "reader@example.com", False, "timed_out", "4.4.1")]),
    "dsn_delivered": ("delivery", [("delivered", "reader@example.com", None, None, "2.0.0")]),
    "dsn_expired": ("bounce", [("bounced", "reader@example.com", True, "timed_out", "4.4.7")]),
    "dsn_lost_boundary": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "dsn_missing_blank_line": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "dsn_nested": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "dsn_no_blank_lines": (
        "bounce",
        [
            ("bounced", "one@example.com", True, "bounced", "5.2.2"),
            ("bounced", "two@example.com", True, "bounced", "5.1.1"),
        ],
    ),
    "dsn_pipe": ("bounce", [("bounced", "reader@example.com", True, "other", "5.3.0")]),
    "dsn_pipe_only": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.2.2")]),
    "dsn_postfix_unknown": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "dsn_relayed": ("delivery", [("delivered", "reader@example.com", None, None, "2.0.0")]),
    "dsn_returned_copy_of_a_report": ("bounce", [("deferred", "reader@example.com", False, "timed_out", "4.4.1")]),
    "dsn_three_recipients": (
        "bounce",
        [
            ("bounced", "one@example.com", True, "bounced", "5.1.1"),
            ("deferred", "two@example.com", False, "bounced", "4.2.2"),
            ("delivered", "three@example.com", None, None, "2.1.5"),
        ],
    ),
    "dsn_utf8": ("bounce", [("bounced", "Gräfin@exämple.com", True, "bounced", "5.1.1")]),
    "dsn_wrong_type": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "exchange_5_5": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "exchange_french": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "exchange_german": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "exchange_names_a_person": ("bounce", []),
    "sieve_refusal_without_address": ("bounce", [("bounced", "reader@host.example.com", True, "bounced", "5.2.2")]),
    "exchange_spanish": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "exim": (
        "bounce",
        [
            ("bounced", "reader@example.com", True, "bounced", "5.1.1"),
            ("bounced", "other@example.com", True, "bounced", "5.2.2"),
        ],
    ),
    "exim_warning": ("bounce", [("deferred", "reader@example.com", False, "other", "")]),
    "ezweb": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "full_mailbox_4xx": ("bounce", [("bounced", "reader@example.com", False, "bounced", "4.2.2")]),
    "gmail": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "gmail_delay": ("bounce", [("deferred", "reader@example.com", False, "other", "")]),
    "gmx": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "groupwise": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "left_the_company": ("other", []),
    "mail_ru": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "mdaemon": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "mercury": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "mimecast": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "mobile_without_return_path": ("bounce", [("bounced", "reader@mail.example.net", True, "bounced", "5.2.2")]),
    "moderation": ("auto-reply", [("autoresponded", "list-owner@example.net", None, None, "")]),
    "moved_without_return_path": ("other", []),
    "netease": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "opensmtpd": ("bounce", [("bounced", "reader@example.com", True, "other", "")]),
    "person_forwards_a_bounce": ("other", []),
    "person_writes": ("other", []),
    "plain_returned_copy_of_a_bounce": ("bounce", [("deferred", "reader@example.com", False, "blocked", "4.2.0")]),
    "postfix_old": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "qmail": (
        "bounce",
        [
            ("bounced", "reader@example.com", True, "bounced", "5.1.1"),
            ("bounced", "other@example.com", True, "bounced", "5.1.1"),
        ],
    ),
    "qmail_to_oneself": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.2.2")]),
    "read_receipt": ("delivery", [("delivered", "reader@example.com", None, None, "")]),
    "sendmail_5_transcript_only": (
        "bounce",
        [
            ("bounced", "reader@example.com", True, "bounced", "5.1.1"),
            ("bounced", "other@example.edu", True, "invalid", "5.1.2"),
        ],
    ),
    "sendmail_expanded": ("bounce", [("bounced", "Reader@example.com", True, "bounced", "5.1.1")]),
    "sendmail_transcript": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "ses": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "sieve_reject": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.2.2")]),
    "sina": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "smtp32": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "t_online": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.2.2")]),
    "vacation_french": ("auto-reply", [("autoresponded", "reader@example.com", None, None, "")]),
    "vacation_german": ("auto-reply", [("autoresponded", "reader@example.com", None, None, "")]),
    "vacation_of_postmaster": ("auto-reply", [("autoresponded", "postmaster@example.com", None, None, "")]),
    "vacation_precedence": ("auto-reply", [("autoresponded", "reader@example.com", None, None, "")]),
    "vacation_rfc3834": ("auto-reply", [("autoresponded", "reader@example.com", None, None, "")]),
    "vadesecure": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.2.2")]),
    "vacation_without_return_path": ("auto-reply", [("autoresponded", "reader@example.com", None, None, "")]),
    "web_de": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "yahoo": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
    "zoho": ("bounce", [("bounced", "reader@example.com", True, "bounced", "5.1.1")]),
}

READ = {path.stem: path.read_bytes() for path in sorted(MAILS.glob("*.eml"))}


def told(raw: bytes | str) -> list[Told]:
    return [
        (str(event.type), event.recipient, event.permanent, str(event.reason) if event.reason else None, event.status)
        for event in parse_message(raw)
    ]


def test_every_sample_is_expected() -> None:
    """There is no sample mail without an expectation, and none is missing."""
    assert set(READ) == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_sample(name: str) -> None:
    """A mail in this mailer's shape is read as what it is, with each recipient."""
    kind, events = EXPECTED[name]
    assert read_message(READ[name]).kind == kind
    assert told(READ[name]) == events


def read_otherwise(change: Callable[[bytes], bytes | str]) -> list[str]:
    """The samples that are read differently once they are changed."""
    return [name for name, (_, events) in EXPECTED.items() if told(change(READ[name])) != events]


@pytest.mark.parametrize("end", [b"\r\n", b"\r", b"\r\r\n"], ids=["CRLF", "CR", "CRCRLF"])
def test_line_ends(end: bytes) -> None:
    """Line ends of another system change nothing."""
    assert read_otherwise(lambda raw: raw.replace(b"\n", end)) == []


def test_from_an_mbox() -> None:
    """A ``From`` line or blank lines before the header change nothing."""
    assert read_otherwise(lambda raw: b"From MAILER-DAEMON Mon Jun  2 06:00:05 2025\n" + raw) == []
    assert read_otherwise(lambda raw: b"\n\n" + raw) == []


def test_as_text() -> None:
    """A mail as text is read as its bytes are."""
    assert read_otherwise(bytes.decode) == []


def test_nothing_of_what_is_no_bounce_is_permanent() -> None:
    """Vacation replies, receipts, challenges and people's mail give no permanent bounce."""
    quiet = [name for name, (kind, _) in EXPECTED.items() if kind in ("auto-reply", "delivery", "other")]
    assert len(quiet) > 15
    assert not [name for name in quiet if any(event.permanent for event in parse_message(READ[name]))]


def test_an_mbox_gives_the_events_of_each_mail() -> None:
    """Mails joined as an mbox are read one by one."""
    line = b"From MAILER-DAEMON Mon Jun  2 06:00:05 2025\n"
    joined = b"\n".join(line + READ[name] for name in ("qmail", "vacation_german", "domino"))
    assert told(joined) == EXPECTED["qmail"][1] + EXPECTED["vacation_german"][1] + EXPECTED["domino"][1]

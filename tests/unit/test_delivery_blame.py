"""Whose fault a refusal is."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailer.delivery.blame import blame, find_rule, is_permanent
from mailer.delivery.blame_rules import RULES, Blame, Rule
from mailer.model.ledger import Reply

SUPPRESSING = {Blame.RECIPIENT}


def reply(text: str) -> Reply:
    """``550 5.1.1 text`` as a reply; code and status may be missing."""
    found = re.fullmatch(r"(\d{3})? ?([245]\.\d+\.\d+)? ?(.*)", text, re.DOTALL)
    assert found is not None
    return Reply(int(found[1] or 0), found[2] or "", found[3])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.example[:40])
def test_every_rule_fires(rule: Rule) -> None:
    """Each rule decides its own example: none is dead, and none stands in an earlier one's shadow."""
    assert find_rule(reply(rule.example)) is rule


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.example[:40])
def test_every_rule_asks_for_something(rule: Rule) -> None:
    """No rule fits everything."""
    assert rule.code or rule.status or rule.text


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # RECIPIENT: what the large receivers and the usual servers say.
        (
            "550 5.1.1 The email account that you tried to reach does not exist. Learn more at https://h/?p=NoSuchUser",
            "r",
        ),
        ("550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).", "r"),
        ("550 5.1.1 <x@t-online.de>: user unknown", "r"),
        ("550 User unknown.", "r"),
        ("550 unrouteable address", "r"),
        ("550 Unknown local part x in <x@example.org>", "r"),
        ("552 1 Requested mail action aborted, mailbox not found", "r"),
        ("550 No such user here", "r"),
        ("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", "r"),
        ("550 <x@example.org>: invalid address", "r"),
        ("550 5.1.0 <x@example.org>: Address unknown", "r"),
        ("551 User not local; please try <y@example.org>", "r"),
        ("556 5.1.10 Recipient address has a null MX", "r"),
        ("5.1.1 smtp; user unknown", "r"),
        ("550 5.1.1 <spam-trap@example.org>: Recipient address rejected: User unknown", "r"),
        ("550 5.1.1 User unknown, see https://antispam.example.org/spam-policy", "r"),
        ("550 5.1.1 Address does not exist (in reply to RCPT at mx.spam.example)", "r"),
        # MAILBOX: soft.
        ("452 4.2.2 The recipient's inbox is out of storage space", "m"),
        ("552 5.2.2 Over STORAGE quota", "m"),
        ("552 Requested mail action aborted: exceeded storage allocation", "m"),
        ("550 5.2.1 The email account that you tried to reach is disabled.", "m"),
        ("450 4.2.1 The user you are trying to contact is receiving mail too quickly.", "m"),
        ("550 mailbox full", "m"),
        ("550 user has too many messages on the server", "m"),
        ("550 User is locked", "m"),
        ("4.2.2 mailbox full", "m"),
        # US: nobody is suppressed, whatever the codes pretend.
        ("550 5.1.1 <x@example.org>: Recipient address rejected: listed on a reputation service", "u"),
        ("550 5.1.1 Mailbox does not exist; your IP is blacklisted", "u"),
        ("550 5.7.1 Service unavailable; client [192.0.2.1] blocked using zen.spamhaus.org", "u"),
        ("550 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1", "u"),
        ("550 5.7.1 Our system has detected that this message is likely unsolicited mail.", "u"),
        ("554 5.7.9 Message not accepted for policy reasons.", "u"),
        (
            "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent: their network is on our block list",
            "u",
        ),
        ("550 5.7.515 Access denied, sending domain EXAMPLE.ORG doesn't meet the required authentication level.", "u"),
        ("554 5.7.1 The message was rejected because it contains prohibited virus or spam content", "u"),
        ("554 IP=192.0.2.1 - A problem occurred. (Ask your postmaster for help.) (BL)", "u"),
        ("553 5.1.8 Domain of sender address does not exist", "u"),
        ("550 Sender verify failed", "u"),
        ("450 4.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.1]", "u"),
        ("451 4.7.1 Temporarily rejected due to too many connections", "u"),
        ("535 5.7.8 Error: authentication failed", "u"),
        ("554 Refused. Your reverse DNS entry contains your IP address and a country code.", "u"),
        ("550 Access denied", "u"),
        ("571 5.7.1 message classified as spam", "u"),
        # RELAY: nobody's.
        ("421 4.7.0 [TSS04] Messages temporarily deferred due to unexpected volume or user complaints", "l"),
        ("421 4.3.2 Service shutting down", "l"),
        ("451 4.3.0 Temporary lookup failure", "l"),
        ("454 Throttling failure: Maximum sending rate exceeded.", "l"),
        # OTHER: nothing is concluded.
        ("550 ", "o"),
        ("554 Transaction failed", "o"),
        ("500 ", "o"),
        ("450 4.1.1 <x@example.org>: Recipient address rejected: unverified address: user unknown", "o"),
        ("450 4.2.0 <x@example.org>: Recipient address rejected: Greylisted", "o"),
        ("552 5.3.4 Message size exceeds fixed maximum message size", "o"),
        ("550 5.7.1 You have been blocked by the recipient", "o"),
        ("451 4.4.1 Connection timed out", "o"),
        ("user unknown", "o"),
        ("", "o"),
    ],
)
def test_known_replies(said: str, expected: str) -> None:
    """What receivers are known to say is blamed on the right party."""
    letters = {"r": "recipient", "m": "mailbox", "u": "us", "l": "relay", "o": "other"}
    assert blame(reply(said)) == letters[expected]


@pytest.mark.parametrize("said", ["550 5.1.1 user unknown", "550 mailbox full", "550 "])
def test_refused_at_mail(said: str) -> None:
    """A refusal of MAIL never falls on the recipient, who hadn't been named yet."""
    assert blame(reply(said), "mail") is Blame.US


def test_deferred_at_mail() -> None:
    """A 4xx to MAIL blames nobody."""
    assert blame(reply("450 4.1.1 user unknown"), "mail") is Blame.OTHER


def test_our_own_refusal() -> None:
    """What we refused ourselves is nobody's fault but the message's."""
    assert blame(Reply(0, "5.6.7", "no SMTPUTF8"), "local") is Blame.OTHER


EVIDENCE = ("blocked using zen.spamhaus.org", "Message rejected as spam", "bad reputation", "your IP is blacklisted")


@given(
    st.sampled_from([rule for rule in RULES if rule.blame is Blame.RECIPIENT]),
    st.sampled_from(EVIDENCE),
    st.booleans(),
)
def test_evidence_outranks(rule: Rule, evidence: str, first: bool) -> None:
    """A reply that names a list, spam or reputation suppresses nobody, whatever else it says."""
    said = reply(rule.example)
    text = f"{evidence}; {said.text}" if first else f"{said.text}; {evidence}"
    assert blame(replace(said, text=text)) not in SUPPRESSING


@given(st.integers(400, 499), st.sampled_from(["", "4.1.1", "4.2.2", "4.7.1", "5.1.1"]), st.text(max_size=60))
@example(450, "5.1.1", "user unknown")
def test_temporary_never_suppresses(code: int, status: str, text: str) -> None:
    """No 4xx suppresses anybody."""
    assert blame(Reply(code, status, text)) not in SUPPRESSING


@given(st.integers(0, 999), st.text(max_size=12), st.text(max_size=200))
def test_takes_anything(code: int, status: str, text: str) -> None:
    """Any reply has an answer."""
    assert blame(Reply(code, status, text)) in Blame


@pytest.mark.parametrize(
    ("said", "permanent"),
    [("550 x", True), ("5.1.1 x", True), ("450 5.1.1 x", False), ("4.2.2 x", False), ("x", False)],
)
def test_permanent(said: str, permanent: bool) -> None:
    """The code decides, and the status where there is no code."""
    assert is_permanent(reply(said)) is permanent

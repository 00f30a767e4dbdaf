"""Mailjet's words in ours."""

from __future__ import annotations

import json

import pytest

from mailer.bounces import parse_webhook

# https://dev.mailjet.com/email/guides/webhooks/
BOUNCE = {
    "event": "bounce",
    "time": 1430812195,
    "MessageID": 13792286917004336,
    "email": "bounce@example.com",
    "mj_campaign_id": 0,
    "customcampaign": "",
    "CustomID": "helloworld",
    "blocked": True,
    "hard_bounce": True,
    "error_related_to": "recipient",
    "error": "user unknown",
    "comment": "Host or domain name not found. Name service error for name=lbjsnrftlsiuvbsren.example type=A",
}


def read(**changes: object) -> tuple[str, str | None, bool | None]:
    [event] = parse_webhook("mailjet", {}, json.dumps(BOUNCE | changes).encode())
    return (event.type, event.reason, event.permanent)


def test_a_hard_bounce_in_full() -> None:
    """Every field of a documented bounce is where it belongs."""
    [event] = parse_webhook("mailjet", {}, json.dumps(BOUNCE).encode())
    assert (event.type, event.reason, event.permanent) == ("bounced", "bounced", True)
    assert (event.recipient, event.message_id, event.timestamp) == (
        "bounce@example.com",
        "13792286917004336",
        1430812195.0,
    )
    assert event.diagnostic.startswith("user unknown; Host or domain name not found.")
    assert len(event.event_id) == 32
    assert event.raw == BOUNCE


@pytest.mark.parametrize(
    ("error", "hard", "wanted"),
    [
        ("user unknown", True, ("bounced", "bounced", True)),
        ("mailbox inactive", True, ("bounced", "bounced", True)),
        ("quota exceeded", False, ("bounced", "bounced", False)),
        ("invalid domain", True, ("bounced", "invalid", True)),
        ("no mail host", False, ("bounced", "invalid", False)),
        ("relay/access denied", False, ("bounced", "blocked", False)),
        ("greylisted", False, ("deferred", "other", False)),
        ("sender blocked", False, ("bounced", "blocked", False)),
        ("content blocked", False, ("bounced", "spam", False)),
        ("policy issue", False, ("bounced", "blocked", False)),
        ("connection issue", False, ("bounced", "other", False)),
        ("something new", True, ("bounced", "other", True)),
    ],
)
def test_errors_of_bounces(error: str, hard: bool, wanted: tuple[str, str, bool]) -> None:
    """Each documented error lays the blame on the recipient, the message or us; ``hard_bounce`` says how lasting."""
    assert read(error=error, hard_bounce=hard) == wanted


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        ("preblocked", ("rejected", "bounced", True)),
        ("spam reporter", ("rejected", "spam", True)),
        ("blacklisted", ("rejected", "blocked", True)),
        ("typofix", ("rejected", "invalid", True)),
        ("duplicate in campaign", ("rejected", "other", False)),
    ],
)
def test_blocked_was_not_sent(error: str, wanted: tuple[str, str, bool]) -> None:
    """What Mailjet blocked is rejected; its own lists are lasting, a duplicate isn't."""
    event = {key: value for key, value in BOUNCE.items() if key not in {"hard_bounce", "blocked"}}
    [found] = parse_webhook("mailjet", {}, json.dumps(event | {"event": "blocked", "error": error}).encode())
    assert (found.type, found.reason, found.permanent) == wanted


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("sent", ("delivered", None, None)),
        ("open", ("opened", None, None)),
        ("click", ("clicked", None, None)),
        ("spam", ("complained", "spam", None)),
        ("unsub", ("unsubscribed", "unsubscribed", None)),
        ("undreamt", ("unknown", None, None)),
    ],
)
def test_other_events(word: str, wanted: tuple[str, str | None, None]) -> None:
    """The remaining documented events have their words; an unknown one is kept as such."""
    assert read(event=word) == wanted


def test_grouped_events_are_read_in_order() -> None:
    """An array holds mixed events, each read by itself."""
    batch = [BOUNCE, BOUNCE | {"event": "spam", "source": "JMRPP"}, BOUNCE | {"event": "sent"}]
    events = parse_webhook("mailjet", {}, json.dumps(batch).encode())
    assert [event.type for event in events] == ["bounced", "complained", "delivered"]
    assert len({event.event_id for event in events}) == 3

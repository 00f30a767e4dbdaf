"""Mailtrap's webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from mailer.bounces import Event, parse_webhook, verify_webhook
from mailer.bounces.errors import WebhookError, WebhookMalformed, WebhookRefused
from mailer.bounces.providers import mailtrap
from mailer.bounces.request import Section

NOW = 1_700_000_000.0
SETTINGS = {"secret": "newer"}


def signed(body: bytes, secret: str = "newer") -> dict[str, str]:
    return {"Mailtrap-Signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def event(kind: str, **more: object) -> dict[str, object]:
    """An event as the documentation shows it."""
    return {
        "event": kind,
        "timestamp": 1498093527,
        "sending_stream": "bulk",
        "sending_domain_name": "letter.example.com",
        "category": "newsletter",
        "custom_variables": {},
        "message_id": "1df37d17-0286-4d8b-8edf-bc4ec5be86e6",
        "email": "reader@example.com",
        "event_id": "bede7236-2284-43d6-a953-1fdcafd0fdbc",
    } | more


def parse(*events: object) -> list[Event]:
    return parse_webhook("mailtrap", {}, json.dumps({"events": list(events)}).encode())


@pytest.mark.parametrize(
    ("word", "type", "reason", "permanent"),
    [
        ("delivery", "delivered", None, None),
        ("soft bounce", "deferred", None, False),
        ("soft_bounce", "deferred", None, False),
        ("suspension", "deferred", "other", False),
        ("bounce", "bounced", "bounced", True),
        ("reject", "rejected", "blocked", None),
        ("spam", "complained", "spam", None),
        ("unsubscribe", "unsubscribed", "unsubscribed", None),
        ("open", "opened", None, None),
        ("click", "clicked", None, None),
        ("inbound.message_received", "unknown", None, None),
        ("invented", "unknown", None, None),
    ],
)
def test_words(word: str, type: str, reason: str | None, permanent: bool | None) -> None:
    """Each of Mailtrap's words has its meaning, and an unknown one is ``unknown`` with the event kept."""
    raw = event(word)
    (found,) = parse(raw)
    assert (found.type, found.reason, found.permanent) == (type, reason, permanent)
    assert (found.recipient, found.raw) == ("reader@example.com", raw)


@pytest.mark.parametrize(
    ("category", "reason", "permanent"),
    [
        ("badrecipient", "bounced", True),
        ("overquota", "bounced", False),
        ("timeout", "timed_out", False),
        ("dnsFail", "invalid", None),
        ("transientfail", "other", False),
        ("greylisting", "other", False),
        ("serverfail", "other", False),
        ("badsender", "blocked", False),
        ("block", "blocked", False),
        ("serverpolicy", "blocked", False),
        ("spam_gmail", "blocked", False),
        ("relayfail", "blocked", False),
        ("content", "spam", False),
        ("spam", "spam", False),
        ("verifyfail", "other", None),
        ("generalfail", "other", None),
        ("other", "other", None),
        ("hard", "bounced", True),
        (None, "bounced", True),
    ],
)
def test_categories(category: str | None, reason: str, permanent: bool | None) -> None:
    """A bounce's category says whether the address, the sender or nobody is to blame."""
    (found,) = parse(event("bounce", bounce_category=category))
    assert (found.type, found.reason, found.permanent) == ("bounced", reason, permanent)


def test_hard_bounce() -> None:
    """A bounce has status code, diagnostic, Mailtrap's ids of mail and event, and the time."""
    response = "bounced (550 5.1.1 The email account that you tried to reach does not exist. - gsmtp)"
    (found,) = parse(event("bounce", response=response, response_code=550, bounce_category="badrecipient"))
    assert (found.status, found.diagnostic) == ("5.1.1", f"{response}; badrecipient")
    assert found.message_id == "1df37d17-0286-4d8b-8edf-bc4ec5be86e6"
    assert found.event_id == "bede7236-2284-43d6-a953-1fdcafd0fdbc"
    assert found.timestamp == 1498093527.0


def test_batch() -> None:
    """A batch gives an event each; what is broken becomes ``unknown`` and sinks none of the others."""
    found = parse(event("bounce"), 7, {}, event("spam"))
    assert [one.type for one in found] == ["bounced", "unknown", "unknown", "complained"]


def test_json_lines() -> None:
    """JSON Lines are read as well, and a broken line becomes ``unknown``."""
    lines = [json.dumps(event("bounce")), "{broken", "", json.dumps(event("spam"))]
    found = parse_webhook("mailtrap", {}, "\n".join(lines).encode())
    assert [one.type for one in found] == ["bounced", "unknown", "complained"]
    assert found[1].raw == '"{broken"'


def test_one_line() -> None:
    """One event alone, which is one JSON line, is read."""
    (found,) = parse_webhook("mailtrap", {}, json.dumps(event("bounce")).encode() + b"\n")
    assert found.type == "bounced"


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"hello\nworld", b"7", b'{"events": 7}', b"\xff\n\xff", b"{}\n" * 10_001]
)
def test_malformed(body: bytes) -> None:
    """A body that has no event is refused as malformed."""
    with pytest.raises(WebhookMalformed):
        parse_webhook("mailtrap", {}, body)


BODY = json.dumps({"events": [event("bounce")]}).encode()


@pytest.mark.parametrize(
    ("headers", "settings"),
    [
        (signed(BODY), SETTINGS),
        (signed(BODY, "older"), {"secret": ("newer", "older")}),
        ({"mailtrap-signature": signed(BODY)["Mailtrap-Signature"].upper()}, SETTINGS),
    ],
)
def test_accepted(headers: dict[str, str], settings: Section) -> None:
    """A body signed with any of the secrets is let through."""
    verify_webhook("mailtrap", headers, BODY, settings, NOW)


@pytest.mark.parametrize(
    ("headers", "body", "settings", "status"),
    [
        ({}, BODY, SETTINGS, 401),
        ({"Mailtrap-Signature": ""}, BODY, SETTINGS, 401),
        (signed(BODY, "older"), BODY, SETTINGS, 403),
        (signed(BODY), BODY + b" ", SETTINGS, 403),
        ({"Mailtrap-Signature": "not hex"}, BODY, SETTINGS, 403),
        ({"Mailtrap-Signature": "\udcff"}, BODY, SETTINGS, 403),
        (signed(BODY), BODY, {}, 403),
        (signed(BODY, ""), BODY, {"secret": ""}, 403),
    ],
)
def test_refused(headers: dict[str, str], body: bytes, settings: Section, status: int) -> None:
    """Missing and wrong signatures are refused, and everything is without a secret."""
    with pytest.raises(WebhookRefused) as refused:
        verify_webhook("mailtrap", headers, body, settings, NOW)
    assert refused.value.status == status


KEYS = ["events", "event", "email", "bounce_category", "response", "timestamp", "message_id", "event_id"]
WORDS = [*mailtrap.EVENTS, *mailtrap.CATEGORIES, "reader@example.com"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=15,
)
DOCUMENTS = JSON.map(json.dumps)
BODIES = st.one_of(st.binary(), st.lists(st.one_of(DOCUMENTS, st.text()), max_size=3).map("\n".join).map(str.encode))


@limits(max_examples=40)
@given(BODIES)
def test_any_body(body: bytes) -> None:
    """Whatever the body is, only our errors come out, and each event can be stored."""
    try:
        events = parse_webhook("mailtrap", {}, body)
    except WebhookError:
        return
    for one in events:
        json.dumps([one.type, one.recipient, one.diagnostic, one.event_id], ensure_ascii=False).encode()


@limits(max_examples=40)
@given(st.text(), BODIES)
def test_any_signature(signature: str, body: bytes) -> None:
    """Whatever header and body are, nothing unsigned is let through, and only our errors come out."""
    with pytest.raises(WebhookError):
        verify_webhook("mailtrap", {"mailtrap-signature": signature}, body, SETTINGS, NOW)

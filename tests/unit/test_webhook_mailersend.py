"""MailerSend's webhooks."""

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
from mailer.bounces.providers import mailersend
from mailer.bounces.request import Section

NOW = 1_700_000_000.0
SETTINGS = {"secret": "newer"}
PUBLIC = "test_Am3L1GuOIc4blLUuHqAPxxwkZaJyEk8G"
PING = b'{"type":"webhook.test","message":"This is a ping test message","created_at":"2026-03-27T07:24:20.577080Z"}'


def signed(body: bytes, secret: str = "newer") -> dict[str, str]:
    return {"Signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def event(kind: str, **data: object) -> dict[str, object]:
    """An event of version 2 as the documentation shows it."""
    return {
        "type": f"activity.{kind}",
        "created_at": "2025-08-05T21:23:54.000000Z",
        "data": {
            "id": "6892766a5b66e2daf3dc9155",
            "domain_id": "yv69oxl5kl785kw2",
            "message_id": "6892766ae78995a317577aa1",
            "email_id": "6892766a8d52ba62543d5e71",
            "type": kind,
            "subject": "Issue 24",
            "recipient": "reader@example.com",
            "tags": ["newsletter"],
            "meta": [],
        }
        | data,
    }


def old_event(kind: str, morph: object) -> dict[str, object]:
    """An event of version 1 as the documentation showed it."""
    return {
        "type": f"activity.{kind}",
        "domain_id": "yv69oxl5kl785kw2",
        "created_at": "2020-11-27T10:08:08.298647Z",
        "data": {
            "object": "activity",
            "id": "5fc0d006b42c3e16e1774882",
            "type": kind,
            "created_at": "2020-11-27T10:08:06.258000Z",
            "email": {
                "object": "email",
                "id": "5fc0d003e7a5e7035446aa32",
                "message": {"object": "message", "id": "5fc0d003f718c90162341852"},
                "recipient": {"object": "recipient", "email": "reader@example.com"},
            },
            "morph": morph,
        },
    }


def parse(raw: object) -> list[Event]:
    return parse_webhook("mailersend", {}, json.dumps(raw).encode())


@pytest.mark.parametrize(
    ("word", "type", "reason", "permanent"),
    [
        ("sent", "unknown", None, None),
        ("delivered", "delivered", None, None),
        ("deferred", "deferred", None, False),
        ("soft_bounced", "bounced", "bounced", False),
        ("hard_bounced", "bounced", "bounced", True),
        ("suppressed", "rejected", "blocked", True),
        ("spam_complaint", "complained", "spam", None),
        ("spam_complaints", "complained", "spam", None),
        ("unsubscribed", "unsubscribed", "unsubscribed", None),
        ("opened", "opened", None, None),
        ("opened_unique", "opened", None, None),
        ("clicked", "clicked", None, None),
        ("clicked_unique", "clicked", None, None),
        ("survey_submitted", "unknown", None, None),
        ("invented", "unknown", None, None),
    ],
)
def test_words(word: str, type: str, reason: str | None, permanent: bool | None) -> None:
    """Each of MailerSend's words has its meaning, and an unknown one is ``unknown`` with the event kept."""
    raw = event(word)
    (found,) = parse(raw)
    assert (found.type, found.reason, found.permanent) == (type, reason, permanent)
    assert (found.recipient, found.raw) == ("reader@example.com", raw)


def test_hard_bounce() -> None:
    """A hard bounce has status code, diagnostic, MailerSend's ids of mail and event, and the time."""
    meta = {"bounce_code": 550, "bounce_reason": "5.1.1 user unknown"}
    (found,) = parse(event("hard_bounced", meta=meta))
    assert (found.status, found.diagnostic) == ("5.1.1", "5.1.1 user unknown; 550")
    assert (found.message_id, found.event_id) == ("6892766ae78995a317577aa1", "6892766a5b66e2daf3dc9155")
    assert found.timestamp == 1754429034.0


def test_address_under_email() -> None:
    """The address may stand under ``email`` instead of ``recipient``."""
    (found,) = parse(event("hard_bounced", recipient=None, email="other@example.com"))
    assert found.recipient == "other@example.com"


def test_version_1() -> None:
    """The older, nested form of an event is read as well."""
    morph = {"object": "recipient_bounce", "reason": "Host or domain name not found"}
    (found,) = parse(old_event("hard_bounced", morph))
    assert (found.type, found.permanent, found.recipient) == ("bounced", True, "reader@example.com")
    assert found.diagnostic == "Host or domain name not found"
    assert (found.message_id, found.event_id) == ("5fc0d003f718c90162341852", "5fc0d006b42c3e16e1774882")
    assert found.timestamp == 1606471686.258


def test_version_1_without_morph() -> None:
    """A nested event without details is read."""
    (found,) = parse(old_event("delivered", None))
    assert (found.type, found.recipient) == ("delivered", "reader@example.com")


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "recipient.on_hold_added", "data": {"type": "hard_bounced", "recipient": "reader@example.com"}},
        {"type": "inbound.message", "data": {"id": "1"}},
        {"type": "activity.hard_bounced", "data": []},
        {},
    ],
)
def test_no_activity(raw: object) -> None:
    """What is no activity of a mail to somebody is ``unknown``."""
    (found,) = parse(raw)
    assert found.type == "unknown"


def test_ping() -> None:
    """The ping that comes when a webhook is saved has no event, and needs no configured secret."""
    assert parse_webhook("mailersend", {}, PING) == []
    verify_webhook("mailersend", signed(PING, PUBLIC), PING, {}, NOW)
    verify_webhook("mailersend", signed(PING), PING, SETTINGS, NOW)


@pytest.mark.parametrize("body", [b"", b"hello", b"7", b"\xff", b"[" * 100 + b"]" * 100])
def test_malformed(body: bytes) -> None:
    """A body that is no event is refused as malformed."""
    with pytest.raises(WebhookMalformed):
        parse_webhook("mailersend", {}, body)


BODY = json.dumps(event("hard_bounced")).replace("/", "\\/").encode()


@pytest.mark.parametrize(
    ("headers", "settings"),
    [
        (signed(BODY), SETTINGS),
        (signed(BODY, "older"), {"secret": ("newer", "older")}),
        ({"Signature": signed(BODY)["Signature"].upper()}, SETTINGS),
    ],
)
def test_accepted(headers: dict[str, str], settings: Section) -> None:
    """A body signed with any of the secrets is let through."""
    verify_webhook("mailersend", headers, BODY, settings, NOW)


@pytest.mark.parametrize(
    ("headers", "body", "settings", "status"),
    [
        ({}, BODY, SETTINGS, 401),
        (signed(BODY, "older"), BODY, SETTINGS, 403),
        (signed(BODY), BODY + b" ", SETTINGS, 403),
        (signed(BODY, PUBLIC), BODY, SETTINGS, 403),
        (signed(BODY, PUBLIC), BODY, {}, 403),
        (signed(PING, "wrong"), PING, SETTINGS, 403),
        ({"Signature": "not hex"}, BODY, SETTINGS, 403),
        ({"Signature": "abc"}, BODY, SETTINGS, 403),
        ({"Signature": "\udcff"}, BODY, SETTINGS, 403),
        (signed(BODY), BODY, {}, 403),
        (signed(BODY, ""), BODY, {"secret": ""}, 403),
    ],
)
def test_refused(headers: dict[str, str], body: bytes, settings: Section, status: int) -> None:
    """Missing and wrong signatures are refused, the public one for all but pings, and everything without a secret."""
    with pytest.raises(WebhookRefused) as refused:
        verify_webhook("mailersend", headers, body, settings, NOW)
    assert refused.value.status == status


KEYS = ["type", "data", "meta", "morph", "email", "recipient", "message", "id", "created_at", "bounce_reason"]
WORDS = [*(f"activity.{one}" for one in mailersend.EVENTS), *mailersend.EVENTS, "webhook.test", "reader@example.com"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=15,
)


@limits(max_examples=40)
@given(st.one_of(st.binary(), JSON.map(json.dumps).map(str.encode)))
def test_any_body(body: bytes) -> None:
    """Whatever the body is, only our errors come out, and each event can be stored."""
    try:
        events = parse_webhook("mailersend", {}, body)
    except WebhookError:
        return
    for one in events:
        json.dumps([one.type, one.recipient, one.diagnostic, one.event_id], ensure_ascii=False).encode()


@limits(max_examples=40)
@given(st.text(), st.one_of(st.binary(), JSON.map(json.dumps).map(str.encode)))
def test_any_signature(signature: str, body: bytes) -> None:
    """Whatever header and body are, nothing unsigned is let through, and only our errors come out."""
    with pytest.raises(WebhookError):
        verify_webhook("mailersend", {"signature": signature}, body, SETTINGS, NOW)


@limits(max_examples=40)
@given(st.one_of(st.binary(), JSON.map(json.dumps).map(str.encode)))
def test_public_secret(body: bytes) -> None:
    """What the secret that everybody knows lets through never has an event."""
    try:
        verify_webhook("mailersend", signed(body, PUBLIC), body, SETTINGS, NOW)
    except WebhookError:
        return
    assert parse_webhook("mailersend", {}, body) == []

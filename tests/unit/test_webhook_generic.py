"""The generic webhook: our own format."""

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
from mailer.bounces.event import EventType, Reason
from mailer.bounces.request import Section

NOW = 1_700_000_000.0
SETTINGS = {"secret": "newer"}
BODY = b'{"type": "bounced", "recipient": "reader@example.com"}'


def digest(body: bytes = BODY, secret: str = "newer", at: float = NOW) -> str:
    return hmac.new(secret.encode(), f"{at:.0f}.".encode() + body, hashlib.sha256).hexdigest()


def signed(body: bytes = BODY, secret: str = "newer", at: float = NOW) -> dict[str, str]:
    return {"Mailer-Signature": f"t={at:.0f},v1={digest(body, secret, at)}"}


def parse(raw: object) -> list[Event]:
    return parse_webhook("generic", {}, json.dumps(raw).encode())


def test_all_fields() -> None:
    """Every field of an event can be given, and comes out as it was given."""
    raw = {
        "type": "bounced",
        "recipient": "reader@example.com",
        "permanent": False,
        "reason": "timed_out",
        "status": "4.4.7",
        "diagnostic": "delivery time expired",
        "message_id": "<24.1@letter.example.com>",
        "event_id": "7",
        "timestamp": 1700000000.5,
    }
    (found,) = parse(raw)
    assert {name: getattr(found, name) for name in raw} == raw
    assert found.raw == raw


@pytest.mark.parametrize("type", sorted(EventType))
def test_types(type: str) -> None:
    """Each of our own words is understood."""
    (found,) = parse({"type": type, "recipient": "reader@example.com"})
    assert found.type == type


@pytest.mark.parametrize("reason", sorted(Reason))
def test_reasons(reason: str) -> None:
    """Each of our own reasons is understood."""
    (found,) = parse({"type": "rejected", "recipient": "reader@example.com", "reason": reason})
    assert found.reason == reason


@pytest.mark.parametrize(
    ("fields", "reason", "permanent"),
    [
        ({"type": "bounced"}, "bounced", None),
        ({"type": "bounced", "status": "5.1.1"}, "bounced", True),
        ({"type": "bounced", "diagnostic": "550 5.1.1 no such user"}, "bounced", True),
        ({"type": "bounced", "status": "4.2.2"}, "bounced", False),
        ({"type": "bounced", "status": "5.2.2", "permanent": False}, "bounced", False),
        ({"type": "bounced", "status": "5.7.1"}, "blocked", True),
        ({"type": "bounced", "status": "5.7.1", "reason": "spam"}, "spam", True),
        ({"type": "bounced", "reason": "invented", "permanent": "yes"}, "bounced", None),
        ({"type": "deferred", "status": "4.2.2"}, None, False),
        ({"type": "complained"}, "spam", None),
        ({"type": "complained", "status": "5.7.1"}, "spam", None),
        ({"type": "unsubscribed"}, "unsubscribed", None),
        ({"type": "rejected", "permanent": True}, "other", True),
    ],
)
def test_left_out(fields: dict[str, object], reason: str | None, permanent: bool | None) -> None:
    """What an event leaves out follows from its type and its status code, and what it says holds."""
    (found,) = parse({"recipient": "reader@example.com"} | fields)
    assert (found.reason, found.permanent) == (reason, permanent)


def test_date() -> None:
    """A time may be a date of ISO 8601."""
    (found,) = parse({"type": "bounced", "recipient": "reader@example.com", "timestamp": "2023-11-14T22:13:20Z"})
    assert found.timestamp == NOW


def test_batch() -> None:
    """An array gives an event each, with an id each; what is broken becomes ``unknown``."""
    good = {"type": "bounced", "recipient": "a@example.com"}
    found = parse([good, 7, {"type": "bounced"}, {"type": "invented", "recipient": "b@example.com"}, good | {"x": 1}])
    assert [one.type for one in found] == ["bounced", "unknown", "unknown", "unknown", "bounced"]
    assert len({one.event_id for one in found}) == 5


def test_told_twice() -> None:
    """The same event told again has the same id, even when it was given none."""
    assert parse(json.loads(BODY)) == parse(json.loads(BODY))


@pytest.mark.parametrize("body", [b"", b"hello", b"7", b"\xff", b"[" * 100 + b"]" * 100, b"[" + b"1," * 20_000 + b"1]"])
def test_malformed(body: bytes) -> None:
    """A body that is no event, or too many, is refused as malformed."""
    with pytest.raises(WebhookMalformed):
        parse_webhook("generic", {}, body)


@pytest.mark.parametrize(
    ("headers", "settings"),
    [
        (signed(), SETTINGS),
        (signed(at=NOW - 299), SETTINGS),
        (signed(at=NOW + 299), SETTINGS),
        (signed(secret="older"), {"secret": ("newer", "older")}),
        ({"Mailer-Signature": f"t=1700000000, v1={digest(secret='x')}, v1={digest().upper()}"}, SETTINGS),
    ],
)
def test_accepted(headers: dict[str, str], settings: Section) -> None:
    """One right signature is enough, with any of the secrets, within five minutes on both sides."""
    verify_webhook("generic", headers, BODY, settings, NOW)


@pytest.mark.parametrize(
    ("headers", "settings", "status"),
    [
        ({}, SETTINGS, 401),
        ({"Mailer-Signature": ""}, SETTINGS, 401),
        ({"Mailer-Signature": "hello"}, SETTINGS, 403),
        ({"Mailer-Signature": f"v1={digest()}"}, SETTINGS, 403),
        ({"Mailer-Signature": "t=1700000000"}, SETTINGS, 403),
        ({"Mailer-Signature": f"t=1700000000,t=1700000000,v1={digest()}"}, SETTINGS, 403),
        ({"Mailer-Signature": f"t=1700000001,v1={digest()}"}, SETTINGS, 403),
        ({"Mailer-Signature": "t=1700000000,v1=\udcff"}, SETTINGS, 403),
        (signed(secret="older"), SETTINGS, 403),
        (signed(body=b"{}"), SETTINGS, 403),
        (signed(at=NOW - 301), SETTINGS, 403),
        (signed(at=NOW + 301), SETTINGS, 403),
        (signed(), {}, 403),
        (signed(secret=""), {"secret": ""}, 403),
    ],
)
def test_refused(headers: dict[str, str], settings: Section, status: int) -> None:
    """Missing, wrong, old and future signatures are refused, and everything is without a secret."""
    with pytest.raises(WebhookRefused) as refused:
        verify_webhook("generic", headers, BODY, settings, NOW)
    assert refused.value.status == status


KEYS = ["type", "recipient", "permanent", "reason", "status", "diagnostic", "message_id", "event_id", "timestamp"]
WORDS = [*EventType, *Reason, "reader@example.com", "5.1.1"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=7),
    max_leaves=15,
)


@limits(max_examples=40)
@given(st.one_of(st.binary(), JSON.map(json.dumps).map(str.encode)))
def test_any_body(body: bytes) -> None:
    """Whatever the body is, only our errors come out, and each event can be stored."""
    try:
        events = parse_webhook("generic", {}, body)
    except WebhookError:
        return
    for one in events:
        json.dumps([one.type, one.recipient, one.diagnostic, one.event_id], ensure_ascii=False).encode()


@limits(max_examples=40)
@given(st.text(), st.text())
def test_any_signature(stamp: str, signature: str) -> None:
    """Whatever the header is, nothing unsigned is let through, and only our errors come out."""
    for value in (stamp, f"t={stamp},v1={signature}", f"t=1700000000,v1={signature}"):
        with pytest.raises(WebhookError):
            verify_webhook("generic", {"mailer-signature": value}, BODY, SETTINGS, NOW)

"""Mailgun's words in ours, and its signature."""

from __future__ import annotations

import hashlib
import hmac
import json
from urllib.parse import urlencode

import pytest

from mailer.bounces import parse_webhook, verify_webhook
from mailer.bounces.errors import WebhookMalformed, WebhookRefused
from mailer.bounces.providers import mailgun
from mailer.bounces.request import unpack

NOW = 1_700_000_000.0
SETTINGS = {"signing_key": "key-new"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

# https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads
FAILED = {
    "event": "failed",
    "id": "G9Bn5sl1TC6nu79C8C0bwg",
    "timestamp": 1521233195.375624,
    "severity": "permanent",
    "reason": "bounce",
    "recipient": "alice@example.com",
    "delivery-status": {
        "attempt-no": 1,
        "code": 550,
        "message": "5.1.1 The email account that you tried to reach does not exist",
        "description": "",
    },
    "message": {"headers": {"to": "Alice <alice@example.com>", "message-id": "20130503192659.13651.20287@example.com"}},
}


def signature(token: str = "t" * 50, at: float = NOW, key: str = "key-new") -> dict[str, str]:
    stamp = str(int(at))
    made = hmac.new(key.encode(), f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()
    return {"timestamp": stamp, "token": token, "signature": made}


def body(event: object = FAILED, signed: object = None) -> bytes:
    return json.dumps({"signature": signature() if signed is None else signed, "event-data": event}).encode()


def read(**changes: object) -> tuple[str, str | None, bool | None]:
    [event] = parse_webhook("mailgun", {}, body(FAILED | changes))
    return (event.type, event.reason, event.permanent)


def test_a_failure_in_full() -> None:
    """Every field of a documented failure is where it belongs."""
    [event] = parse_webhook("mailgun", {}, body())
    assert (event.type, event.reason, event.permanent) == ("bounced", "bounced", True)
    assert (event.recipient, event.status) == ("alice@example.com", "5.1.1")
    assert event.diagnostic == "5.1.1 The email account that you tried to reach does not exist"
    assert event.message_id == "<20130503192659.13651.20287@example.com>"
    assert event.event_id == "G9Bn5sl1TC6nu79C8C0bwg:17606"
    assert event.timestamp == 1521233195.375624
    assert event.raw == FAILED


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"reason": "suppress-bounce", "delivery-status": {"code": 605}}, ("rejected", "bounced", True)),
        ({"reason": "suppress-unsubscribe", "delivery-status": {"code": 606}}, ("rejected", "unsubscribed", True)),
        ({"reason": "suppress-complaint", "delivery-status": {"code": 607}}, ("rejected", "spam", True)),
        ({"reason": "", "delivery-status": {"code": 605}}, ("rejected", "bounced", True)),
        ({"reason": "espblock", "delivery-status": {"code": 550}}, ("bounced", "blocked", False)),
        ({"reason": "old", "delivery-status": {"code": 602}}, ("bounced", "timed_out", False)),
        ({"reason": "generic", "delivery-status": {"code": 550}}, ("bounced", "other", True)),
        ({"reason": "generic", "delivery-status": {"code": 498}}, ("bounced", "other", False)),
        ({"reason": "bounce", "delivery-status": {"code": 550, "message": "5.7.1 spam"}}, ("bounced", "blocked", True)),
        (
            {"reason": "bounce", "delivery-status": {"code": 552, "message": "5.2.2 full"}},
            ("bounced", "bounced", False),
        ),
        ({"severity": "temporary", "reason": "generic"}, ("deferred", None, False)),
        ({"severity": "temporary", "reason": "greylisted"}, ("deferred", None, False)),
        ({"severity": "temporary", "reason": "espblock"}, ("deferred", "blocked", False)),
    ],
)
def test_failures(changes: dict[str, object], wanted: tuple[str, str | None, bool]) -> None:
    """Temporary is deferred; Mailgun's own lists are rejections; blocks and full mailboxes aren't permanent."""
    assert read(**changes) == wanted


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("delivered", ("delivered", None, None)),
        ("opened", ("opened", None, None)),
        ("clicked", ("clicked", None, None)),
        ("unsubscribed", ("unsubscribed", "unsubscribed", None)),
        ("complained", ("complained", "spam", None)),
        ("accepted", ("unknown", None, None)),
        ("stored", ("unknown", None, None)),
    ],
)
def test_other_events(word: str, wanted: tuple[str, str | None, None]) -> None:
    """The remaining documented events have their words; an unknown one is kept as such."""
    assert read(event=word) == wanted


def test_a_rejection_names_its_recipient_in_the_message() -> None:
    """Mailgun's own rejection has no recipient field: the message's ``To`` is taken."""
    event = {
        "event": "rejected",
        "timestamp": 1529704976.104692,
        "id": "OMTXD3-sSmKIQa1gSKkYVA",
        "reject": {"reason": "Sandbox subdomains are for test purposes only."},
        "message": FAILED["message"],
    }
    [found] = parse_webhook("mailgun", {}, body(event))
    assert (found.type, found.recipient) == ("rejected", "alice@example.com")
    assert found.diagnostic == "Sandbox subdomains are for test purposes only."


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"event": "bounced", "code": "550", "error": "550 5.1.1 unknown"}, ("bounced", "bounced", True)),
        ({"event": "bounced", "code": "450", "error": "450 4.2.1 busy"}, ("bounced", "bounced", False)),
        ({"event": "dropped", "code": "605", "reason": "hardfail"}, ("rejected", "bounced", True)),
        ({"event": "dropped", "code": "607", "reason": "hardfail"}, ("rejected", "spam", True)),
        ({"event": "dropped", "code": "499", "reason": "old"}, ("bounced", "timed_out", False)),
        ({"event": "complained"}, ("complained", "spam", None)),
        ({"event": "delivered"}, ("delivered", None, None)),
    ],
)
def test_the_old_form_fields(fields: dict[str, str], wanted: tuple[str, str | None, bool | None]) -> None:
    """Webhooks of old accounts come as form fields."""
    form = {"recipient": "alice@example.com", "Message-Id": "<1@example.com>", **fields, **signature()}
    packed = urlencode(form).encode()
    verify_webhook("mailgun", FORM, packed, SETTINGS, NOW)
    [event] = parse_webhook("mailgun", FORM, packed)
    assert (event.type, event.reason, event.permanent) == wanted
    assert (event.recipient, event.message_id, event.event_id) == ("alice@example.com", "<1@example.com>", "t" * 50)
    assert event.timestamp == NOW


def test_user_variables_do_not_replace_form_fields() -> None:
    """Mailgun's own field is the first of its name, but the last of time, token and signature."""
    pairs = [("event", "complained"), ("recipient", "alice@example.com"), ("token", "mine"), ("event", "delivered")]
    packed = urlencode([*pairs, *signature().items()]).encode()
    verify_webhook("mailgun", FORM, packed, SETTINGS, NOW)
    assert parse_webhook("mailgun", FORM, packed)[0].type == "complained"


def test_a_form_is_bounded() -> None:
    """Too many form fields are malformed."""
    with pytest.raises(WebhookMalformed):
        parse_webhook("mailgun", FORM, b"a=1&" * 5000)


def test_a_right_signature_is_accepted() -> None:
    """Any of several keys will do, in time; retries come for eight hours with the first signature."""
    verify_webhook("mailgun", {}, body(), SETTINGS, NOW)
    verify_webhook("mailgun", {}, body(), {"signing_key": ("key-new", "key-old")}, NOW)
    verify_webhook("mailgun", {}, body(), {"signing_key": ("key-old", "key-new")}, NOW + 8 * 3600)


def test_the_account_may_check_its_subaccounts() -> None:
    """An event of a subaccount is accepted by the account's own key over ``parent-signature``."""
    signed = signature(key="key-sub") | {"parent-signature": signature()["signature"]}
    verify_webhook("mailgun", {}, body(signed=signed), SETTINGS, NOW)


@pytest.mark.parametrize(
    ("signed", "now", "status"),
    [
        ({}, NOW, 401),
        ("text", NOW, 401),
        (signature() | {"token": ""}, NOW, 401),
        (signature() | {"signature": ""}, NOW, 401),
        (signature() | {"signature": None}, NOW, 401),
        (signature() | {"token": "u" * 50}, NOW, 403),
        (signature() | {"timestamp": str(int(NOW) + 1)}, NOW, 403),
        (signature() | {"signature": "00" * 32}, NOW, 403),
        (signature() | {"signature": "zz"}, NOW, 403),
        (signature() | {"signature": ["00"]}, NOW, 403),
        (signature() | {"timestamp": "soon"}, NOW, 403),
        (signature(key="key-old"), NOW, 403),
        (signature(key="key-old") | {"parent-signature": "00" * 32}, NOW, 403),
        (signature(), NOW + 86400, 403),
        (signature(), NOW - 3600, 403),
    ],
)
def test_a_signature_is_refused(signed: object, now: float, status: int) -> None:
    """Missing, foreign, altered, unreadable, old, or from the future: refused."""
    with pytest.raises(WebhookRefused) as caught:
        verify_webhook("mailgun", {}, body(signed=signed), SETTINGS, now)
    assert caught.value.status == status


@pytest.mark.parametrize(("token", "taken"), [("123" + "a" * 47, 3), ("e3" + "a" * 48, 2), ("5" + "a" * 49, 1)])
def test_a_token_can_not_be_cut_into_another(token: str, taken: int) -> None:
    """The same signature doesn't do for another token, made by moving the border between time and token."""
    signed = signature(token)
    verify_webhook("mailgun", {}, body(signed=signed), SETTINGS, NOW)
    moved = signed | {"timestamp": signed["timestamp"] + token[:taken], "token": token[taken:]}
    with pytest.raises(WebhookRefused):
        verify_webhook("mailgun", {}, body(signed=moved), SETTINGS, NOW)


def test_the_token_can_be_kept() -> None:
    """The token of a request is told, so that it can be taken only once."""
    assert mailgun.token(unpack({}, body())) == "t" * 50
    assert mailgun.token(unpack(FORM, urlencode(signature()).encode())) == "t" * 50


@pytest.mark.parametrize("document", [b"[]", b"7", b"null"])
def test_a_body_of_another_shape_is_malformed(document: bytes) -> None:
    """Mailgun sends one object."""
    with pytest.raises(WebhookMalformed):
        parse_webhook("mailgun", {}, document)
    with pytest.raises(WebhookMalformed):
        verify_webhook("mailgun", {}, document, SETTINGS, NOW)

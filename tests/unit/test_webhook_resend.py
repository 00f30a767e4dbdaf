"""Resend's webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from mailer.bounces import Event, parse_webhook, verify_webhook
from mailer.bounces.errors import WebhookError, WebhookMalformed, WebhookRefused
from mailer.bounces.providers import resend
from mailer.bounces.request import Section

NOW = 1_700_000_000.0
SECRET = "whsec_" + base64.b64encode(b"the newer key").decode()
OLD = "whsec_" + base64.b64encode(b"the older key").decode()
BODY = b'{"type": "email.delivered"}'


def signature(body: bytes, secret: str, number: str, stamp: str) -> str:
    """Written from Svix's description, not with the module's code."""
    key = base64.b64decode(secret.split("_")[1])
    digest = hmac.new(key, number.encode() + b"." + stamp.encode() + b"." + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def signed(
    body: bytes = BODY, secret: str = SECRET, number: str = "msg_1", at: float = NOW, more: str = ""
) -> dict[str, str]:
    stamp = str(int(at))
    return {
        "Svix-Id": number,
        "Svix-Timestamp": stamp,
        "Svix-Signature": (more + " " + signature(body, secret, number, stamp)).strip(),
    }


def event(type: str, **data: object) -> dict[str, object]:
    """An event as the documentation shows it."""
    return {
        "type": type,
        "created_at": "2024-11-22T23:41:12.126Z",
        "data": {
            "broadcast_id": "8b146471-e88e-4322-86af-016cd36fd216",
            "created_at": "2024-11-22T23:41:11.894719+00:00",
            "email_id": "56761188-7520-42d8-8898-ff6fc54ce618",
            "from": "Letter <letter@example.com>",
            "to": ["Reader <reader@example.com>"],
            "subject": "Issue 24",
        }
        | data,
    }


def parse(raw: object, headers: dict[str, str] | None = None) -> list[Event]:
    return parse_webhook("resend", headers or {"svix-id": "msg_1"}, json.dumps(raw).encode())


@pytest.mark.parametrize(
    ("word", "type", "reason", "permanent"),
    [
        ("email.sent", "unknown", None, None),
        ("email.scheduled", "unknown", None, None),
        ("email.delivered", "delivered", None, None),
        ("email.delivery_delayed", "deferred", None, False),
        ("email.complained", "complained", "spam", None),
        ("email.suppressed", "rejected", "blocked", True),
        ("email.failed", "failed", "other", None),
        ("email.opened", "opened", None, None),
        ("email.clicked", "clicked", None, None),
        ("email.received", "unknown", None, None),
        ("suppression.added", "unknown", None, None),
        ("contact.updated", "unknown", None, None),
        ("email.invented", "unknown", None, None),
    ],
)
def test_words(word: str, type: str, reason: str | None, permanent: bool | None) -> None:
    """Each of Resend's words has its meaning, and an unknown one is ``unknown`` with the event kept."""
    raw = event(word)
    (found,) = parse(raw)
    assert (found.type, found.reason, found.permanent) == (type, reason, permanent)
    assert found.raw == raw


@pytest.mark.parametrize(
    ("kind", "subtype", "type", "reason", "permanent"),
    [
        ("Permanent", "General", "bounced", "bounced", True),
        ("Permanent", "NoEmail", "bounced", "bounced", True),
        ("Permanent", "Suppressed", "rejected", "bounced", True),
        ("Permanent", "OnAccountSuppressionList", "rejected", "bounced", True),
        ("Transient", "General", "bounced", "bounced", False),
        ("Transient", "MailboxFull", "bounced", "bounced", False),
        ("Transient", "MessageTooLarge", "bounced", "other", False),
        ("Transient", "ContentRejected", "bounced", "spam", False),
        ("Transient", "AttachmentRejected", "bounced", "other", False),
        ("Undetermined", "Undetermined", "bounced", "other", None),
        (None, None, "bounced", "other", None),
        ("Invented", "Invented", "bounced", "other", None),
    ],
)
def test_bounces(kind: str | None, subtype: str | None, type: str, reason: str, permanent: bool | None) -> None:
    """What bounced is permanent, temporary or undetermined as Resend says, and nobody knows where it doesn't say."""
    (found,) = parse(event("email.bounced", bounce={"type": kind, "subType": subtype, "message": "It bounced."}))
    assert (found.type, found.reason, found.permanent) == (type, reason, permanent)


def test_hard_bounce() -> None:
    """A bounce has recipient, status code, diagnostic, Resend's id of the mail, the event's id and its time."""
    (found,) = parse(
        event(
            "email.bounced",
            bounce={
                "type": "Permanent",
                "subType": "General",
                "message": "The recipient's mail server rejected it.",
                "diagnosticCode": ["smtp; 550 5.1.1 user unknown"],
            },
        )
    )
    assert found.recipient == "reader@example.com"
    assert found.status == "5.1.1"
    assert found.diagnostic == "smtp; 550 5.1.1 user unknown; The recipient's mail server rejected it."
    assert found.message_id == "56761188-7520-42d8-8898-ff6fc54ce618"
    assert found.event_id == "msg_1"
    assert found.timestamp == 1732318872.126


@pytest.mark.parametrize(
    "more",
    [
        {"message_id": "<24.1@letter.example.com>"},
        {"headers": [{"name": "Subject", "value": "x"}, {"name": "Message-ID", "value": "<24.1@letter.example.com>"}]},
    ],
)
def test_our_message_id(more: dict[str, object]) -> None:
    """Where Resend repeats our Message-ID, that is the message's id."""
    (found,) = parse(event("email.delivered", **more))
    assert found.message_id == "<24.1@letter.example.com>"


def test_policy_is_not_the_mailbox() -> None:
    """A bounce whose status code says policy is ``blocked``, so that nobody is suppressed for it."""
    (found,) = parse(event("email.bounced", bounce={"type": "Permanent", "diagnosticCode": "smtp; 550 5.7.1 no"}))
    assert found.reason == "blocked"


def test_several_recipients() -> None:
    """A bounce of a mail to several is told for each, and is permanent for none: Resend doesn't say whose it is."""
    found = parse(event("email.bounced", to=["a@example.com", "b@example.com"], bounce={"type": "Permanent"}))
    assert [one.recipient for one in found] == ["a@example.com", "b@example.com"]
    assert [one.permanent for one in found] == [None, None]
    assert len({one.event_id for one in found}) == 2


def test_too_many_recipients() -> None:
    """A mail to more people than Resend allows is one ``unknown`` event."""
    (found,) = parse(event("email.bounced", to=["reader@example.com"] * 101))
    assert found.type == "unknown"


def test_too_many_events() -> None:
    """Recipients count as events against the limit of a request."""
    with pytest.raises(WebhookMalformed):
        parse([event("email.bounced", to=["reader@example.com"] * 100)] * 101)


def test_several_events() -> None:
    """Several events under one svix-id have an id each."""
    first, second = parse([event("email.delivered"), event("email.complained")])
    assert first.event_id != second.event_id


@pytest.mark.parametrize("raw", [{}, {"type": None, "data": None}, {"type": "email.bounced", "data": []}])
def test_broken(raw: object) -> None:
    """An event that names neither recipient nor mail is ``unknown``."""
    (found,) = parse(raw)
    assert found.type == "unknown"


@pytest.mark.parametrize("body", [b"", b"hello", b"7", b"\xff", b"[" * 100 + b"]" * 100])
def test_malformed(body: bytes) -> None:
    """A body that is no event is refused as malformed."""
    with pytest.raises(WebhookMalformed):
        parse_webhook("resend", {}, body)


def test_svix_example() -> None:
    """The example of Svix's own documentation and libraries verifies."""
    headers = {
        "svix-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "svix-timestamp": "1614265330",
        "svix-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    settings = {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
    verify_webhook("resend", headers, b'{"test": 2432232314}', settings, 1614265330)


@pytest.mark.parametrize(
    ("headers", "settings"),
    [
        (signed(), {"secret": SECRET}),
        (signed(at=NOW - 299), {"secret": SECRET}),
        (signed(at=NOW + 299), {"secret": SECRET}),
        (signed(secret=OLD), {"secret": [SECRET, OLD]}),
        (signed(more="v1,AAAA v1a,BBBB v1,!!"), {"secret": SECRET}),
        (signed(), {"secret": SECRET.removeprefix("whsec_")}),
        ({name.replace("Svix", "Webhook"): value for name, value in signed().items()}, {"secret": SECRET}),
    ],
)
def test_accepted(headers: dict[str, str], settings: Section) -> None:
    """One right signature is enough, with any of the secrets, within five minutes on both sides."""
    verify_webhook("resend", headers, BODY, settings, NOW)


@pytest.mark.parametrize(
    ("headers", "settings", "status"),
    [
        ({}, {"secret": SECRET}, 401),
        (signed() | {"Svix-Signature": ""}, {"secret": SECRET}, 401),
        ({k: v for k, v in signed().items() if k != "Svix-Id"}, {"secret": SECRET}, 401),
        ({k: v for k, v in signed().items() if k != "Svix-Timestamp"}, {"secret": SECRET}, 401),
        (signed(secret=OLD), {"secret": SECRET}, 403),
        (signed(body=b"{}"), {"secret": SECRET}, 403),
        (signed() | {"Svix-Id": "msg_2"}, {"secret": SECRET}, 403),
        (signed() | {"Svix-Timestamp": str(int(NOW) + 1)}, {"secret": SECRET}, 403),
        (signed(at=NOW - 301), {"secret": SECRET}, 403),
        (signed(at=NOW + 301), {"secret": SECRET}, 403),
        (signed() | {"Svix-Signature": signed()["Svix-Signature"].replace("v1,", "v2,")}, {"secret": SECRET}, 403),
        (signed() | {"Svix-Signature": signed()["Svix-Signature"].removeprefix("v1,")}, {"secret": SECRET}, 403),
        (signed() | {"Svix-Signature": "v1,\udcff"}, {"secret": SECRET}, 403),
        (signed(), {}, 403),
        (signed(), {"secret": ""}, 403),
        (signed(), {"secret": "whsec_not base64"}, 403),
        (signed(), {"secret": None}, 403),
        (signed(secret="whsec_"), {"secret": "whsec_"}, 403),
        (signed(secret="whsec_"), {"secret": " "}, 403),
        (signed(secret="whsec_"), {"secret": [SECRET, "whsec_"]}, 403),
    ],
)
def test_refused(headers: dict[str, str], settings: Section, status: int) -> None:
    """Missing, wrong, old and future signatures are refused, and everything is without a secret."""
    with pytest.raises(WebhookRefused) as refused:
        verify_webhook("resend", headers, BODY, settings, NOW)
    assert refused.value.status == status


KEYS = sorted({"type", "data", "bounce", "subType", "message", "diagnosticCode", "headers", "name", "value", "to"})
WORDS = [*resend.EVENTS, *resend.BOUNCES, *resend.SUBTYPES, "email.bounced", "reader@example.com"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=15,
)


@limits(max_examples=40)
@given(st.one_of(st.binary(), JSON.map(json.dumps).map(str.encode)), st.text())
def test_any_body(body: bytes, number: str) -> None:
    """Whatever the body is, only our errors come out, and each event can be stored."""
    try:
        events = parse_webhook("resend", {"svix-id": number}, body)
    except WebhookError:
        return
    for one in events:
        json.dumps([one.type, one.recipient, one.diagnostic, one.event_id], ensure_ascii=False).encode()


@limits(max_examples=40)
@given(st.text(), st.text(), st.text())
def test_any_signature(number: str, stamp: str, signatures: str) -> None:
    """Whatever the headers are, nothing unsigned is let through, and only our errors come out."""
    headers = {"svix-id": number, "svix-timestamp": stamp, "svix-signature": "v1," + signatures}
    with pytest.raises(WebhookError):
        verify_webhook("resend", headers, BODY, {"secret": SECRET}, NOW)

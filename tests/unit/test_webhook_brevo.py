"""Brevo's webhooks."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from mailer.bounces import Event, parse_webhook, verify_webhook
from mailer.bounces.errors import WebhookError, WebhookMalformed, WebhookRefused
from mailer.bounces.providers import brevo
from mailer.bounces.request import Section

NOW = 1_700_000_000.0
TOKEN = {"token": "new-token"}
PASSWORD = {"username": "brevo", "password": "s3cret"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def event(**fields: object) -> dict[str, object]:
    """A transactional event as the documentation shows it."""
    return {
        "event": "delivered",
        "email": "reader@example.com",
        "id": 26224,
        "date": "2020-10-09 00:00:00",
        "ts": 1604933619,
        "message-id": "<201798300811.5787683@relay.example.com>",
        "ts_event": 1604933654,
        "ts_epoch": 1604933654000,
        "subject": "Issue 24",
        "tags": ["newsletter"],
    } | fields


def parse(*events: dict[str, object]) -> list[Event]:
    return parse_webhook("brevo", {}, json.dumps(events[0] if len(events) == 1 else events).encode())


@pytest.mark.parametrize(
    ("word", "type", "reason", "permanent"),
    [
        ("request", "unknown", None, None),
        ("delivered", "delivered", None, None),
        ("hard_bounce", "bounced", "bounced", True),
        ("soft_bounce", "bounced", "bounced", False),
        ("deferred", "deferred", None, False),
        ("invalid_email", "bounced", "invalid", True),
        ("blocked", "rejected", "blocked", None),
        ("error", "failed", "other", None),
        ("spam", "complained", "spam", None),
        ("complaint", "complained", "spam", None),
        ("unsubscribe", "unsubscribed", "unsubscribed", None),
        ("unsubscribed", "unsubscribed", "unsubscribed", None),
        ("opened", "opened", None, None),
        ("unique_opened", "opened", None, None),
        ("unique_proxy_open", "opened", None, None),
        ("click", "clicked", None, None),
        ("list_addition", "subscribed", None, None),
        ("contact_updated", "unknown", None, None),
        ("newly_invented", "unknown", None, None),
    ],
)
def test_words(word: str, type: str, reason: str | None, permanent: bool | None) -> None:
    """Each of Brevo's words has its meaning, and an unknown one is ``unknown`` with the event kept."""
    raw = event(event=word)
    (found,) = parse(raw)
    assert (found.type, found.reason, found.permanent) == (type, reason, permanent)
    assert found.raw == raw


def test_hard_bounce() -> None:
    """A hard bounce has recipient, status code, diagnostic, Brevo's Message-ID and the time in seconds."""
    (found,) = parse(event(event="hard_bounce", reason=" 550 5.1.1 <reader@example.com>: User unknown"))
    assert found.recipient == "reader@example.com"
    assert found.status == "5.1.1"
    assert found.diagnostic == "550 5.1.1 <reader@example.com>: User unknown"
    assert found.message_id == "<201798300811.5787683@relay.example.com>"
    assert found.timestamp == 1604933654.0


def test_policy_is_not_the_mailbox() -> None:
    """A bounce whose status code says policy is ``blocked``, so that nobody is suppressed for it."""
    (found,) = parse(event(event="soft_bounce", reason="421 4.7.0 too many messages"))
    assert (found.reason, found.permanent) == ("blocked", False)


def test_marketing_event() -> None:
    """A marketing event, which has no ``message-id`` and no ``ts_epoch``, is read as well."""
    (found,) = parse(
        {
            "id": 4711,
            "camp_id": 12,
            "email": "reader@example.com",
            "campaign name": "My First Campaign",
            "date_sent": "2020-10-09 00:00:00",
            "date_event": "2020-10-09 00:00:00",
            "event": "spam",
            "reason": "undesired",
            "tag": "",
            "ts_sent": 1604933619,
            "ts_event": 1604933737,
            "ts": 1604937337,
        }
    )
    assert (found.type, found.recipient, found.timestamp) == ("complained", "reader@example.com", 1604933737.0)


def test_batch() -> None:
    """A batch gives an event each; what is broken becomes ``unknown`` and sinks none of the others."""
    found = parse_webhook("brevo", {}, json.dumps([event(event="hard_bounce"), 7, {}, event(email=None)]).encode())
    assert [one.type for one in found] == ["bounced", "unknown", "unknown", "delivered"]
    assert len({one.event_id for one in found}) == 4


def test_several_recipients() -> None:
    """An event that names several addresses gives an event each, with an id each."""
    found = parse(event(event="contact_deleted", email=["a@example.com", "b@example.com"]))
    assert [one.recipient for one in found] == ["a@example.com", "b@example.com"]
    assert len({one.event_id for one in found}) == 2


def test_too_many_recipients() -> None:
    """An event that names very many addresses is one ``unknown`` event."""
    (found,) = parse(event(event="spam", email=["reader@example.com"] * 101))
    assert found.type == "unknown"


def test_too_many_events() -> None:
    """Recipients count as events against the limit of a request."""
    batch = [event(event="spam", email=["reader@example.com"] * 100)] * 101
    with pytest.raises(WebhookMalformed):
        parse(*batch)


def test_told_twice() -> None:
    """The same event told again has the same id, although Brevo gives it none."""
    assert parse(event()) == parse(event())


@pytest.mark.parametrize("body", [b"", b"hello", b"7", b"\xff\xfe", b"[" * 100 + b"]" * 100])
def test_malformed(body: bytes) -> None:
    """A body that is no event is refused as malformed."""
    with pytest.raises(WebhookMalformed):
        parse_webhook("brevo", {}, body)


@pytest.mark.parametrize(
    ("headers", "settings"),
    [
        ({"authorization": "Bearer new-token"}, TOKEN),
        ({"Authorization": "bearer new-token"}, TOKEN),
        ({"Authorization": "Bearer old-token"}, {"token": ["new-token", "old-token"]}),
        (basic("brevo", "s3cret"), PASSWORD),
        (basic("brevo", "older"), {"username": "brevo", "password": ("s3cret", "older")}),
        (basic("brevo", "s3cret"), TOKEN | PASSWORD),
        ({"Authorization": "Bearer new-token"}, TOKEN | PASSWORD),
    ],
)
def test_accepted(headers: dict[str, str], settings: Section) -> None:
    """Bearer token, or user name and password, old ones too while they are being replaced."""
    verify_webhook("brevo", headers, b"{}", settings, NOW)


@pytest.mark.parametrize(
    ("headers", "settings", "status"),
    [
        ({}, TOKEN, 401),
        ({}, PASSWORD, 401),
        ({"Authorization": "Bearer wrong"}, TOKEN, 401),
        ({"Authorization": "Bearer "}, TOKEN, 401),
        ({"Authorization": "Bearer"}, TOKEN | PASSWORD, 401),
        ({"Authorization": "Bearer new-token\udcff"}, TOKEN, 401),
        (basic("brevo", "wrong"), PASSWORD, 401),
        (basic("brevo", "new-token"), TOKEN, 401),
        ({"Authorization": "Basic !!!"}, PASSWORD, 401),
        ({"Authorization": "Bearer new-token"}, {}, 403),
        ({"Authorization": "Bearer "}, {"token": ""}, 403),
        (basic("", ""), {}, 403),
        (basic("", ""), {"username": "", "password": ""}, 403),
    ],
)
def test_refused(headers: dict[str, str], settings: Section, status: int) -> None:
    """Missing and wrong credentials are refused, and everything is where none are configured."""
    with pytest.raises(WebhookRefused) as refused:
        verify_webhook("brevo", headers, json.dumps(event()).encode(), settings, NOW)
    assert refused.value.status == status


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(sorted(brevo.EVENTS)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(event())), inner, max_size=5),
    max_leaves=12,
)


@limits(max_examples=40)
@given(st.one_of(st.binary(), JSON.map(json.dumps).map(str.encode)))
def test_any_body(body: bytes) -> None:
    """Whatever the body is, only our errors come out, and each event can be stored."""
    try:
        events = parse_webhook("brevo", {}, body)
    except WebhookError:
        return
    for one in events:
        json.dumps([one.type, one.recipient, one.diagnostic, one.event_id]).encode()


@limits(max_examples=40)
@given(st.text(), st.text())
def test_any_authorization(value: str, token: str) -> None:
    """Whatever the header is, only the token itself is let through."""
    try:
        verify_webhook("brevo", {"authorization": value}, b"{}", {"token": "tok" + token}, NOW)
    except WebhookError:
        return
    assert "tok" in value

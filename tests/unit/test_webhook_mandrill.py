"""Mandrill's webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from mailer.bounces import Event, parse_webhook, verify_webhook
from mailer.bounces.errors import WebhookError, WebhookMalformed, WebhookRefused
from mailer.bounces.providers import mandrill
from mailer.bounces.request import Section

NOW = 1_700_000_000.0
URL = "https://letter.example.com/webhooks/mandrill"
SETTINGS = {"key": "newer", "url": URL}
NUMBER = "fa239ebedd0a4831a3eefa59e880d8b2"


def form(*events: object, **more: str) -> bytes:
    return urlencode({"mandrill_events": json.dumps(list(events))} | more).encode()


def signature(fields: dict[str, str], key: str = "newer", url: str = URL) -> dict[str, str]:
    """Written from Mandrill's description, not with the module's code."""
    data = url
    for name in sorted(fields):
        data += name + fields[name]
    digest = hmac.new(key.encode(), data.encode(), hashlib.sha1).digest()
    return {"X-Mandrill-Signature": base64.b64encode(digest).decode()}


def event(kind: str, **msg: object) -> dict[str, object]:
    """An event as Mandrill's test button sends it."""
    return {
        "event": kind,
        "msg": {
            "ts": 1365109999,
            "subject": "Issue 24",
            "email": "reader@example.com",
            "sender": "letter@example.com",
            "tags": [],
            "state": "sent",
            "metadata": {},
            "_id": NUMBER,
        }
        | msg,
        "_id": NUMBER,
        "ts": 1420303407,
    }


def parse(*events: object) -> list[Event]:
    return parse_webhook("mandrill", {"content-type": "application/x-www-form-urlencoded"}, form(*events))


@pytest.mark.parametrize(
    ("word", "type", "reason", "permanent"),
    [
        ("send", "unknown", None, None),
        ("delivered", "delivered", None, None),
        ("deferral", "deferred", None, False),
        ("hard_bounce", "bounced", "bounced", True),
        ("soft_bounce", "bounced", "bounced", False),
        ("open", "opened", None, None),
        ("click", "clicked", None, None),
        ("spam", "complained", "spam", None),
        ("unsub", "unsubscribed", "unsubscribed", None),
        ("reject", "rejected", "other", None),
        ("inbound", "unknown", None, None),
        ("invented", "unknown", None, None),
    ],
)
def test_words(word: str, type: str, reason: str | None, permanent: bool | None) -> None:
    """Each of Mandrill's words has its meaning, and an unknown one is ``unknown`` with the event kept."""
    raw = event(word)
    (found,) = parse(raw)
    assert (found.type, found.reason, found.permanent) == (type, reason, permanent)
    assert (found.recipient, found.raw) == ("reader@example.com", raw)


@pytest.mark.parametrize(
    ("why", "reason", "permanent"),
    [
        ("hard-bounce", "bounced", True),
        ("soft-bounce", "bounced", False),
        ("spam", "spam", True),
        ("unsub", "unsubscribed", True),
        ("custom", "blocked", True),
        ("invalid", "invalid", True),
        ("rule", "blocked", False),
        ("invalid-sender", "other", False),
        ("unsigned", "other", False),
        ("test-mode-limit", "other", False),
        ("invented", "other", None),
    ],
)
@pytest.mark.parametrize("wrapped", [True, False])
def test_rejections(why: str, reason: str, permanent: bool | None, wrapped: bool) -> None:
    """What Mandrill didn't try is ``rejected``, permanently only where its own list stands for the recipient."""
    (found,) = parse(event("reject", reject={"reason": why} if wrapped else why))
    assert (found.type, found.reason, found.permanent) == ("rejected", reason, permanent)
    assert found.diagnostic == why


def test_hard_bounce() -> None:
    """A hard bounce has status code, diagnostic, Mandrill's id of the mail and the time."""
    diag = "smtp;550 5.1.1 The email account that you tried to reach does not exist."
    (found,) = parse(event("hard_bounce", state="bounced", bounce_description="bad_mailbox", diag=diag))
    assert (found.status, found.diagnostic) == ("5.1.1", f"{diag}; bad_mailbox")
    assert (found.message_id, found.timestamp) == (NUMBER, 1420303407.0)


def test_full_mailbox() -> None:
    """A soft bounce of a full mailbox keeps its 5.2.2 and is temporary all the same, as Mandrill says."""
    (found,) = parse(event("soft_bounce", bounce_description="mailbox_full", diag="smtp;552 5.2.2 Over Quota"))
    assert (found.status, found.permanent) == ("5.2.2", False)


def test_deferral() -> None:
    """A deferral says what the receiving server said last."""
    attempts = [{"diag": "421 4.7.0 wait"}, {"diag": "451 4.3.5 Temporarily unavailable", "type": "deferred"}]
    (found,) = parse(event("deferral", smtp_events=attempts))
    assert (found.status, found.diagnostic) == ("4.3.5", "451 4.3.5 Temporarily unavailable")


def test_change_of_a_list() -> None:
    """A change of Mandrill's own denylist names its address and changes nothing."""
    reject = {"reason": "hard-bounce", "detail": "Example detail", "email": "reader@example.com"}
    (found,) = parse({"type": "blacklist", "action": "add", "reject": reject, "ts": 1420303407})
    assert (found.type, found.recipient) == ("unknown", "reader@example.com")


def test_batch() -> None:
    """A batch gives an event each, with an id each; what is broken becomes ``unknown`` and sinks none of the others."""
    found = parse(event("hard_bounce"), 7, {"msg": []}, event("open"), event("hard_bounce", email=None))
    assert [one.type for one in found] == ["bounced", "unknown", "unknown", "opened", "bounced"]
    assert len({one.event_id for one in found[:4]}) == 4


def test_told_twice() -> None:
    """The same event in another batch has the same id; another event of the same mail has another."""
    assert parse(event("open"))[0].event_id == parse(event("open"), event("click"))[0].event_id
    assert parse(event("open"))[0].event_id != parse(event("hard_bounce"))[0].event_id
    assert parse(event("open"))[0].event_id != parse(event("open") | {"ts": 1420303500})[0].event_id


def test_beyond_ascii() -> None:
    """Form fields are read and signed as UTF-8."""
    body = form(event("hard_bounce", email="größe@example.com"), x="é +&")
    fields = {"mandrill_events": json.dumps([event("hard_bounce", email="größe@example.com")]), "x": "é +&"}
    verify_webhook("mandrill", signature(fields), body, SETTINGS, NOW)
    assert parse_webhook("mandrill", {}, body)[0].recipient == "größe@example.com"


def test_probe() -> None:
    """The empty batch that Mandrill sends before there is a key has no event, and needs none."""
    assert parse_webhook("mandrill", {}, form()) == []
    verify_webhook("mandrill", {}, form(), {}, NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"other=1",
        b"mandrill_events=hello",
        b"mandrill_events=7",
        b"mandrill_events=[%22%ff%22]",
        b"mandrill_events=\xff",
        b"&".join(b"a=1" for _ in range(100)),
        b"mandrill_events=" + b"[" * 100 + b"]" * 100,
    ],
)
def test_malformed(body: bytes) -> None:
    """A body that is no form with a batch of events is refused as malformed."""
    with pytest.raises(WebhookMalformed):
        parse_webhook("mandrill", {}, body)


FIELDS = {"mandrill_events": json.dumps([event("hard_bounce")])}
BODY = form(event("hard_bounce"))


@pytest.mark.parametrize(
    ("headers", "settings"),
    [
        (signature(FIELDS), SETTINGS),
        (signature(FIELDS, "older"), {"key": ["newer", "older"], "url": URL}),
        (signature(FIELDS, url=URL + "?a=1"), {"key": "newer", "url": (URL, URL + "?a=1")}),
        (signature(FIELDS), {"key": "newer"}),
    ],
)
def test_accepted(headers: dict[str, str], settings: Section) -> None:
    """A form signed with any of the keys and URLs is let through; without ``url`` it is the one that was called."""
    verify_webhook("mandrill", headers, BODY, settings, NOW, url=URL)


def test_several_fields() -> None:
    """All fields are signed, in the order of their names."""
    fields = {"zeta": "1", "alpha": "", **FIELDS}
    verify_webhook("mandrill", signature(fields), urlencode(fields).encode(), SETTINGS, NOW)


@pytest.mark.parametrize(
    ("headers", "body", "settings", "status"),
    [
        ({}, BODY, SETTINGS, 401),
        (signature(FIELDS, "older"), BODY, SETTINGS, 403),
        (signature(FIELDS, url=URL + "/"), BODY, SETTINGS, 403),
        (signature(FIELDS), form(event("spam")), SETTINGS, 403),
        (signature(FIELDS), BODY + b"&more=1", SETTINGS, 403),
        (signature({"mandrill_events": "[]"}, "test-webhook"), BODY, SETTINGS, 403),
        ({"X-Mandrill-Signature": "no base64!"}, BODY, SETTINGS, 403),
        ({"X-Mandrill-Signature": "\udcff"}, BODY, SETTINGS, 403),
        ({}, form() + b"&more=1", SETTINGS, 401),
        (signature(FIELDS), BODY, {"url": URL}, 403),
        (signature(FIELDS, ""), BODY, {"key": "", "url": URL}, 403),
        (signature(FIELDS, url=""), BODY, {"key": "newer"}, 403),
    ],
)
def test_refused(headers: dict[str, str], body: bytes, settings: Section, status: int) -> None:
    """Missing and wrong signatures are refused, and every batch with events is without a key or without a URL."""
    with pytest.raises(WebhookRefused) as refused:
        verify_webhook("mandrill", headers, body, settings, NOW)
    assert refused.value.status == status


KEYS = ["event", "type", "msg", "email", "reject", "reason", "smtp_events", "diag", "_id", "ts"]
WORDS = [*mandrill.EVENTS, *mandrill.REJECTIONS, "reader@example.com"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=15,
)
BODIES = st.one_of(
    st.binary(),
    st.binary().map(b"mandrill_events=".__add__),
    JSON.map(lambda one: urlencode({"mandrill_events": json.dumps(one)}).encode()),
)


@limits(max_examples=40)
@given(st.dictionaries(st.text(), st.text(), max_size=5))
def test_any_fields(fields: dict[str, str]) -> None:
    """Whatever a form's fields are, the signature of its fields verifies."""
    fields = {"mandrill_events": "[{}]"} | fields
    verify_webhook("mandrill", signature(fields), urlencode(fields).encode(), SETTINGS, NOW)


@limits(max_examples=40)
@given(BODIES)
def test_any_body(body: bytes) -> None:
    """Whatever the body is, only our errors come out, and each event can be stored."""
    try:
        events = parse_webhook("mandrill", {}, body)
    except WebhookError:
        return
    for one in events:
        json.dumps([one.type, one.recipient, one.diagnostic, one.event_id], ensure_ascii=False).encode()


@limits(max_examples=40)
@given(st.text(), BODIES)
def test_any_signature(given_signature: str, body: bytes) -> None:
    """Whatever header and body are, nothing unsigned that has events is let through, and only our errors come out."""
    try:
        verify_webhook("mandrill", {"x-mandrill-signature": given_signature}, body, SETTINGS, NOW)
    except WebhookError:
        return
    assert parse_webhook("mandrill", {}, body) == []

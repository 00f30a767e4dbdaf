"""The door: names of providers, headers, what packs a body, its bounds."""

from __future__ import annotations

import base64
import gzip
import json
import tracemalloc
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from mailer.bounces import Event, parse_webhook, verify_webhook
from mailer.bounces.errors import UnknownProvider, WebhookMalformed, WebhookRefused, WebhookTooLarge
from mailer.bounces.reading import MAX_DEPTH, MAX_EVENTS
from mailer.bounces.request import MAX_BODY
from mailer.errors import MailerError

ONE = b'{"RecordType": "Delivery", "Recipient": "ann@example.com"}'
NAMES = "ses sendgrid mailgun postmark mailjet sparkpost brevo resend mailersend mandrill mailtrap postal generic"
ALL = NAMES.split()


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize("provider", ALL)
def test_every_provider_is_known(provider: str) -> None:
    """Each provider of the contract has a module: what isn't its own is malformed or empty, not unknown."""
    with pytest.raises(WebhookMalformed):
        parse_webhook(provider, {"Content-Type": "application/json"}, b"\xff")


@pytest.mark.parametrize("provider", ALL)
def test_nothing_is_accepted_without_a_configured_secret(provider: str) -> None:
    """A section without its secrets refuses everything."""
    with pytest.raises(WebhookRefused):
        verify_webhook(provider, {}, b"{}", {}, 0.0)


def test_a_misspelt_provider_is_named_with_the_nearest() -> None:
    """An unknown provider is our error, answered with 404, and says which was meant."""
    with pytest.raises(UnknownProvider, match="sendgrid") as caught:
        parse_webhook("sendgird", {}, b"[]")
    assert caught.value.status == 404
    assert isinstance(caught.value, MailerError)


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_header_names_may_be_in_any_case(name: str) -> None:
    """A header is found however its name is written."""
    value = basic("u", "p")["Authorization"]
    verify_webhook("postmark", {name: value}, ONE, {"username": "u", "password": "p"}, 0.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"username": "u", "password": "p"},
        {"username": SecretStr("u"), "password": SecretStr("p")},
        {"username": ("u",), "password": ("old", "p")},
        {"username": ["u"], "password": (SecretStr("new"), SecretStr("p"))},
        {"username": ("u", "v"), "password": ("p", "old")},
    ],
)
def test_settings_may_be_plain_secret_or_several(settings: dict[str, str]) -> None:
    """A value of the configuration is a string, a SecretStr, or several of them while one is replaced."""
    verify_webhook("postmark", basic("u", "p"), ONE, settings, 0.0)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": ""}, 401),
        (basic("u", "wrong"), 401),
        (basic("wrong", "p"), 401),
        (basic("u", ""), 401),
        ({"Authorization": "Bearer dTpw"}, 401),
        ({"Authorization": "Basic !!!"}, 401),
        ({"Authorization": "Basic dTpw\u00e9"}, 401),
        ({"Authorization": "Basic"}, 401),
    ],
)
@pytest.mark.parametrize("provider", ["postmark", "mailjet", "sparkpost"])
def test_basic_authentication_refuses(provider: str, headers: dict[str, str], status: int) -> None:
    """A missing, wrong or unreadable password is refused with 401."""
    with pytest.raises(WebhookRefused) as caught:
        verify_webhook(provider, headers, ONE, {"username": "u", "password": "p"}, 0.0)
    assert caught.value.status == status


@pytest.mark.parametrize("settings", [{}, {"username": "u"}, {"password": "p"}, {"username": "u", "password": ""}])
@pytest.mark.parametrize("provider", ["postmark", "mailjet", "sparkpost"])
def test_an_empty_password_opens_nothing(provider: str, settings: dict[str, str]) -> None:
    """Without user name and password in the configuration, even an empty password is refused."""
    with pytest.raises(WebhookRefused, match=f"webhooks.{provider}"):
        verify_webhook(provider, basic("u", ""), ONE, settings, 0.0)


def test_now_may_be_a_datetime() -> None:
    """The clock may be Unix seconds or a datetime with a zone."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    verify_webhook("postmark", basic("u", "p"), ONE, {"username": "u", "password": "p"}, moment)


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip"])
def test_a_gzip_body_is_unpacked(coding: str) -> None:
    """Content-Encoding gzip is undone before parsing."""
    [event] = parse_webhook("postmark", {"content-encoding": coding}, gzip.compress(ONE))
    assert event.recipient == "ann@example.com"


def test_text_is_taken_for_utf8() -> None:
    """A body may be given as text."""
    [event] = parse_webhook("postmark", {}, '{"RecordType": "Open", "Recipient": "jürgen@example.com"}')
    assert event.recipient == "jürgen@example.com"


def test_a_byte_order_mark_is_skipped() -> None:
    """A UTF-8 byte order mark before the JSON does no harm."""
    assert len(parse_webhook("postmark", {}, b"\xef\xbb\xbf" + ONE)) == 1


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"[" + b" " * 10_000_000 + b"]"),
        ({"Content-Encoding": "gzip"}, gzip.compress(b" " * (MAX_BODY + 1))),
        ({"Content-Encoding": "gzip"}, gzip.compress(b"0" * 50_000_000, 1)),
    ],
    ids=["10 MB", "just too large after gunzip", "gzip bomb"],
)
@pytest.mark.parametrize("provider", ["ses", "postmark"])
def test_large_bodies_are_refused(provider: str, headers: dict[str, str], body: bytes) -> None:
    """A body that is too large as sent, or becomes so when unpacked, is answered with 413 by both functions."""
    with pytest.raises(WebhookTooLarge) as caught:
        parse_webhook(provider, headers, body)
    assert caught.value.status == 413
    with pytest.raises(WebhookTooLarge):
        verify_webhook(provider, headers, body, {"topic_arn": "a", "username": "u", "password": "p"}, 0.0)


def test_a_gzip_bomb_is_not_unpacked_further_than_the_bound() -> None:
    """Memory for an unpacked body is bounded, however much is packed into it."""
    bomb = gzip.compress(b"0" * 50_000_000, 1)
    tracemalloc.start()
    try:
        with pytest.raises(WebhookTooLarge):
            parse_webhook("postmark", {"Content-Encoding": "gzip"}, bomb)
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_BODY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({}, b"not JSON"),
        ({}, b"[1,"),
        ({}, b'"text"'),
        ({}, b"17"),
        ({}, b"null"),
        ({}, '{"RecordType": "Öffnung"}'.encode("latin-1")),
        ({}, '{"RecordType": "Open"}'.encode("utf-16")),
        ({}, b'{"a": NaN}'),
        ({}, b'{"a": -Infinity}'),
        ({}, b'{"a": 1e999}'),
        ({}, b'{"a": ' + b"9" * 5000 + b"}"),
        ({}, b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)),
        ({}, b"[" * 1_000_000),
        ({}, b'{"a":' * 500_000),
        ({}, b'{"a": "' + b"\\" * 1_000_001),
        ({}, json.dumps([{}] * (MAX_EVENTS + 1)).encode()),
        ({"Content-Encoding": "gzip"}, ONE),
        ({"Content-Encoding": "gzip"}, b""),
        ({"Content-Encoding": "gzip"}, gzip.compress(ONE, mtime=0)[:-4]),
        ({"Content-Encoding": "gzip"}, gzip.compress(ONE, mtime=0) * 2),
        ({"Content-Encoding": "br"}, ONE),
    ],
    ids=str,
)
def test_malformed_bodies_are_named_so(headers: dict[str, str], body: bytes) -> None:
    """No JSON, the wrong charset, NaN, huge numbers, deep nesting, too many events, bad gzip: answered with 400."""
    with pytest.raises(WebhookMalformed) as caught:
        parse_webhook("postmark", headers, body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "inner", ['"[[[["', '"\\"[[[["', '"\\\\\\"[{"', '"\\\\", "[[["'], ids=["plain", "quote", "backslashes", "two"]
)
def test_brackets_in_strings_are_no_nesting(inner: str) -> None:
    """What stands between quotes doesn't count as depth, however it is escaped."""
    many = ", ".join([inner] * 40)
    assert len(parse_webhook("postmark", {}, f'{{"RecordType": "Open", "x": [{many}]}}'.encode())) == 1


def test_deep_but_bounded_nesting_is_read() -> None:
    """Nesting up to the bound is no error."""
    deep = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert parse_webhook("postmark", {}, f'{{"x": {deep}}}'.encode())[0].type == "unknown"


@pytest.mark.parametrize("provider", ["sendgrid", "mailjet", "postmark", "sparkpost"])
def test_a_broken_event_does_not_sink_the_others(provider: str) -> None:
    """What isn't an event within a batch is an unknown event that keeps its text; the others are read."""
    good = {
        "sendgrid": {"event": "delivered", "email": "ann@example.com"},
        "mailjet": {"event": "sent", "email": "ann@example.com"},
        "postmark": {"RecordType": "Delivery", "Recipient": "ann@example.com"},
        "sparkpost": {"msys": {"message_event": {"type": "delivery", "rcpt_to": "ann@example.com"}}},
    }[provider]
    batch = [None, good, 7, "text", ["list"], {}, good | {"event_id": "x"}]
    events = parse_webhook(provider, {}, json.dumps(batch).encode())
    assert [event.type for event in events] == [
        "unknown", "delivered", "unknown", "unknown", "unknown", "unknown", "delivered",
    ]  # fmt: skip
    assert [event.raw for event in events[:4]] == ["null", good, "7", '"text"']
    assert len({event.event_id for event in events}) == 7


def test_an_event_is_a_plain_value() -> None:
    """Events compare by value with plain strings, can be kept in sets, and can't be changed."""
    event = Event(type="bounced", recipient="ann@example.com", reason="invalid", raw={"a": 1})  # type: ignore[arg-type]
    [read] = parse_webhook("postmark", {}, b'{"RecordType": "Delivery", "Recipient": "ann@example.com"}')
    assert read.type == "delivered"
    assert len({event, event, read}) == 2
    with pytest.raises(AttributeError):
        read.type = "bounced"  # type: ignore[misc,assignment]

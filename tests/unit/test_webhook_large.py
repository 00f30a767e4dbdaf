"""Large bodies that are worst for a reader: each is read in time, which a quadratic reader would never be."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from mailer.bounces import parse_webhook, verify_webhook
from mailer.bounces.errors import WebhookError
from mailer.bounces.webhook import parse_kept
from tests.servers.senders import PROVIDERS, said, sections

SIZE = 500_000
NOW = 1_700_000_000.0
LONG = {
    "one string": b'"' + b"a" * SIZE + b'"',
    "escapes": b'"' + rb"\u0041" * (SIZE // 6) + b'"',
    "backslashes": b'"' + rb"\\" * (SIZE // 2) + b'"',
    "open quotes": b'"' * SIZE,
    "open brackets": b"[" * SIZE,
    "brackets in strings": b'"' + b"[{" * (SIZE // 2) + b'"',
    "flat arrays": b"[" + b"[]," * (SIZE // 3) + b"[]]",
    "many keys": b"{" + b",".join(b'"%d":1' % n for n in range(SIZE // 10)) + b"}",
    "one digit string": b"9" * SIZE,
    "ampersands": b"&" * SIZE,
    "percent signs": b"%" * SIZE,
    "percent codes": b"a=" + b"%41" * (SIZE // 3),
    "lines": b"{}\n" * (SIZE // 3),
    "boundaries": b"--x\r\n" * (SIZE // 5),
}
WORST = ("5.1.1 " * 200_000, "<" * SIZE, "@" * SIZE, "a@" * (SIZE // 2), " " * SIZE, "5." * (SIZE // 2), "\x00" * SIZE)
"""Values, for whatever looks for something in them."""


def read(provider: str, body: bytes, content_type: str = "application/json") -> None:
    """Verifies and reads it; only our own errors may come of that."""
    headers = {"Content-Type": content_type}
    for call in (
        lambda: verify_webhook(provider, headers, body, sections()[provider], NOW),
        lambda: parse_webhook(provider, headers, body),
    ):
        try:
            call()
        except WebhookError as error:
            refused = error.status
            assert refused in (400, 401, 403, 413, 503)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_shapes(provider: str) -> None:
    """Half a megabyte of any shape is read or refused, as JSON and, where forms are known, as a form."""
    for body in LONG.values():
        read(provider, body)
        if provider in ("mandrill", "mailgun"):
            read(provider, b"mandrill_events=" + body, "application/x-www-form-urlencoded")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_values(provider: str) -> None:
    """50 KB behind each of an event's texts are read."""
    for value in WORST:
        event = json.loads(said(provider, "a@example.com"))
        everywhere = json.dumps(_filled(event, value[: SIZE // 10])).encode()
        read(provider, urlencode({"mandrill_events": everywhere}).encode() if provider == "mandrill" else everywhere)
        parse_kept(provider, everywhere.decode())


def _filled(event: object, value: str) -> object:
    """The event with ``value`` behind each of its texts but those that say what kind it is."""
    if isinstance(event, dict):
        return {key: item if key in ("event", "type") else _filled(item, value) for key, item in event.items()}
    if isinstance(event, list):
        return [_filled(item, value) for item in event]
    return event + value if isinstance(event, str) else event

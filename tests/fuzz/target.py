"""One fuzzed reader, in a process of its own: ``python -m tests.fuzz.target NAME FOLDER [libFuzzer's options]``.

``NAME`` is a provider, or ``mail``. Whatever comes in, there may be events or one of our own errors: any other
exception, an event that promises are broken for, or an input that takes ten seconds ends the process with a report.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["mailer.bounces"]):
    from mailer.bounces import Event, parse_message, parse_webhook, verify_webhook
    from mailer.bounces.errors import WebhookError
    from mailer.bounces.webhook import parse_kept

from tests.servers.senders import CERTIFICATE_URL, Told, certificate, sections

NOW = 1_700_000_000.0
TYPES = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "")
MAIL_FOLDED = 32


def check(event: Event) -> None:
    """What ``Event`` promises, and what a database takes."""
    assert event.permanent in (True, False, None)
    assert event.event_id
    texts = (event.recipient, event.status, event.diagnostic, event.message_id, event.event_id)
    assert b"\0" not in "\n".join(texts).encode()
    assert len(event.diagnostic) <= 4000
    json.dumps(event.raw)


def webhook(provider: str) -> Callable[[bytes], None]:
    """Reads and verifies a body as the provider's; the first bytes choose its headers."""
    section, certificates = sections()[provider], {CERTIFICATE_URL: certificate()}

    def one(data: bytes) -> None:
        choice, body = (data[0], data[1:]) if data else (0, b"")
        told = Told(body, {"Content-Type": TYPES[choice % 4], **({"Content-Encoding": "gzip"} if choice > 250 else {})})
        if choice & 64:
            proof, _, body = body.partition(b"\n")
            name = ("Authorization", "Signature", "Mailer-Signature", "Svix-Signature")[choice // 4 % 4]
            more = {name: proof.decode("latin-1"), "Svix-Id": "m", "Svix-Timestamp": "1700000000"}
            told = Told(body, {**told.headers, **more})
        for call in (
            lambda: verify_webhook(provider, told.headers, told.body, section, NOW, certificates=certificates),
            lambda: [check(event) for event in parse_webhook(provider, told.headers, told.body)],
        ):
            with contextlib.suppress(WebhookError):
                call()
        [check(event) for event in parse_kept(provider, body.decode(errors="replace"))]

    return one


def mail(data: bytes) -> None:
    """Reads a bounce mail."""
    for event in parse_message(data):
        check(event)
        assert len(event.event_id) == MAIL_FOLDED
        assert "\n" not in event.diagnostic


if __name__ == "__main__":
    target = sys.argv.pop(1)
    atheris.Setup(sys.argv, mail if target == "mail" else webhook(target))
    atheris.Fuzz()

"""One recipient's message, made just as a worker makes it, for people to look at before anything is sent."""

from __future__ import annotations

import time
from email import message_from_bytes, policy

from mailer.config import Loaded
from mailer.config.facts import send_facts
from mailer.model.compiled import CompiledIssue
from mailer.model.ledger import Recipient, Send, SendId, SendKind, SendState
from mailer.model.people import Subscriber
from mailer.service.ports import Store
from mailer.service.sending import find_persona
from mailer.wire.freeze import freeze

STRANGER = Subscriber(0, "subscriber@example.com")
"""Whom a message is made for when nobody is named: someone of whom only the address is known."""


def sample_message(loaded: Loaded, store: Store, compiled: CompiledIssue, persona: str = "") -> bytes:
    """The message as bytes, for the subscriber of that address. Raises ``SendError`` when there is none."""
    return message_for(loaded, compiled, find_persona(store, persona) if persona else STRANGER)


def message_for(loaded: Loaded, compiled: CompiledIssue, subscriber: Subscriber) -> bytes:
    """The message for a subscriber, of a send that doesn't exist: its links lead nowhere."""
    now = time.time()
    send = Send(
        SendId(f"{compiled.slug}-0"), 0, compiled.slug, SendKind.ISSUE, SendState.RUNNING, "", 1, now, None, now, None
    )
    recipient = Recipient(send.id, 0, 1, subscriber.email, 0, None, subscriber)
    return freeze(compiled, send_facts(loaded, send)).assemble(recipient).message


def headers_of(raw: bytes) -> tuple[str, str]:
    """``From`` and ``Subject`` of a message, as people read them."""
    parsed = message_from_bytes(raw, policy=policy.default)
    return str(parsed["From"]), str(parsed["Subject"])

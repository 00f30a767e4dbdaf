"""A mail taken apart once, for all who look for evidence in it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from mailer.bounces.mail import delivery_report, feedback_report, returned
from mailer.bounces.mail.addresses import header_addresses
from mailer.bounces.mail.mime import Fields, Part, every, first, read_mail
from mailer.bounces.mail.plain_bounce import Prose, text_of_html

MAX_RAW = 64 * 1024
"""Characters of the mail that an event keeps."""

SENT_TO = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-rcpt-to", "apparently-to", "to", "cc")
"""Where a mail's own envelope recipient may stand, surest first: what local delivery adds before what was written."""

_SENT_FROM = ("from", "sender", "reply-to", "return-path")


@dataclass(frozen=True, slots=True)
class Opened:
    """``leaves``: the parts that hold something; ``prose``: what it says for people; ``original``: the returned
    message's header; ``returned_to``: whom it says the message went to; ``raw``: the mail as text, cut at ``MAX_RAW``;
    ``digest``: SHA-256 of all of it."""

    top: Part
    leaves: tuple[Part, ...]
    prose: Prose
    original: Fields
    returned_to: tuple[str, ...]
    raw: str
    digest: bytes


def open_mail(raw: bytes) -> Opened:
    """Takes a mail apart. Pure, total, linear."""
    top = read_mail(raw)
    leaves = tuple(top.leaves())
    said, remainder = _said(leaves)
    original = returned.returned_fields(list(leaves), remainder)
    senders = [address for name in _SENT_FROM for value in every(original, name) for address in header_addresses(value)]
    mine = [
        address
        for name in ("to", "delivered-to", *_SENT_FROM)
        for value in every(top.fields, name)
        for address in header_addresses(value)
    ]
    returned_to = feedback_report.returned_recipients(original) or tuple(
        dict.fromkeys(address for value in every(original, "to") for address in header_addresses(value))
    )
    returned_to = tuple(address for address in returned_to if not _is_list(address, mine))
    domain = next(iter(header_addresses(first(top.fields, "from"))), "").rpartition("@")[2].lower()
    prose = Prose(
        said,
        mine=frozenset(address.casefold() for address in (*mine, *senders)),
        returned_to=frozenset(address.casefold() for address in returned_to),
        domain=domain,
    )
    kept = raw[:MAX_RAW].decode("utf-8", "replace")
    return Opened(top, leaves, prose, original, returned_to, kept, hashlib.sha256(raw).digest())


def _is_list(address: str, mine: list[str]) -> bool:
    """Whether an address is a mailing list's, by whom the report went to (``list-bounces@``): no recipient."""
    local, _, domain = address.casefold().rpartition("@")
    beside = {f"{local}-{role}@{domain}" for role in ("bounces", "admin", "owner", "errors")}
    return not beside.isdisjoint(own.casefold() for own in mine)


def _said(leaves: tuple[Part, ...]) -> tuple[str, str]:
    """What the report says for people, and what it returns after that in the same text."""
    before = []
    for part in leaves:
        if part.kind in returned.KINDS or delivery_report.is_report(part):
            break
        before.append(part)
    plain = [part.text for part in before if part.kind.startswith("text/") and part.kind != "text/html"]
    if not any(text.strip() for text in plain):
        plain = [text_of_html(part.text) for part in before if part.kind == "text/html"]
    return returned.cut("\n".join(plain))

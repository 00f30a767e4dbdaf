"""Complaints: the Abuse Reporting Format (RFC 5965), and what Hotmail and others send instead."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailer.bounces.mail.addresses import find_addresses, header_addresses
from mailer.bounces.mail.mime import Fields, Part, every, first, read_fields

KIND = "message/feedback-report"

# What a report says happened (RFC 5965 §7.3, RFC 6430, RFC 6591): those that aren't a person's complaint.
NO_COMPLAINT = frozenset({"not-spam", "auth-failure", "auth-failure-report", "dmarc"})

# Where the returned message's header names the recipient, best first. Hotmail (JMRP) adds the first; the others are the
# receiving server's own, which no provider edits out.
RETURNED_RECIPIENT = (
    "x-hmxmroriginalrecipient",
    "x-original-recipient",
    "original-recipient",
    "x-original-to",
    "delivered-to",
    "x-envelope-to",
    "envelope-to",
    "x-rcpt-to",
    "x-apparently-to",
    "to",
)

# Addresses that stand where a provider has taken the recipient out.
_REDACTED = re.compile(r"redact|undisclosed|^(?:x{3,}|hidden|anonymous|unknown)@", re.IGNORECASE)

# Where no field names the recipient: "Received: from … by … for <reader@example.com>; …" (RFC 5321 §4.4).
_RECEIVED_FOR = re.compile(r"\bfor\s{1,4}<?([^\s<>;@]{1,128}@[\w.-]{1,255})>?")

# Subjects of complaints that come without a feedback report, from a provider's own sender.
SUBJECTS: tuple[re.Pattern[str], ...] = (
    re.compile(r"complaint about message from [\d.:a-f]+", re.IGNORECASE),  # Hotmail, Outlook.com: JMRP
    re.compile(r"email (?:abuse|feedback) report", re.IGNORECASE),  # AOL and its imitators
    re.compile(r"abuse report for (?:ip|an e?-?mail)", re.IGNORECASE),
)


@dataclass(frozen=True, slots=True)
class Complaint:
    """``kind`` is the Feedback-Type, lower case. ``recipients`` is empty where the provider took them out.
    ``mail_from``: the envelope sender of the message complained of, as the report writes it; empty where it doesn't."""

    kind: str
    recipients: tuple[str, ...]
    arrived: str = ""
    mail_from: str = ""


def read_feedback(part: Part, returned: Fields) -> Complaint:
    """The complaint in a ``message/feedback-report`` part; ``returned`` is the header of the message complained of."""
    fields = (*part.fields, *_all_fields(part.text))
    kind = first(fields, "feedback-type").strip().lower() or "abuse"
    named = [address for name in ("original-rcpt-to", "removal-recipient") for address in _named(fields, name)]
    arrived = first(fields, "arrival-date") or first(fields, "received-date")
    recipients = tuple(dict.fromkeys(named)) or returned_recipients(returned)
    return Complaint(kind, recipients, arrived, first(fields, "original-mail-from"))


def returned_recipients(returned: Fields) -> tuple[str, ...]:
    """Whom the returned message went to, as its header tells; empty if that names several, or nobody."""
    for name in RETURNED_RECIPIENT:
        found = list(dict.fromkeys(_named(returned, name)))
        if len(found) == 1 or (found and name == "x-hmxmroriginalrecipient"):
            return tuple(found[:1])
    received = {address for value in every(returned, "received") for address in _RECEIVED_FOR.findall(value[:2000])}
    if len(received) == 1 and not _REDACTED.search(next(iter(received))):
        return tuple(received)
    return ()


def _named(fields: Fields, name: str) -> list[str]:
    found = [address for value in every(fields, name) for address in (header_addresses(value) or find_addresses(value))]
    return [address for address in found if not _REDACTED.search(address)]


def _all_fields(text: str) -> Fields:
    """Fields of all groups: some reports have blank lines between them."""
    return tuple(field for group in text.split("\n\n")[:20] for field in read_fields(group))

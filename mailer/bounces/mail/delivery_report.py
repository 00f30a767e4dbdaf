"""Delivery reports: RFC 3464, RFC 6533, and what mailers make of them.

A report is groups of fields, one group for the message and one for each recipient. Real ones have no blank line between
the groups, or one within a group, ``Field :`` with a blank, folded fields, and an action of their own words.
"""

from __future__ import annotations

import re

from mailer.bounces.mail.addresses import field_address
from mailer.bounces.mail.mime import Part
from mailer.bounces.mail.outcome import Action, Outcome
from mailer.bounces.mail.status import best_status

KINDS = re.compile(r"(?:message|application|text)/[\w.+-]*delivery-(?:status|report)")

MAX_RECIPIENTS = 1000

_FIELD = re.compile(r"[ \t]?([A-Za-z][A-Za-z0-9-]{1,60})[ \t]*:[ \t]*(.*)")
_STATUS = re.compile(r"([245])\s*\.\s*(\d{1,3})\s*\.\s*(\d{1,3})")
_TYPED = re.compile(r"\s*[\w-]{1,30}\s*;\s*")
_RECIPIENT_FIELDS = ("original-recipient", "final-recipient")
# A second one of these begins the next recipient; other fields are repeated within a group.
_ONCE = frozenset({*_RECIPIENT_FIELDS, "action"})
_PER_MESSAGE = frozenset({"reporting-mta", "arrival-date", "original-envelope-id", "dsn-gateway", "received-from-mta"})

# How an action begins: RFC 3464 §2.3.3, then what mailers write instead.
ACTIONS: tuple[tuple[str, Action], ...] = (
    ("fail", Action.FAILED),
    ("delay", Action.DELAYED),
    ("deliver", Action.DELIVERED),
    ("relay", Action.RELAYED),
    ("expand", Action.EXPANDED),
    ("defer", Action.DELAYED),
    ("transient", Action.DELAYED),
    ("permanent", Action.FAILED),
    ("undeliver", Action.FAILED),
    ("reject", Action.FAILED),
    ("expire", Action.FAILED),
)

_BY_CLASS = {"2": Action.DELIVERED}


def is_report(part: Part) -> bool:
    """Whether a part is a delivery report by its type."""
    return bool(KINDS.fullmatch(part.kind))


def looks_like_report(text: str) -> bool:
    """Whether a text has a report's fields at the beginning of its lines."""
    found = {
        match[1].lower() for match in re.finditer(r"(?m)^[ \t]?(Final-Recipient|Action|Status)[ \t]*:", text, re.I)
    }
    return "final-recipient" in found and len(found) > 1


def read_report(part: Part) -> list[Outcome]:
    """An outcome for each recipient; ``recipient`` is empty where the report names a pipe, a path or a user's name."""
    # Without a blank line after the part's header, the report's fields are taken for the header's.
    stray = "".join(f"{name}: {value}\n" for name, value in part.fields if not name.startswith("content-"))
    return read_report_text(stray + part.text)


def read_report_text(text: str) -> list[Outcome]:
    """The same of a report in a text of another type."""
    return [_outcome(group) for group in _groups(text)][:MAX_RECIPIENTS]


def _groups(text: str) -> list[dict[str, str]]:
    groups: list[dict[str, str]] = [{}]
    last = ""
    for line in text.split("\n"):
        group = groups[-1]
        named = any(field in group for field in _RECIPIENT_FIELDS)
        if not line.strip():
            if named and ("action" in group or "status" in group):
                groups.append({})
            last = ""
            continue
        field = _FIELD.match(line)
        if field and (line[0] not in " \t" or field[1].lower() in _ONCE):
            last = field[1].lower()
            if last in _ONCE and last in group and (named or last != "action"):
                group = {}
                groups.append(group)
            if last == "reporting-mta" and named:
                group = {}
                groups.append(group)
            if last not in _PER_MESSAGE:
                group.setdefault(last, field[2].strip())
        elif last in group and len(group[last]) < 4000:
            group[last] += " " + line.strip()
    return [group for group in groups if any(field in group for field in _RECIPIENT_FIELDS)]


def _outcome(group: dict[str, str]) -> Outcome:
    recipient = next((found for name in _RECIPIENT_FIELDS if (found := field_address(group.get(name, "")))), "")
    said = group.get("diagnostic-code", "")
    said = said[typed.end() :] if (typed := _TYPED.match(said)) else said
    named = _STATUS.search(group.get("status", ""))
    status = f"{named[1]}.{named[2]}.{named[3]}" if named else ""
    word = group.get("action", "").lower()
    action = next((action for beginning, action in ACTIONS if word.startswith(beginning)), None)
    if action is None:
        action = _BY_CLASS.get(status[:1])
    return Outcome(recipient, action, best_status(status, said), said or group.get("x-diagnostic", ""))

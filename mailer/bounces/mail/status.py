"""Codes in what a server said: enhanced status codes (RFC 3463), reply codes (RFC 5321), and what they mean."""

from __future__ import annotations

import re

from mailer.bounces.event import Reason
from mailer.bounces.mail.outcome import Action, Outcome
from mailer.bounces.mail.reasons import RULES, Rule

_ENHANCED = re.compile(r"(?<![\d.\w-])#?([245])\s?\.\s?(\d{1,3})\s?\.\s?(\d{1,3})(?![\w-]|\.\d)")
_REPLY_WITH_ENHANCED = re.compile(r"(?<![\d.])([245])\d\d[ -]{1,2}#?(\1\.\d{1,3}\.\d{1,3})(?!\.?\d)")
_REPLY = re.compile(r"(?<![\w.:/@#-])([45][0-5]\d)(?=[ :-](?!\d\d\b)|$|_)")
_AFTER_SAID = re.compile(
    r"(?:said|response|reply|returned|was|error|status|code|smtp)\s?[:;(]?\s?[\"']?([45][0-5]\d)\b", re.I
)

# Without a code, who says so says that it may work another time. ("Try again" alone also follows "check the address".)
_LATER = re.compile(
    r"\b(?:try|retry|send)\b[^.]{0,60}\blater\b|\bsp[äa]ter (?:erneut|noch ?ein ?mal|nochmals?|wieder)\b"
    r"|\bzu einem sp[äa]teren zeitpunkt\b|\bessayez\b[^.]{0,60}\b(?:ult[ée]rieurement|plus tard)\b"
    r"|\b(?:intente|int[ée]ntelo|vuelva)\b[^.]{0,60}\bm[áa]s tarde\b|\briprova\w{0,2}\b[^.]{0,40}\bpi[ùu] tardi\b"
    r"|\btente\b[^.]{0,60}\bmais tarde\b|\bponownie p[óo][źz]niej\b",
    re.I,
)

# Reply codes that say more than their class, where the words say nothing (RFC 5321 §4.2.2): subject and detail.
_BY_REPLY = {"421": "3.2", "450": "2.0", "452": "3.1", "551": "1.6", "552": "2.2"}

# Why, by subject and detail of the status (RFC 3463 §3, the IANA registry of enhanced status codes), first match wins.
_BY_STATUS: tuple[tuple[re.Pattern[str], Reason], ...] = (
    (re.compile(r"1\.[78]$"), Reason.BLOCKED),  # the sender's address, not the recipient's
    (re.compile(r"1\.(?:2|3|10)$"), Reason.INVALID),  # the address or its domain is none; null MX
    (re.compile(r"1\."), Reason.BOUNCED),  # no such mailbox, moved
    (re.compile(r"2\.3$"), Reason.OTHER),  # message too long for the mailbox
    (re.compile(r"2\."), Reason.BOUNCED),  # disabled, full
    (re.compile(r"4\.(?:4|8)$"), Reason.INVALID),  # no route: the domain takes no mail
    (re.compile(r"4\.6$"), Reason.BOUNCED),  # a loop behind the address
    (re.compile(r"4\."), Reason.TIMED_OUT),  # network: nobody answered in time
    (re.compile(r"7\."), Reason.BLOCKED),  # policy, reputation, authentication
)


def find_status(said: str) -> str:
    """The enhanced status code in what a server said; else its reply code's class, such as ``5.0.0``; else empty."""
    said = said[:4000]
    if paired := _REPLY_WITH_ENHANCED.search(said):
        return paired[2]
    if found := _ENHANCED.search(said):
        return f"{found[1]}.{found[2]}.{found[3]}"
    if reply := find_reply(said):
        return f"{reply[0]}.0.0"
    return ""


def find_reply(said: str) -> str:
    """The SMTP reply code in what a server said: one that follows "said:" and the like before any other; or empty."""
    found = _AFTER_SAID.search(said[:4000]) or _REPLY.search(said[:4000])
    return found[1] if found else ""


def best_status(status: str, diagnostic: str) -> str:
    """The report's status; where that says only its class (``5.0.0``), a better one of the same class said."""
    if status and not status.endswith(".0.0"):
        return status
    said = find_status(diagnostic)
    return said if said and (not status or said[0] == status[0]) else status


def permanence(outcome: Outcome) -> bool | None:
    """Whether it is over for good: Action decides, then Status, then the diagnostic (RFC 3464 §2.3.3)."""
    if outcome.action is Action.FAILED:
        return True
    if outcome.action is Action.DELAYED:
        return False
    if outcome.action is not None:
        return None
    said = outcome.status or find_status(outcome.diagnostic)
    by_code = {"5": True, "4": False}.get(said[:1])
    return False if by_code is None and _LATER.search(outcome.diagnostic[:4000]) else by_code


def why(outcome: Outcome) -> Reason:
    """The reason: from the server's words where a rule knows them, else from the status."""
    if rule := _rule(outcome.diagnostic):
        return rule.reason
    tail = outcome.status[2:]
    return next((reason for pattern, reason in _BY_STATUS if pattern.match(tail)), Reason.OTHER)


def detailed(status: str, diagnostic: str, *, permanent: bool | None) -> str:
    """The status; where that is missing or says only its class (``5.0.0``), the code for the server's words, else for
    its reply code."""
    if status and not status.endswith(".0.0"):
        return status
    found = status[:1] or ("" if permanent is None else "5" if permanent else "4")
    if found not in ("4", "5"):
        return status
    rule = _rule(diagnostic)
    detail = rule.detail if rule else _BY_REPLY.get(find_reply(diagnostic), "")
    return f"{found}.{detail}" if detail else status or (f"{found}.0.0" if find_reply(diagnostic) else "")


def _rule(diagnostic: str) -> Rule | None:
    said = diagnostic[:4000]
    return next((rule for rule in RULES if rule.words.search(said)), None)

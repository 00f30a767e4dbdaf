"""Whose fault a refusal is, and so what may be concluded from it.

The rules are in ``blame_rules``: ordered, the first that fits decides. Receivers contradict themselves (``550 5.1.1 …
blocked using a list``), so evidence against us, or of a list, outranks every status code; and where no rule is sure,
nobody is suppressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from mailer.delivery.blame_rules import BLOCKLISTS, RULES, Blame, Rule
from mailer.model.ledger import Reply

Phase = Literal["mail", "rcpt", "data", "dot", "local", "report"]
"""What was refused: a command, the message itself (``dot``); ``local``: our own refusal; ``report``: said by mail."""

_LONGEST = 2000
"""Characters of a text that are looked at."""


@dataclass(frozen=True, slots=True)
class _Case:
    """A refusal as the rules see it: the code as text (a report without one has its class: ``500``), the status, and
    the text without addresses and URLs, whose words would be nobody's."""

    code: str
    status: str
    text: str


def blame(reply: Reply, phase: Phase = "rcpt") -> Blame:
    """Whose fault a refusal is. ``Reply.code`` may be 0 where ``status`` is known, and ``status`` may be empty.

    A report that says "failed" and has neither is to be given code 500.
    """
    if phase == "local":
        return Blame.OTHER
    rule = find_rule(reply)
    found = rule.blame if rule else Blame.OTHER
    if phase == "mail" and found in (Blame.RECIPIENT, Blame.MAILBOX, Blame.OTHER):
        return Blame.US if is_permanent(reply) else Blame.OTHER  # at MAIL no recipient had been named
    return found


def find_rule(reply: Reply) -> Rule | None:
    """The first rule that fits."""
    return _first(_Case(str(reply.code or f"{reply.status[:1] or 0}00"), reply.status, _words(reply.text)))


@lru_cache(maxsize=256)  # a receiver says the same to many
def _first(case: _Case) -> Rule | None:
    return next((rule for rule in RULES if _fits(rule, case)), None)


def is_permanent(reply: Reply) -> bool:
    """Whether trying again is of no use: 5xx, or 5.x.x where there is no code."""
    return reply.code >= 500 or (not reply.code and reply.status.startswith("5"))


def _fits(rule: Rule, case: _Case) -> bool:
    return bool(
        (not rule.code or rule.code.fullmatch(case.code))
        and (not rule.status or rule.status.fullmatch(case.status))
        and (not rule.text or rule.text.search(case.text))
    )


def _words(text: str) -> str:
    """The text without the words that hold an address; a URL counts only where it names a blocklist."""
    kept = []
    for word in text[:_LONGEST].split():
        if "://" in word:
            if BLOCKLISTS.search(word):
                kept.append("blocklist")
        elif "@" not in word:
            kept.append(word)
    return " ".join(kept)

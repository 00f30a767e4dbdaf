"""What an expression is: its source, where it stands, and when it can be evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """``ISSUE``: the same for everyone, evaluated once. ``RECIPIENT``: evaluated for each."""

    ISSUE = "issue"
    RECIPIENT = "recipient"


@dataclass(frozen=True, slots=True)
class Expression:
    """A Jinja2 expression without its braces. ``names`` are the dotted names it reads, such as ``issue.title``."""

    source: str
    line: int
    scope: Scope
    names: frozenset[str]

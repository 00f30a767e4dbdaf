"""The error tree.

Every error a person may meet is a ``MailerError``: it says what was wrong, where, and what to do about it. The command
line prints it in one line and exits 1; anything else that escapes is a defect of ours and shows a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

Severity = Literal["error", "warning"]


class MailerError(Exception):
    """Something went wrong that a person can mend.

    ``what`` was wrong, ``where`` (file:line, row, key, provider; may be empty), ``todo``: what to do (may be empty).
    """

    def __init__(self, what: str, *, where: str = "", todo: str = "") -> None:
        self.what, self.where, self.todo = what, where, todo
        super().__init__(what)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        stop = "" if self.what.endswith((".", "!", "?")) else "."
        return f"{place}{self.what}{stop} {self.todo}".rstrip() if self.todo else f"{place}{self.what}"


class ConfigError(MailerError):
    """``mailer.toml`` or a ``MAILER_…`` variable is wrong."""


class AddressError(MailerError):
    """A text is no e-mail address; ``what`` is the reason."""


class IllegalMove(MailerError):
    """A state was asked to move where the transition table has no way."""


class StoreError(MailerError):
    """The database can't be reached, is of another version, or refuses what was asked."""


class StoreUnavailable(StoreError):
    """The database can't be used right now (locked, full, gone); the same call may succeed later."""


class QueueError(MailerError):
    """Redis can't be reached or started."""


class RelayError(MailerError):
    """A relay can't be used: down, login refused, certificate wrong. It is nobody's bounce."""


class MailboxError(MailerError):
    """A mailbox can't be read: there is none, the login is refused, the certificate is wrong."""


class SendError(MailerError):
    """A send can't be started, found or changed as asked."""


class CompileError(MailerError):
    """An issue can't be compiled, and no line of it is to blame."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding about an issue: ``file:line: what. todo``."""

    what: str
    file: str
    line: int
    todo: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        what = self.what if self.severity == "error" else f"{self.severity}: {self.what}"
        return str(MailerError(what, where=f"{self.file}:{self.line}", todo=self.todo))


class ContentError(MailerError):
    """An issue has errors. ``problems`` holds all that were found, in the order of their lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        super().__init__(first.what, where=f"{first.file}:{first.line}", todo=first.todo)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def nearest(word: str, known: Sequence[str]) -> str:
    """``Did you mean 'x'?`` for the known word nearest to a misspelt one; without one near, the list of them."""
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(sorted(known))}." if known else ""

"""What imports from CSV share: the header's names, and what becomes of rows that can't be taken."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mailer.errors import MailerError
from mailer.model.people import COMPUTED
from mailer.service.csv_rows import NOT_UTF8, Row

CHUNK = 1000
"""Rows a transaction."""

KEEP = 10_000
"""So many refused rows are kept in the report; all are counted and told to ``on_refused``."""

NO_UTF8_ROW = "it isn't UTF-8 (save the file as CSV in UTF-8, and import it again)"
"""Why a row with such bytes isn't taken."""

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
"""What no value has in it: a line break could begin another header in a mail."""

_SYNONYMS = {"e_mail": "email"}


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that wasn't taken. ``line``: where it begins in the file, from 1; ``email``: its cell, made printable."""

    line: int
    email: str
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.email}: {self.reason}" if self.email else f"line {self.line}: {self.reason}"


class Refusing(Protocol):
    """A report of rows, some of which weren't taken. ``refused`` holds the first 10,000 of ``refused_count``."""

    refused_count: int
    refused: list[RefusedRow]


def refusal(report: Refusing, on_refused: Callable[[RefusedRow], None] | None) -> Callable[[RefusedRow], None]:
    """What is to be called with each row that isn't taken: it is counted, kept in the report, and told."""

    def refuse(row: RefusedRow) -> None:
        report.refused_count += 1
        if len(report.refused) < KEEP:
            report.refused.append(row)
        if on_refused is not None:
            on_refused(row)

    return refuse


def read_header(header: Row | None, file_name: str) -> list[str]:
    """A name for each column; empty where the header has none, but not at its end (a habit of Excel's).

    Raises ``MailerError``: there is none, it can't be read, or no column is ``email``.
    """
    if header is None:
        raise MailerError("the file is empty", where=file_name, todo="Its first line names the columns; one is email.")
    where, titles = f"{file_name}:{header.line}", header.cells
    if any(NOT_UTF8.search(title) for title in titles):
        raise MailerError("the header isn't UTF-8", where=where, todo="Save the file as CSV in UTF-8.")
    if header.problem:
        raise MailerError(f"the header isn't CSV: {header.problem}", where=where, todo="Mend its first line.")
    while titles and not titles[-1].strip():
        titles = titles[:-1]
    names = [_name(title) for title in titles]
    for number, (title, name) in enumerate(zip(titles, names, strict=True), start=1):
        if not title.strip():
            continue
        if not name:
            raise MailerError(
                f"column {number} ({title!r}) has no usable name", where=where, todo="Name it in letters."
            )
        if name in COMPUTED:
            raise MailerError(f"column {title!r} is a name of ours: {name}", where=where, todo="Rename the column.")
        if name in names[: number - 1]:
            other = titles[names.index(name)]
            raise MailerError(
                f"columns {other!r} and {title!r} are both {name!r}", where=where, todo="Rename or remove one."
            )
    if "email" not in names:
        raise MailerError(
            f"no column is named email, only {', '.join(names)}",
            where=where,
            todo="The first line names the columns; call that of the addresses email.",
        )
    return names


def _name(title: str) -> str:
    """A title as an expression names it: ``First Name`` → ``first_name``; empty where nothing is left of it."""
    text = unicodedata.normalize("NFC", title).strip().casefold()  # ß → ss
    for umlaut, letters in (("ä", "ae"), ("ö", "oe"), ("ü", "ue")):
        text = text.replace(umlaut, letters)
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    name = re.sub(r"[^a-z0-9_]+", "_", plain).strip("_")
    if name[:1].isdigit():
        name = f"_{name}"
    return _SYNONYMS.get(name, name)


def printable(cells: Sequence[str], email: int) -> str:
    """The address cell of a refused row, fit for a terminal."""
    cell = cells[email] if email < len(cells) else ""
    return NOT_UTF8.sub("\ufffd", CONTROL.sub(" ", cell))[:200].strip()

"""Suppressions from CSV: rows as subscribers' are read, or a list without a header, an address a line.

A suppression that is refused is mail to somebody who wants none: so only the address, and a date that is given, have to
be right.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO

from mailer.errors import AddressError
from mailer.model.address import parse_address
from mailer.model.people import Suppression
from mailer.service.csv_import import CHUNK, NO_UTF8_ROW, RefusedRow, printable, read_header, refusal
from mailer.service.csv_rows import NOT_UTF8, Row, read_rows
from mailer.service.ports import Suppressions

COLUMNS = ("email", "reason", "source", "created_at")
"""As ``mailer suppressions export`` writes them. Others are passed over."""

REASON, SOURCE = "imported", "import"
"""Where a row says neither."""


@dataclass(slots=True)
class SuppressionsReport:
    """What became of the rows. ``refused`` holds the first 10,000 of ``refused_count``."""

    added: int = 0
    unchanged: int = 0
    refused_count: int = 0
    refused: list[RefusedRow] = field(default_factory=list)


def import_suppressions(
    file: IO[bytes],
    file_name: str,
    suppressions: Suppressions,
    now: Callable[[], float],
    on_refused: Callable[[RefusedRow], None] | None = None,
) -> SuppressionsReport:
    """Suppresses the addresses of a CSV file, a thousand at a time. Whoever is suppressed keeps their reason, unless
    the row's outweighs it.

    Raises ``MailerError`` for a file or a header that can't be read; what was taken before a ``StoreError`` stays, and
    the file can be imported again.
    """
    report = SuppressionsReport()
    rows = _suppressions(file, file_name, now, refusal(report, on_refused))
    while chunk := list(itertools.islice(rows, CHUNK)):
        added = suppressions.add_all(chunk, now())
        report.added += added
        report.unchanged += len(chunk) - added
    return report


def _suppressions(
    file: IO[bytes], file_name: str, now: Callable[[], float], refuse: Callable[[RefusedRow], None]
) -> Iterator[Suppression]:
    rows = read_rows(file, file_name)
    first = next(rows, None)
    if first is not None and any("@" in cell for cell in first.cells):
        names, rows = ["email"], itertools.chain([first], rows)
    else:
        names = read_header(first, file_name)
    for row in rows:
        try:
            if names == ["email"] and any("@" in cell for cell in row.cells[1:]):
                raise AddressError("there is more than one address in it: a line has one")
            yield _suppression(names, row, now())
        except AddressError as error:
            refuse(RefusedRow(row.line, printable(row.cells, names.index("email")), error.what))


def _suppression(names: Sequence[str], row: Row, now: float) -> Suppression:
    """Raises ``AddressError`` with the reason where a row can't be taken."""
    if row.problem:
        raise AddressError(row.problem)
    cells = {name: cell.strip() for name, cell in zip(names, row.cells, strict=False) if name in COLUMNS}
    email = cells.get("email", "")
    if not email:
        raise AddressError("it has no address")
    if NOT_UTF8.search(email):
        raise AddressError(NO_UTF8_ROW)
    key = parse_address(email).key
    created = _moment(cells["created_at"]) if cells.get("created_at") else now
    reason, source = (NOT_UTF8.sub("\ufffd", cells.get(name, "")) for name in ("reason", "source"))
    return Suppression(key, reason or REASON, source or SOURCE, created)


def _moment(text: str) -> float:
    """Whole seconds in Unix time, in a year that has a number."""
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise ValueError("no time zone")
        return found.astimezone(UTC).replace(microsecond=0).timestamp()
    except (ValueError, OverflowError):
        raise AddressError("its created_at is no date with a time zone, such as 2030-01-31T06:00:00Z") from None

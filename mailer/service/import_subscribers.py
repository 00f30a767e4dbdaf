"""Subscribers from and to CSV: a stream, in constant memory, whatever the file's size.

A bad row is refused with its line and the reason, and the others are taken; only what makes the whole file unreadable
is an error. Values are data: nothing in them is interpreted, and control characters (a line break could begin another
header in a mail) become spaces.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from mailer.errors import AddressError
from mailer.model.address import parse_address
from mailer.model.people import COLUMNS, Subscriber, SubscriberStatus, Suppression
from mailer.service.csv_import import (
    CHUNK,
    CONTROL,
    KEEP,
    NO_UTF8_ROW,
    RefusedRow,
    printable,
    read_header,
    refusal,
)
from mailer.service.csv_rows import NOT_UTF8, read_rows
from mailer.service.ports import Incoming, Subscribers

LONGEST = 1000
"""Characters in a value."""


@dataclass(slots=True)
class ImportReport:
    """What became of the rows. ``refused`` holds the first 10,000 of ``refused_count``. Of the rows that were taken,
    ``unsubscribed`` (addresses) and ``suppressed`` hold likewise those that bring no mail to anybody: their people have
    unsubscribed, or no mail may go to their addresses. One may be both.

    Two rows whose addresses differ only in case are one person: the second counts as updated or unchanged.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    refused_count: int = 0
    refused: list[RefusedRow] = field(default_factory=list)
    unsubscribed_count: int = 0
    unsubscribed: list[str] = field(default_factory=list)
    suppressed_count: int = 0
    suppressed: list[Suppression] = field(default_factory=list)


def import_csv(
    file: IO[bytes],
    file_name: str,
    subscribers: Subscribers,
    now: Callable[[], float],
    on_progress: Callable[[int], None] | None = None,
    on_refused: Callable[[RefusedRow], None] | None = None,
    find_suppressed: Callable[[Sequence[str]], Mapping[str, Suppression]] | None = None,
) -> ImportReport:
    """Puts the rows of a CSV file in the store, a thousand at a time.

    The header needs ``email``; the other names of ``COLUMNS`` fill columns, everything else becomes an attribute. An
    empty cell leaves what is there; a column without a name has to be empty. ``on_progress`` gets the number of rows
    seen so far. ``find_suppressed`` is ``Suppressions.find``: an import subscribes nobody again and lifts no
    suppression, and the report says whom that concerns. Raises ``MailerError`` for a file or a header that can't be
    read; what was taken before a ``StoreError`` stays, and the file can be imported again.
    """
    report = ImportReport()

    rows = _incoming_rows(file, file_name, refusal(report, on_refused))
    while chunk := list(itertools.islice(rows, CHUNK)):
        for row, done in zip(chunk, subscribers.upsert(chunk, now()), strict=True):
            match done.change:
                case "added":
                    report.added += 1
                case "updated":
                    report.updated += 1
                case "unchanged":
                    report.unchanged += 1
            if done.status is SubscriberStatus.UNSUBSCRIBED:
                report.unsubscribed_count += 1
                if len(report.unsubscribed) < KEEP:
                    report.unsubscribed.append(row.key)
        if find_suppressed is not None:
            found = find_suppressed([row.key for row in chunk])
            suppressed = [found[row.key] for row in chunk if row.key in found]
            report.suppressed_count += len(suppressed)
            report.suppressed += suppressed[: KEEP - len(report.suppressed)]
        if on_progress is not None:
            on_progress(report.added + report.updated + report.unchanged + report.refused_count)
    return report


def exported(subscribers: Subscribers) -> Iterator[Subscriber]:
    """All but those who have unsubscribed: another store would take them for new, and subscribe them."""
    return (one for one in subscribers.each() if one.status is not SubscriberStatus.UNSUBSCRIBED)


def export_csv(subscribers: Subscribers, out: IO[str]) -> int:
    """Writes a CSV file of all ``exported``, that an import takes back unchanged; gives the number of people.

    ``out`` was opened with ``newline=""``. Values stand as they are, so a spreadsheet may take one that begins with
    ``=`` for a formula.
    """
    attributes = subscribers.attribute_names()
    writer = csv.writer(out)
    writer.writerow([*COLUMNS, *attributes])
    count = 0
    for one in exported(subscribers):
        count += 1
        cells = [str(one.value(name)) for name in COLUMNS]
        writer.writerow(cells + [one.attributes.get(name, "") for name in attributes])
    return count


def _incoming_rows(file: IO[bytes], name: str, refuse: Callable[[RefusedRow], None]) -> Iterator[Incoming]:
    rows = read_rows(file, name)
    names = read_header(next(rows, None), name)
    email = names.index("email")
    for row in rows:
        try:
            if row.problem:
                raise AddressError(row.problem)
            yield _incoming(names, row.cells, email)
        except AddressError as error:
            refuse(RefusedRow(row.line, printable(row.cells, email), error.what))


def _incoming(names: Sequence[str], cells: Sequence[str], email: int) -> Incoming:
    """A row. Raises ``AddressError`` with the reason where it can't be taken."""
    if len(cells) < len(names) or any(cell.strip() for cell in cells[len(names) :]):
        raise AddressError(f"it has {len(cells)} field{'s'[: len(cells) != 1]}, and the header has {len(names)}")
    if any(NOT_UTF8.search(cell) for cell in cells):
        raise AddressError(NO_UTF8_ROW)
    if not cells[email].strip():
        raise AddressError("it has no address")
    address = parse_address(cells[email])
    values: dict[str, str] = {}
    for index, (name, cell) in enumerate(zip(names, cells, strict=False)):
        if index == email or not (value := CONTROL.sub(" ", cell).strip()):
            continue
        if not name:
            raise AddressError(f"column {index + 1} isn't empty, and has no name in the header")
        if len(value) > LONGEST:
            raise AddressError(f"its {name} is longer than {LONGEST:,} characters (a quote that doesn't end?)")
        values[name] = value
    return Incoming(
        email=address.text,
        key=address.key,
        first_name=values.pop("first_name", None),
        last_name=values.pop("last_name", None),
        language=values.pop("language", None),
        timezone=values.pop("timezone", None),
        attributes=values,
    )

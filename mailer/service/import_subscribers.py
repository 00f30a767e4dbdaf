"""Subscribers from and to CSV: a stream, in constant memory, whatever the file's size.

A bad row is refused with its line and the reason, and the others are taken; only what makes the whole file unreadable
is an error. Values are data: nothing in them is interpreted, and control characters (a line break could begin another
header in a mail) become spaces.
"""

from __future__ import annotations

import csv
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from mailer.errors import AddressError, MailerError
from mailer.model.address import parse_address
from mailer.model.people import COLUMNS, COMPUTED, SubscriberStatus
from mailer.service.ports import Incoming, Subscribers

CHUNK = 1000
"""Rows a transaction."""

KEEP = 10_000
"""So many refused rows are kept in the report; all are counted and told to ``on_refused``."""

LONGEST = 1000
"""Characters in a value."""

_LINE_BYTES = 1_000_000
_DELIMITERS = ",;\t"
_SYNONYMS = {"e_mail": "email"}
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_NOT_UTF8 = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that wasn't taken. ``line``: where it begins in the file, from 1; ``email``: its cell, made printable."""

    line: int
    email: str
    reason: str


@dataclass(slots=True)
class ImportReport:
    """What became of the rows. ``refused`` holds the first 10,000 of ``refused_count``.

    Two rows whose addresses differ only in case are one person: the second counts as updated or unchanged.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    refused_count: int = 0
    refused: list[RefusedRow] = field(default_factory=list)


def import_csv(
    file: IO[bytes],
    file_name: str,
    subscribers: Subscribers,
    now: Callable[[], float],
    on_progress: Callable[[int], None] | None = None,
    on_refused: Callable[[RefusedRow], None] | None = None,
) -> ImportReport:
    """Puts the rows of a CSV file (RFC 4180; ``,`` ``;`` or tab; UTF-8) in the store, a thousand at a time.

    The header needs ``email``; the other names of ``COLUMNS`` fill columns, everything else becomes an attribute. An
    empty cell leaves what is there. ``on_progress`` gets the number of rows seen so far. Raises ``MailerError`` for a
    file or a header that can't be read; what was taken before a ``StoreError`` stays, and the file can be imported
    again.
    """
    report = ImportReport()

    def refuse(row: RefusedRow) -> None:
        report.refused_count += 1
        if len(report.refused) < KEEP:
            report.refused.append(row)
        if on_refused is not None:
            on_refused(row)

    rows = _rows(_lines(file, file_name), file_name, refuse)
    while chunk := list(itertools.islice(rows, CHUNK)):
        for change in subscribers.upsert(chunk, now()):
            match change:
                case "added":
                    report.added += 1
                case "updated":
                    report.updated += 1
                case "unchanged":
                    report.unchanged += 1
        if on_progress is not None:
            on_progress(report.added + report.updated + report.unchanged + report.refused_count)
    return report


def export_csv(subscribers: Subscribers, out: IO[str]) -> int:
    """Writes a CSV file that an import takes back unchanged; gives the number of people.

    Those who have unsubscribed are left out: another store would take them for new, and subscribe them. ``out`` was
    opened with ``newline=""``. Values stand as they are, so a spreadsheet may take one that begins with ``=`` for a
    formula.
    """
    attributes = subscribers.attribute_names()
    writer = csv.writer(out)
    writer.writerow([*COLUMNS, *attributes])
    count = 0
    for one in subscribers.each():
        if one.status is not SubscriberStatus.UNSUBSCRIBED:
            cells = [str(one.value(name)) for name in COLUMNS]
            writer.writerow(cells + [one.attributes.get(name, "") for name in attributes])
            count += 1
    return count


def _lines(file: IO[bytes], name: str) -> Iterator[str]:
    """The file's lines; bytes that aren't UTF-8 become lone surrogates, so that only their row is refused."""
    for number in itertools.count(1):
        raw = file.readline(_LINE_BYTES)
        if number == 1:
            if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in raw:
                raise MailerError("the file is UTF-16", where=name, todo="Save it as CSV in UTF-8.")
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if not raw:
            return
        if len(raw) == _LINE_BYTES:
            raise MailerError("a line is longer than a million bytes", where=f"{name}:{number}", todo="Is it CSV?")
        yield raw.decode("utf-8", "surrogateescape")


def _rows(lines: Iterator[str], name: str, refuse: Callable[[RefusedRow], None]) -> Iterator[Incoming]:
    blank, first = 0, ""
    for first in lines:
        if first.strip():
            break
        blank += 1
    reader = csv.reader(itertools.chain([first], lines), delimiter=_delimiter(first))
    names = _header(reader, first, f"{name}:{blank + 1}")
    email = names.index("email")
    while True:
        line = blank + reader.line_num + 1
        cells: list[str] = []
        try:
            cells = next(reader)
            if cells:  # an empty line isn't a row
                yield _incoming(names, cells, email)
        except StopIteration:
            return
        except AddressError as error:
            refuse(RefusedRow(line, _printable(cells, email), error.what))
        except csv.Error as error:
            reason = "a quoted field doesn't end" if "field limit" in str(error) else f"not CSV: {error}"
            refuse(RefusedRow(line, "", reason))


def _delimiter(header: str) -> str:
    """The one that separates most, outside quotes; ``,`` where there is a single column."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(_DELIMITERS, key=bare.count)


def _header(reader: Iterator[list[str]], first: str, where: str) -> list[str]:
    """A name for each column."""
    if not first.strip():
        raise MailerError("the file is empty", where=where, todo="Its first line names the columns; one is email.")
    if _NOT_UTF8.search(first):
        raise MailerError("the header isn't UTF-8", where=where, todo="Save the file as CSV in UTF-8.")
    if "\r" in first.rstrip("\r\n"):
        raise MailerError("lines end with CR alone", where=where, todo="Save it with LF or CRLF line ends.")
    titles = next(reader)
    names = [_name(title) for title in titles]
    for number, (title, name) in enumerate(zip(titles, names, strict=True), start=1):
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


def _incoming(names: Sequence[str], cells: Sequence[str], email: int) -> Incoming:
    """A row. Raises ``AddressError`` with the reason where it can't be taken."""
    if len(cells) != len(names):
        raise AddressError(f"it has {len(cells)} fields, and the header has {len(names)}")
    if any(_NOT_UTF8.search(cell) for cell in cells):
        raise AddressError("it isn't UTF-8")
    if not cells[email].strip():
        raise AddressError("it has no address")
    address = parse_address(cells[email])
    values: dict[str, str] = {}
    for index, (name, cell) in enumerate(zip(names, cells, strict=True)):
        if index == email or not (value := _CONTROL.sub(" ", cell).strip()):
            continue
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


def _printable(cells: Sequence[str], email: int) -> str:
    """The address cell of a refused row, fit for a terminal."""
    cell = cells[email] if email < len(cells) else ""
    return _NOT_UTF8.sub("\ufffd", _CONTROL.sub(" ", cell))[:200].strip()

"""Rows of a CSV file (RFC 4180; ``,`` ``;`` or tab; UTF-8), of which one broken row spoils no other.

A row is what the ``csv`` module, being strict, takes from one line or several. Where it can't take any (text after a
closing quote, a quote that is never closed) the first line alone is given up and the next one begins a row again. That
happens in malformed files only: what is properly quoted is a value and never read as rows, whoever wrote it.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections import deque
from collections.abc import Iterator
from typing import IO, NamedTuple

from mailer.errors import MailerError

LONGEST_ROW = 1_000_000
"""Bytes in a line and characters in a row: so much is held in memory at most."""

NOT_UTF8 = re.compile("[\ud800-\udfff]")
"""What stands for bytes that aren't UTF-8."""

_DELIMITERS = ",;\t"
_TOO_LONG = "it is longer than a million characters"


class Row(NamedTuple):
    """``line``: where it begins in the file, from 1. ``problem``: why it is no row; ``cells`` are a guess then."""

    line: int
    cells: list[str]
    problem: str = ""


def read_rows(file: IO[bytes], name: str) -> Iterator[Row]:
    """All rows but empty lines. Raises ``MailerError`` where the first line shows that the file can't be read."""
    lines = _lines(file, name)
    number, first = 1, next(lines, "")
    while first is not None and first.isspace():
        number, first = number + 1, next(lines, "")
    if first and "\r" in first.rstrip("\r\n"):
        raise MailerError(
            "lines end with CR alone", where=f"{name}:{number}", todo="Save it with LF or CRLF line ends."
        )
    delimiter = _delimiter(first or "")
    ahead = deque([first])
    while ahead:
        row, used = _row(number, ahead, lines, delimiter)
        if row.cells or row.problem:
            yield row
        number += used
        for _ in range(used):
            ahead.popleft()
        if not ahead:
            ahead.extend(itertools.islice(lines, 1))


def _lines(file: IO[bytes], name: str) -> Iterator[str | None]:
    """The file's lines, None for one that is too long; bytes that aren't UTF-8 become lone surrogates."""
    for number in itertools.count(1):
        raw = file.readline(LONGEST_ROW)
        if number == 1:
            if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in raw:
                raise MailerError("the file is UTF-16", where=name, todo="Save it as CSV in UTF-8.")
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if not raw:
            return
        if len(raw) == LONGEST_ROW and not raw.endswith(b"\n"):
            while raw and not raw.endswith(b"\n"):
                raw = file.readline(LONGEST_ROW)
            yield None
        else:
            yield raw.decode("utf-8", "surrogateescape")


def _delimiter(header: str) -> str:
    """The one that separates most, outside quotes; ``,`` where there is a single column."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(_DELIMITERS, key=bare.count)


def _row(number: int, ahead: deque[str | None], lines: Iterator[str | None], delimiter: str) -> tuple[Row, int]:
    """The row that begins with the first line of ``ahead``, which gets the lines it needs; and how many it takes."""
    first = ahead[0]
    text = (first or "").removesuffix("\n").removesuffix("\r")
    if first and '"' not in text and "\r" not in text:  # most lines, and this is much faster
        return Row(number, text.split(delimiter) if text else []), 1
    reader = csv.reader(_upcoming(ahead, lines), delimiter=delimiter, strict=True)
    try:
        cells = next(reader)
    except csv.Error as error:
        guess = text.replace('"', "").split(delimiter)
        return Row(number, guess, _problem(str(error), reader.line_num)), 1
    used = reader.line_num
    if used > 1:
        # What two rows with a stray quote each look like; to guess which it is would be to read a value as a row.
        alike = sum(
            line is not None and "@" in line and line.count(delimiter) == len(cells) - 1
            for line in itertools.islice(ahead, used)
        )
        if alike > 1:
            return Row(number, cells, f"its quotes hold whole rows, up to line {number + used - 1}"), used
    return Row(number, cells), used


def _upcoming(ahead: deque[str | None], lines: Iterator[str | None]) -> Iterator[str]:
    def more() -> Iterator[str | None]:
        for line in lines:
            ahead.append(line)
            yield line

    size = 0
    for line in itertools.chain(ahead, more()):
        size += LONGEST_ROW + 1 if line is None else len(line)
        if line is None or size > LONGEST_ROW:
            raise csv.Error(_TOO_LONG)
        yield line


def _problem(error: str, lines: int) -> str:
    """What the ``csv`` module says, in words for who wrote the file; ``lines``: how far it had to read."""
    if lines == 0:
        return _TOO_LONG
    if "new-line" in error:
        return "a carriage return stands outside quotes"
    if lines == 1 and "expected after" in error:
        return "text follows a closing quote (a quote inside quotes is written twice)"
    if lines == 1 and "field limit" in error:
        return "a field is too long"
    return "a quoted field doesn't end"

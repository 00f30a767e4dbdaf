"""An import into real databases: the rows a publisher's file has, in constant memory."""

from __future__ import annotations

import io
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer.service.csv_import import RefusedRow
from mailer.service.import_subscribers import export_csv, import_csv
from mailer.store import SqlStore, open_store

pytest_plugins = ("tests.servers.postgres",)

AWKWARD = """email;first_name;last_name;plan;Größe
jürgen@müller.example;Jürgen;Müller;free;1
δοκιμή@παράδειγμα.example;Ελένη;;free;
UPPER.Case@EXAMPLE.org;Ada;Lovelace;premium;
upper.case@example.org;Ada;Twin;premium;
jinja@example.net;{{ 7*7 }};<b>&</b>;"a;b";
crlf@example.net;"Eve
Bcc: v@example.com";x;;
emoji@example.net;👩‍👩‍👧‍👦;مريم;;
two@@example.net;Two;Ats;;
last@example.net;Last;;;
"""


def test_awkward_file(store: SqlStore) -> None:
    """A file with awkward rows is taken but for the bad one, and comes back from an export as it is stored."""
    report = import_csv(io.BytesIO(AWKWARD.encode()), "awkward.csv", store.subscribers, lambda: 1.0)
    assert (report.added, report.updated, report.unchanged) == (7, 1, 0)
    assert [(row.line, row.email) for row in report.refused] == [(10, "two@@example.net")]
    assert store.subscribers.count() == 7
    found = store.subscribers.find("crlf@example.net")
    assert found is not None
    assert found.first_name == "Eve Bcc: v@example.com"
    assert store.subscribers.attribute_names() == ["groesse", "plan"]
    out = io.StringIO(newline="")
    assert export_csv(store.subscribers, out) == 7
    before = list(store.subscribers.each())
    again = import_csv(io.BytesIO(out.getvalue().encode()), "out.csv", store.subscribers, lambda: 2.0)
    assert (again.added, again.updated, again.unchanged, again.refused) == (0, 0, 7, [])
    assert list(store.subscribers.each()) == before


class Endless(io.RawIOBase):
    """A file of many rows that is never held as a whole; every fifth row is bad."""

    def __init__(self, rows: int) -> None:
        self._lines = self._make(rows)
        self._rest = b""

    def _make(self, rows: int) -> Iterator[bytes]:
        yield b"email,first_name,plan\n"
        for number in range(rows):
            yield b"p%d@example.com,Anna,free\n" % number if number % 5 else b"bad row %d,,\n" % number

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while len(self._rest) < len(buffer) and (line := next(self._lines, b"")):
            self._rest += line
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


@pytest.mark.timeout(300)
def test_memory_is_flat(tmp_path: Path) -> None:
    """Ten times the rows need no more memory: at most two megabytes, and a hundred bytes for each row more."""
    peaks: list[int] = []
    for rows in (3_000, 33_000):
        store = open_store(f"sqlite:///{tmp_path}/{rows}.db", create=True)
        told: list[int] = []

        def tell(row: RefusedRow, told: list[int] = told) -> None:
            told[:] = [row.line]

        file = io.BufferedReader(Endless(rows))
        report = import_csv(file, "endless.csv", store.subscribers, lambda: 1.0, on_refused=tell)
        assert (report.added, report.refused_count) == (rows * 4 // 5, rows // 5)
        assert told == [rows - 5 + 2]
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        store.close()
    assert peaks[1] - peaks[0] < 2_000 + 30_000 // 10

"""Rows of a CSV file: what is broken costs itself, and what is quoted is never read as rows."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailer.errors import MailerError
from mailer.service.csv_rows import LONGEST_ROW, Row, read_rows

UNENDED = "a quoted field doesn't end"
STRAY = "text follows a closing quote (a quote inside quotes is written twice)"
WHOLE_ROWS = "its quotes hold whole rows, up to line "


def rows(text: str) -> list[Row]:
    return list(read_rows(io.BytesIO(text.encode("utf-8", "surrogateescape")), "x.csv"))


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        pytest.param('b@x.com,"unclosed', UNENDED, id="quotes after it"),
        pytest.param('b@x.com,"Bob" Smith', STRAY, id="text after the closing quote"),
        pytest.param('b@x.com,"5" nail"', STRAY, id="quote inside quotes"),
        pytest.param("b@x.com,a\rb", "a carriage return stands outside quotes", id="CR"),
        pytest.param(f'b@x.com,"{"x" * 140_000}"', "a field is too long", id="long field"),
        pytest.param("b@x.com," + "é" * LONGEST_ROW * 2, "it is longer than a million characters", id="long line"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_broken_rows(bad: str, problem: str, end: str) -> None:
    """A broken row is told with its line and the reason, and the next line is a row again."""
    found = rows(end.join(["email,name", 'a@x.com,"A', 'A"', bad, "c@x.com,C", 'd@x.com,"D', 'D"', "e@x.com,E", ""]))
    assert [(row.line, row.cells[0]) for row in found if not row.problem] == [
        (1, "email"), (2, "a@x.com"), (5, "c@x.com"), (6, "d@x.com"), (8, "e@x.com"),
    ]  # fmt: skip
    assert [(row.line, row.problem) for row in found if row.problem] == [(4, problem)]


@pytest.mark.parametrize("rest", [0, 1, 3000])
def test_no_other_quote(rest: int) -> None:
    """A quote with no other in the file, however long, costs its row alone."""
    found = rows('email,name\na@x.com,"A\n' + "".join(f"p{n}@x.com,some name of usual length\n" for n in range(rest)))
    assert found[1] == (2, ["a@x.com", "A"], UNENDED)
    assert [row.line for row in found if not row.problem] == [1, *range(3, rest + 3)]


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ('email,name\na@x.com,"A\nb@x.com,B"\n', 3),
        ('email,name\na@x.com,"A\nb@x.com,B\nc@x.com,"\n', 4),
        ('name,email\n"A,a@x.com\nB",b@x.com\n', 3),
        ('email,plan,name\na@x.com,"x,A\nb@x.com,x",B\n', 3),
    ],
)
def test_quotes_that_swallow(text: str, last: int) -> None:
    """Two stray quotes that happen to make one field of several rows are told, with the lines they cost."""
    _, swallowed, after = rows(text + "z@x.com,,\n")
    assert (swallowed.line, swallowed.problem) == (2, f"{WHOLE_ROWS}{last}")
    assert (after.line, after.cells[0], after.problem) == (last + 1, "z@x.com", "")


@pytest.mark.parametrize(
    "value",
    [
        "Eve\r\nBcc: victim@example.com",
        "=3D=\n.\n",
        "\n",
        "line\n" * 5_000,
        "me,\nvictim@example.com\n",
        '"\nvictim@example.com,""\n',
    ],
)
def test_values_are_no_rows(value: str) -> None:
    """Whatever a properly quoted value holds, over however many lines, no part of it becomes a row."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows([["email", "name", "plan"], ["a@x.com", value, "p"], ["b@x.com", "B", "p"]])
    assert [(row.cells, row.problem) for row in rows(file.getvalue())[1:]] == [
        (["a@x.com", value, "p"], ""),
        (["b@x.com", "B", "p"], ""),
    ]


def test_row_in_a_value() -> None:
    """A value that holds a whole row costs the row it stands in; it doesn't bring another one in."""
    found = rows('email,name\na@x.com,"A\nvictim@x.com,V\n"\n')
    assert [(row.line, row.problem) for row in found] == [(1, ""), (2, f"{WHOLE_ROWS}4")]


def test_broken_header() -> None:
    """A header that is too long is a problem like any other, and the next line is a row."""
    assert [(row.line, bool(row.problem)) for row in rows("e" * (LONGEST_ROW + 1) + "\na,b\n")] == [
        (1, True),
        (2, False),
    ]


@settings(max_examples=200)
@given(st.lists(st.lists(st.text(st.sampled_from('ab,;\t\n\r "é\0\u2028'), max_size=6), min_size=1, max_size=4)))
@example([["a"], [""], ["a\r\n", "b"]])
def test_what_csv_writes(table: list[list[str]]) -> None:
    """What the csv module writes is read as it was."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows([["email", "name"], *table])
    assert [row.cells for row in rows(file.getvalue())[1:]] == table


@settings(max_examples=200)
@given(st.text(st.sampled_from('ab,\n\r"@'), max_size=40))
def test_every_line_is_accounted_for(text: str) -> None:
    """Rows come in order, and one without a problem is what the csv module, being strict, reads there."""
    found = rows("email,name\n" + text)
    lines = ("email,name\n" + text).split("\n")
    assert [row.line for row in found] == sorted({row.line for row in found})
    for row in found:
        if not row.problem:
            rest = (line + "\n" for line in lines[row.line - 1 :])
            assert next(csv.reader(rest, strict=True)) == row.cells


def test_cr_alone() -> None:
    """A file whose lines end with CR is refused as a whole, at its first line."""
    with pytest.raises(MailerError, match="CR alone"):
        rows("email\ra@x.com\r")

"""Where the keys of a TOML text stand."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.config.toml import key_lines, line_of

CASES: dict[str, tuple[str, dict[tuple[str | int, ...], int]]] = {
    "plain": ("# c\n[a]\nx = 1\n\ny = 2 # c\n", {("a",): 2, ("a", "x"): 3, ("a", "y"): 5}),
    "quoted": ('[a."b.c"]\n"d e" = 1\n', {("a", "b.c", "d e"): 2}),
    "dotted": ("a.b.c = 1\n", {("a", "b", "c"): 1}),
    "inline": ("x = { y = { z = 1 } }\n", {("x", "y", "z"): 1}),
    "arrays of tables": ("[[r]]\nx=1\n[[r]]\n[r.s]\nx=2\n", {("r", 0, "x"): 2, ("r", 1): 3, ("r", 1, "s", "x"): 5}),
    "over lines": ("a = [\n 'x', # c\n 'y',\n]\nb = 1\n", {("a",): 1, ("a", 1): 1, ("b",): 5}),
    "long text": ('a = """\nb = 1\n[c]\n"""\nd = 2\n', {("a",): 1, ("d",): 5}),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_lines(text: str, expected: dict[tuple[str | int, ...], int]) -> None:
    """Each key stands on the line where its statement begins."""
    lines = key_lines(text)
    assert {key: lines.get(key) for key in expected} == expected


def test_text_is_not_a_key() -> None:
    """What looks like a key inside a long text is none."""
    assert ("c",) not in key_lines(CASES["long text"][0])


names = st.text("abc-_ .é", min_size=1, max_size=4)
values = st.one_of(st.integers(0, 9), st.just("text"), st.just([1, 2]))


@settings(max_examples=60)
@given(st.dictionaries(names, st.dictionaries(names, values, min_size=1, max_size=3), max_size=4))
def test_every_key_is_found(data: dict[str, dict[str, Any]]) -> None:
    """Whatever the keys are called, the line of each is the one it was written on."""
    import json

    text, expected = "", {}
    for table, pairs in data.items():
        text += f"[{json.dumps(table)}]\n"
        for key, value in pairs.items():
            text += f"{json.dumps(key)} = {json.dumps(value)}\n"
            expected[(table, key)] = text.count("\n")
    assert tomllib.loads(text) == data
    lines = key_lines(text)
    assert {key: lines[key] for key in expected} == expected


def test_line_of_something_inside() -> None:
    """What has no line of its own is on the line of the table around it."""
    assert line_of(("a", "missing"), {("a",): 3}) == 3
    assert line_of(("b",), {("a",): 3}) is None

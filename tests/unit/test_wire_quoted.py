"""Quoted-printable chunks and values."""

from __future__ import annotations

import quopri

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.wire.quoted import WIDTH, encode_chunk, encode_value, steady_encoder

NASTY = [
    ".",
    "..",
    ".\n",
    ".\n.\n",
    "\n.\n",
    "From here",
    "x\n.y\nFrom z",
    "Ä" * 300,
    "a=b",
    "=" * 200,
    "trailing \nspaces\t\nend ",
    "\r\nBcc: x\r\n",
    "a\rb",
    "\0",
    "\x7f",
    "x" * 75,
    "x" * 76,
    "x" * 74 + "=",
    "x" * 74 + ".y",
    "x" * 75 + ".y",
    "😀" * 40,
    "a" * 73 + "ä",
    " ",
    "\ud800",
    "\u2028",
]


def decoded(encoded: bytes) -> str:
    return quopri.decodestring(encoded).decode().replace("\r\n", "\n")


def expected(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()


def assert_legal(encoded: bytes) -> None:
    assert encoded.isascii()
    assert encoded.count(b"\n") == encoded.count(b"\r\n") == encoded.count(b"\r")
    for line in encoded.split(b"\r\n"):
        assert len(line) <= 76
        assert not line.startswith((b".", b"From "))
        assert not line.endswith((b" ", b"\t"))


@pytest.mark.parametrize("value", NASTY)
def test_value_comes_back(value: str) -> None:
    """An encoded value is legal quoted-printable in lines of its own, and decodes to itself."""
    encoded = encode_value(value)
    assert encoded.startswith(b"=\r\n")
    assert encoded.endswith(b"\r\n")
    assert_legal(encoded)
    assert decoded(encoded) == expected(value)


@pytest.mark.parametrize("text", NASTY)
def test_chunk_comes_back_at_any_column(text: str) -> None:
    """A chunk is legal behind a line of any length, and says where it ends."""
    for column in (0, 1, 60, 73, 74, 75):
        encoded, end = encode_chunk(text, column)
        before = b"x" * column
        assert_legal(before + encoded)
        assert decoded(before + encoded) == "x" * column + expected(text)
        assert end == len((before + encoded).rpartition(b"\n")[2]) <= WIDTH


def test_empty_value_is_nothing() -> None:
    """For an empty value nothing is written."""
    assert encode_value("") == b""


def test_fast_path_and_slow_path_agree() -> None:
    """A plain value of 75 characters and one of 76 differ in nothing but a line break."""
    assert encode_value("y" * 75).replace(b"=\r\n", b"") == b"y" * 75
    assert encode_value("y" * 76).replace(b"=\r\n", b"") == b"y" * 76


@settings(max_examples=150)
@given(st.lists(st.tuples(st.text(max_size=90), st.text(max_size=90)), max_size=5))
def test_chunks_and_values_in_a_row(parts: list[tuple[str, str]]) -> None:
    """Chunks and values joined are legal and decode to the text, whichever values are empty."""
    out, plain, column = [], "", 0
    for text, value in parts:
        chunk, column = encode_chunk(text, column)
        out += [chunk, encode_value(value)]
        plain += expected(text) + expected(value)
    last, _ = encode_chunk("|", column)
    joined = b"".join([*out, last])
    assert_legal(joined)
    assert decoded(joined) == plain + "|"


@given(
    start=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=200),
    tail=st.text("abcxyzABCXYZ0189-_", max_size=90),
)
def test_steady_encoder(start: str, tail: str) -> None:
    """What is wrapped in advance is what ``encode_value`` makes of the same text."""
    assert steady_encoder(start, len(tail))(start + tail) == encode_value(start + tail)

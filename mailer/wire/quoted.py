"""Quoted-printable (RFC 2045 §6.7) for text that has slots.

A body is made of chunks that are encoded once and of values that are encoded for each recipient. A chunk can't know
what stands next to it in a given message, so each is encoded for the worst case:

* a value stands between two soft line breaks, and nothing at all is written for an empty value; so a chunk is wrapped
  as if the values before it were empty, and any value only makes its first line shorter;
* the first character of a chunk may be the first of a line: a dot there is always ``=2E``, as at the start of every
  line, so that no message ever needs dot-stuffing (RFC 5321 §4.5.2);
* blanks at the end of a chunk may end up at the end of a line: they are always encoded.

Line ends of the text (``\\r\\n``, ``\\n`` or a lone ``\\r``) become CRLF. Unpaired surrogates become ``?``.
"""

from __future__ import annotations

import re
from binascii import b2a_qp
from collections.abc import Callable
from itertools import groupby

WIDTH = 75
"""Characters a line may hold beside the ``=`` of a soft line break: 76 in all."""

SOFT_BREAK = b"=\r\n"

_ENCODED = {byte: b"=%02X" % byte for byte in range(256)}
_UNSAFE = re.compile(rb"[^\t -<>-~]")
_NEWLINE = re.compile(r"\r\n?")
_SHORT = WIDTH // 3
"""Bytes that fit into a line even if each must be encoded."""

_FAST = re.compile(rf"(?!\.|From )[ -<>-~]{{1,{WIDTH}}}")


_PLAIN = re.compile(r"[ -<>-~]*[!-<>-~]")
"""Stands for itself, in one line or in several: a URL, most often."""


def encode_chunk(text: str, column: int) -> tuple[bytes, int]:
    """A static chunk that begins at ``column`` or left of it; gives its bytes and the column where it ends at most."""
    lines = _lines(text)
    out: list[bytes] = []
    for number, line in enumerate(lines):
        wrapped = _wrap(_encode_line(line), column if number == 0 else 0)
        out.append(SOFT_BREAK.join(wrapped))
        column = len(wrapped[-1]) + (column if number == 0 and len(wrapped) == 1 else 0)
    return b"\r\n".join(out), column


def encode_value(value: str) -> bytes:
    """A value with a soft line break on each side; nothing for an empty one."""
    if _FAST.fullmatch(value):
        return b"=\r\n%b=\r\n" % value.encode("ascii")
    if not value:
        return b""
    if _PLAIN.fullmatch(value):
        return b"=\r\n%b=\r\n" % SOFT_BREAK.join(_wrap(value.encode("ascii"), 0))
    if len(value) <= _SHORT and "\n" not in value and "\r" not in value:
        data = value.encode("utf-8", "replace")
        if len(data) <= _SHORT:
            return b"=\r\n%b=\r\n" % _guard(b2a_qp(data, istext=False))
    lines = [SOFT_BREAK.join(_wrap(_encode_line(line), 0)) for line in _lines(value)]
    end = SOFT_BREAK if lines[-1] else b""
    return SOFT_BREAK + b"\r\n".join(lines) + end


def steady_encoder(start: str, length: int) -> Callable[[str], bytes]:
    """``encode_value`` for ASCII texts that begin with ``start`` and go on with ``length`` letters, digits, ``-`` or
    ``_``: where such a text is wrapped is always the same, and found out once."""
    one, other = (encode_value(start + letter * length) for letter in "xy")
    template, parts, at = b"", [], len(start)
    for differs, run in groupby(zip(one, other, strict=True), lambda pair: pair[0] != pair[1]):
        same = bytes(pair[0] for pair in run)
        if differs:
            template += b"%b"
            parts.append(slice(at, at := at + len(same)))
        else:
            template += same.replace(b"%", b"%%")

    def encode(value: str) -> bytes:
        data = value.encode("ascii")
        return template % tuple([data[part] for part in parts])

    return encode


def _lines(text: str) -> list[bytes]:
    if "\r" in text:
        text = _NEWLINE.sub("\n", text)
    return text.encode("utf-8", "replace").split(b"\n")


def _encode_line(line: bytes) -> bytes:
    """Encodes all but line length and line starts; a blank at the end is encoded."""
    line = _UNSAFE.sub(lambda found: _ENCODED[found[0][0]], line)
    if line.endswith((b" ", b"\t")):
        line = line[:-1] + _ENCODED[line[-1]]
    return line


def _wrap(line: bytes, column: int) -> list[bytes]:
    """Cuts an encoded line so that the first part fits right of ``column`` and each other into a line of its own."""
    parts: list[bytes] = []
    rest = _guard(line)
    room = WIDTH - column
    while len(rest) > room:
        cut = room
        if b"=" in rest[max(cut - 2, 0) : cut]:
            cut = rest.rindex(b"=", 0, cut)
        parts.append(rest[:cut])
        rest = _guard(rest[cut:])
        room = WIDTH
    return [*parts, rest]


def _guard(line: bytes) -> bytes:
    """Nothing at the start of a line that SMTP (a dot) or mailbox files (``From``) give a meaning."""
    if line.startswith(b"."):
        return b"=2E" + line[1:]
    return b"=46" + line[1:] if line.startswith(b"From ") else line

"""A mail's bytes → header fields and decoded parts, for mails that keep no rule.

The standard library's parser is made for mails that are nearly right. Bounces are made by programs that lose blank
lines, boundaries and transfer encodings, and by attackers; so this one is small, never raises, and is bounded: bytes,
parts, depth. It runs in time linear in the input. Bodies of ``message/*`` parts are decoded as text and not parsed.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

Fields = tuple[tuple[str, str], ...]
"""Header fields in order: lower-case name, unfolded value."""

MAX_BYTES = 2 * 1024 * 1024
MAX_PARTS = 100
MAX_DEPTH = 8
MAX_FIELDS = 1000
MAX_FIELD = 20_000

_FIELD = re.compile(r"([!-9;-~]{1,100})[ \t]*:(.*)", re.DOTALL)
_MBOX_LINE = re.compile(r">?From[ \t]+[^\s:]")  # a null sender may be written as nothing
_PARAMETER = {
    name: re.compile(rf"[;\s]\s*{name}\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s;]+))", re.IGNORECASE)
    for name in ("boundary", "charset")
}
_KIND = re.compile(r"[\w.+-]{1,60}/\s?[\w.+*-]{1,60}")
_ENCODED_WORD = re.compile(r"=\?([\w.:-]{1,40})(?:\*[\w-]{1,20})?\?([bBqQ])\?([^?\s]{0,1000})\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)\s{1,20}(=\?)")
# Python's codecs that aren't a mail's charset; decoding the first two takes quadratic time.
_NO_CHARSETS = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"})
_CONTENT_FIELD = re.compile(r"content-(?:type|description|disposition|transfer-encoding)[ \t]*:", re.IGNORECASE)


_WHOLE = frozenset({"received", "message-id", "return-path", "from", "to", "subject", "date"})
_LONG = frozenset(
    {"received", "x-received", "received-spf", "authentication-results", "dkim-signature", "content-type"}
)
_FOLDS = 8  # lines


@dataclass(frozen=True, slots=True)
class Part:
    """``kind`` is the lower-case media type; ``text`` the decoded body of a leaf, empty for a multipart."""

    kind: str
    fields: Fields
    text: str = ""
    children: tuple[Part, ...] = ()

    def leaves(self) -> Iterator[Part]:
        """The parts that hold something, in reading order."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()


def first(fields: Fields, name: str) -> str:
    """The first value of a field, stripped; empty where there is none. ``name`` in lower case."""
    return next((value for key, value in fields if key == name), "")


def every(fields: Fields, name: str) -> list[str]:
    """All values of a field, in order."""
    return [value for key, value in fields if key == name]


def read_mail(raw: bytes | str) -> Part:
    """The mail as a tree of parts. Bytes past ``MAX_BYTES``, parts past ``MAX_PARTS`` and depth are left out."""
    return _Reader().mail(_lines(raw))


def read_fields(text: str) -> Fields:
    """The header fields at the beginning of a text, such as a returned message; blank lines before them are skipped."""
    return _split_header(text.split("\n"))[0]


def decode_words(value: str) -> str:
    """RFC 2047 encoded words in a field's value, decoded, and cut at ``MAX_FIELD``; what is no such word stays."""
    value = value[:MAX_FIELD]
    if "=?" not in value:
        return value
    return _ENCODED_WORD.sub(_decode_word, _BETWEEN_WORDS.sub(r"\1\2", value))


def decode_text(data: bytes, charset: str) -> str:
    """Bytes as text: in the charset named if that is possible, else UTF-8, else Latin-1."""
    for name in (charset, "utf-8"):
        try:
            if codecs.lookup(name or "utf-8").name.replace("-", "_") not in _NO_CHARSETS:
                return data.decode(name or "utf-8")
        except (LookupError, ValueError):  # UnicodeDecodeError is a ValueError; so is a NUL in the name
            continue
    return data.decode("latin-1")


def _lines(raw: bytes | str) -> list[str]:
    data = raw.encode("utf-8", "replace") if isinstance(raw, str) else bytes(raw)
    data = data[:MAX_BYTES].removeprefix(b"\xef\xbb\xbf")
    for end in (b"\r\r\n", b"\r\n", b"\r"):
        data = data.replace(end, b"\n")
    # Latin-1 keeps each byte as one character until the charset of its part is known.
    return data.decode("latin-1").split("\n")


def _split_header(lines: list[str]) -> tuple[Fields, list[str]]:
    """Fields and body. A line that can't be a field ends the header, with or without a blank line."""
    start = 0
    while start < len(lines) and (not lines[start].strip() or _MBOX_LINE.match(lines[start])):
        start += 1
    found: list[tuple[str, list[str]]] = []
    at = start
    for at in range(start, len(lines) + 1):
        if at == len(lines) or not lines[at].strip():
            break
        line = lines[at]
        if line[0] in " \t" and found:
            found[-1][1].append(line)
        elif (field := _FIELD.match(line)) and len(found) < MAX_FIELDS:
            found.append((field[1].lower(), [field[2]]))
        elif _MBOX_LINE.match(line):
            continue
        elif found and found[-1][0] in _LONG and _goes_on(lines, at + 1):
            found[-1][1].append(line)  # it was folded, and whoever passed the mail on lost the blanks
        else:
            break
    body = at + 1 if at < len(lines) and not lines[at].strip() else at
    if not found:
        return (), lines
    return tuple((name, _unfold(pieces)) for name, pieces in found), lines[body:]


def _goes_on(lines: list[str], at: int) -> bool:
    """Whether a field that every header has stands in the next lines of this paragraph."""
    for line in lines[at : at + _FOLDS]:
        if not line.strip():
            return False
        if (field := _FIELD.match(line)) and field[1].lower() in _WHOLE:
            return True
    return False


def _unfold(pieces: list[str]) -> str:
    value = " ".join(piece.strip() for piece in pieces).strip()
    if value.isascii():
        return value
    try:  # RFC 6532: UTF-8 in a header
        return value.encode("latin-1").decode("utf-8")
    except ValueError:
        return value


def _parameter(value: str, name: str) -> str:
    found = _PARAMETER[name].search(value)
    return (found[1] or found[2] or found[3] or "").strip() if found else ""


def _kind(fields: Fields) -> str:
    found = _KIND.match(first(fields, "content-type").strip().lower())
    return found[0].replace(" ", "") if found else ""


def _leaf(kind: str, fields: Fields, lines: list[str]) -> Part:
    encoding = first(fields, "content-transfer-encoding").strip().lower()
    data = "\n".join(lines).encode("latin-1", "replace")
    if encoding.startswith("base64"):
        data = _unbase64(data)
    elif encoding.startswith("quoted"):
        data = quopri.decodestring(data)
    charset = _parameter(first(fields, "content-type"), "charset")
    text = decode_text(data, charset).replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    return Part(kind or "text/plain", fields, text)


def _unbase64(data: bytes) -> bytes:
    """Decoded; what isn't base64 after all, as it is: some mailers name an encoding and don't use it."""
    packed = b"".join(data.split())
    if re.search(rb"[^A-Za-z0-9+/=_-]", packed[:4000]):
        return data
    try:
        return base64.b64decode(packed + b"===")
    except (binascii.Error, ValueError):
        return data


def _decode_word(found: re.Match[str]) -> str:
    payload = found[3].encode("latin-1", "replace")
    data = _unbase64(payload) if found[2] in "bB" else quopri.decodestring(payload.replace(b"_", b" "))
    return decode_text(data, found[1])


class _Reader:
    """Counts the parts of one mail while it is read."""

    def __init__(self) -> None:
        self.parts = 0

    def mail(self, lines: list[str]) -> Part:
        fields, body = _split_header(lines)
        return self.part(fields, body, 0)

    def part(self, fields: Fields, body: list[str], depth: int) -> Part:
        self.parts += 1
        kind = _kind(fields)
        if depth < MAX_DEPTH and (kind.startswith("multipart/") or (depth == 0 and kind in ("", "text/plain"))):
            boundary = self._boundary(fields, body, certain=not kind.startswith("multipart/"))
            children = self._children(body, boundary, depth) if boundary else ()
            if children:
                return Part(kind, fields, "", children)
        return _leaf("text/plain" if kind.startswith("multipart/") else kind, fields, body)

    def _boundary(self, fields: Fields, body: list[str], *, certain: bool) -> str:
        """The boundary that the body is really cut with: the one named, or the first line that looks like one."""
        named = _parameter(first(fields, "content-type"), "boundary")
        if named and any(line.startswith("--" + named) for line in body):
            return named
        for line, following in pairwise(body):
            if line.startswith("--") and len(line) > 4 and _CONTENT_FIELD.match(following):
                return line[2:].rstrip()
            if certain and line.strip() and not line.startswith("--") and not line.startswith("This is a multi"):
                return ""
        return ""

    def _children(self, body: list[str], boundary: str, depth: int) -> tuple[Part, ...]:
        mark = "--" + boundary
        pieces: list[list[str]] = [[]]
        for line in body:
            tail = line[len(mark) :].strip() if line.startswith(mark) else None
            if tail in ("", "--"):
                pieces.append([])
            else:
                pieces[-1].append(line)
        children = []
        # What stands before the first boundary is for readers without MIME, unless it is all there is to read.
        preamble, epilogue = pieces[0], pieces[-1]
        for piece in pieces[1:]:
            if self.parts >= MAX_PARTS:
                break
            if piece is epilogue and len(pieces) > 2 and not any(line.strip() for line in piece):
                continue
            fields, rest = _split_header(piece) if piece and piece[0].strip() else ((), piece)
            if len({name for name, _ in fields} & _WHOLE) > 2:
                # A message pasted in without a header of its own for the part.
                self.parts += 1
                children.append(_leaf("message/rfc822", (), piece))
            else:
                children.append(self.part(fields, rest, depth + 1))
        if children and sum(map(len, preamble)) > 200 and self.parts < MAX_PARTS:
            self.parts += 1
            children.append(_leaf("text/x-preamble", (), preamble))
        return tuple(children)

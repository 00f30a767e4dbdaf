"""A compiled issue: what compilation makes once and every worker splices for each recipient.

It is a value of plain data, so its canonical JSON is its identity: the SHA-256 of that JSON names the artefact in the
store, and equal input gives the equal artefact.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

FORMAT = 1
"""Version of the artefact's JSON. A reader refuses one it doesn't know."""


class Escape(StrEnum):
    """Where a slot stands, and so how its value must be escaped."""

    TEXT = "text"  # HTML text
    ATTRIBUTE = "attribute"  # an HTML attribute that isn't a URL
    URL = "url"  # a whole URL, or the beginning of one, in an HTML attribute
    URL_PART = "url-part"  # inside a URL in an HTML attribute: percent-encoded
    HEADER = "header"  # a header's text, before RFC 2047
    PLAIN = "plain"  # the text part


@dataclass(frozen=True, slots=True)
class Slot:
    """A recipient-scope expression (Jinja2 source without braces) and where its value goes."""

    expression: str
    escape: Escape


@dataclass(frozen=True, slots=True)
class Branch:
    """One ``if`` or ``elif`` of a choice."""

    condition: str
    pieces: Pieces


@dataclass(frozen=True, slots=True)
class Choice:
    """``{% if %} … {% elif %} … {% else %}`` in recipient scope: the first true branch, else ``otherwise``."""

    branches: tuple[Branch, ...]
    otherwise: Pieces = ()


Piece = str | Slot | Choice
Pieces = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class CompiledIssue:
    """One issue, compiled. Texts are Unicode with ``\\n`` line ends and are not yet transfer-encoded.

    ``sender`` and ``reply_to`` are header texts such as ``Name <name@example.com>`` (``reply_to`` may be empty).
    ``language`` is a BCP 47 tag, ``country`` an ISO 3166 code or empty: filters of slots format by them.
    """

    slug: str
    title: str
    language: str
    country: str
    timezone: str
    date: str  # ISO 8601, the issue's date
    sender: str
    reply_to: str
    subject: Pieces
    text: Pieces
    html: Pieces
    word_count: int
    reading_minutes: int

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, UTF-8 kept."""
        data = {name: getattr(self, name) for name in self.__slots__}
        for name in ("subject", "text", "html"):
            data[name] = [_dump(piece) for piece in data[name]]
        return json.dumps({"format": FORMAT, **data}, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> CompiledIssue:
        """The inverse of ``to_json``. Raises ``ValueError`` for a format this version doesn't know."""
        data = json.loads(text)
        if data.pop("format", None) != FORMAT:
            raise ValueError("compiled by another version of mailer")
        for name in ("subject", "text", "html"):
            data[name] = tuple(_load(piece) for piece in data[name])
        return cls(**data)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def slots_of(pieces: Pieces) -> Iterator[Slot]:
    """Every slot in the pieces, those inside choices included, in order."""
    for piece in pieces:
        match piece:
            case Slot():
                yield piece
            case Choice():
                for branch in piece.branches:
                    yield from slots_of(branch.pieces)
                yield from slots_of(piece.otherwise)


def _dump(piece: Piece) -> Any:
    match piece:
        case str():
            return piece
        case Slot():
            return {"slot": piece.expression, "escape": piece.escape.value}
        case Choice():
            branches = [{"if": b.condition, "then": [_dump(p) for p in b.pieces]} for b in piece.branches]
            return {"choice": branches, "else": [_dump(p) for p in piece.otherwise]}


def _load(data: Any) -> Piece:
    if isinstance(data, str):
        return data
    if "slot" in data:
        return Slot(data["slot"], Escape(data["escape"]))
    branches = tuple(Branch(b["if"], tuple(_load(p) for p in b["then"])) for b in data["choice"])
    return Choice(branches, tuple(_load(p) for p in data["else"]))

"""Pieces of a compiled issue, prepared for splicing: static bytes encoded once, slots and conditions as callables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from mailer.expressions.escape import escape
from mailer.expressions.evaluate import evaluator
from mailer.expressions.locale import Locale
from mailer.model.compiled import Choice, Escape, Piece, Pieces, Slot
from mailer.wire.links import LINKS, Link, Shape
from mailer.wire.quoted import WIDTH, encode_chunk, encode_value, steady_encoder

_HARMLESS = re.compile(r"https://[A-Za-z0-9\-._~/?%:@+,;=]*")
"""URLs that mean the same in HTML, in an attribute and as text."""

_FOR_URLS = (Escape.TEXT, Escape.ATTRIBUTE, Escape.URL, Escape.PLAIN)
"""Where such a URL stands as it is."""

NO_SHAPES: Mapping[Link, Shape] = {}

Scope = Mapping[str, object]
"""What an expression may name: ``subscriber`` and ``links``."""

Evaluate = Callable[[Scope], object]
Fill = Callable[[Scope], bytes]


@dataclass(frozen=True, slots=True)
class Select:
    """A condition with its prepared branches, the first true one counts; the last has no condition."""

    branches: tuple[tuple[Evaluate, Program], ...]
    otherwise: Program


Step = bytes | Fill | Select
Program = tuple[Step, ...]


class Preparer:
    """Prepares the pieces of one issue. Equal slots share one ``Fill``, so that each is made once a message.

    ``shapes``: what links look like whose URLs no escape changes; a slot that is one needn't be escaped and wrapped.
    """

    def __init__(self, locale: Locale, shapes: Mapping[Link, Shape] = NO_SHAPES) -> None:
        self._locale = locale
        self._links = {
            f"links.{name}": _make_link_fill(name, shape)
            for name, shape in shapes.items()
            if _HARMLESS.fullmatch(shape.start)
        }
        self._fills: dict[tuple[str, Escape], Fill] = {}

    def body(self, pieces: Pieces) -> Program:
        """A part's body: quoted-printable, CRLF. A final line end is added where there is none."""
        if not (pieces and isinstance(pieces[-1], str) and pieces[-1].endswith(("\n", "\r"))):
            pieces = (*pieces, "\n")
        return self._encoded(pieces, 0)[0]

    def text(self, pieces: Pieces) -> str | Callable[[Scope], str]:
        """Text that is encoded as a whole, such as a subject: a string when it is the same for everyone."""
        merged = tuple(_merged(pieces))
        if not any(not isinstance(piece, str) for piece in merged):
            return "".join(str(piece) for piece in merged)
        return self._text(merged)

    def _text(self, pieces: Pieces) -> Callable[[Scope], str]:
        parts = [self._text_piece(piece) for piece in pieces]
        return lambda scope: "".join([part if isinstance(part, str) else part(scope) for part in parts])

    def _text_piece(self, piece: Piece) -> str | Callable[[Scope], str]:
        if isinstance(piece, str):
            return piece
        if isinstance(piece, Slot):
            evaluate, how = self._evaluate(piece.expression), piece.escape
            return lambda scope: escape(evaluate(scope), how)
        branches = [(self._evaluate(branch.condition), self._text(branch.pieces)) for branch in piece.branches]
        otherwise = self._text(piece.otherwise)
        return lambda scope: next((text for condition, text in branches if condition(scope)), otherwise)(scope)

    def _encoded(self, pieces: Pieces, column: int) -> tuple[Program, int]:
        steps: list[Step] = []
        for piece in _merged(pieces):
            if isinstance(piece, str):
                chunk, column = encode_chunk(piece, column)
                steps.append(chunk)
            elif isinstance(piece, Slot):
                steps.append(self._fill(piece))
            else:
                select, column = self._select(piece, column)
                steps.append(select)
        return tuple(steps), column

    def _select(self, choice: Choice, column: int) -> tuple[Select, int]:
        otherwise, furthest = self._encoded(choice.otherwise, column)
        branches: list[tuple[Evaluate, Program]] = []
        for branch in choice.branches:
            program, end = self._encoded(branch.pieces, column)
            branches.append((self._evaluate(branch.condition), program))
            furthest = max(furthest, end)
        return Select(tuple(branches), otherwise), furthest

    def _fill(self, slot: Slot) -> Fill:
        if slot.escape in _FOR_URLS and (link := self._links.get(slot.expression)):
            return link
        key = (slot.expression, slot.escape)
        if key not in self._fills:
            self._fills[key] = _make_fill(self._evaluate(slot.expression), slot.escape)
        return self._fills[key]

    def _evaluate(self, source: str) -> Evaluate:
        return evaluator(source, self._locale)


def splice(program: Program, scope: Scope, out: list[bytes], made: dict[Fill, bytes]) -> None:
    """Appends a program's bytes for one recipient, in order. ``made`` holds this recipient's values so far."""
    append = out.append
    for step in program:
        if isinstance(step, bytes):
            append(step)
        elif isinstance(step, Select):
            for condition, branch in step.branches:
                if condition(scope):
                    splice(branch, scope, out, made)
                    break
            else:
                splice(step.otherwise, scope, out, made)
        else:
            value = made.get(step)
            if value is None:
                value = made[step] = step(scope)
            append(value)


def links_named(*texts: Pieces) -> tuple[Link, ...]:
    """Which links the expressions and conditions of these pieces may name."""
    sources = " ".join(source for pieces in texts for source in _sources(pieces))
    return tuple(name for name in LINKS if re.search(rf"\b{name}\b", sources))


def _sources(pieces: Pieces) -> Iterator[str]:
    for piece in pieces:
        if isinstance(piece, Slot):
            yield piece.expression
        elif isinstance(piece, Choice):
            for branch in piece.branches:
                yield branch.condition
                yield from _sources(branch.pieces)
            yield from _sources(piece.otherwise)


def _make_link_fill(name: Link, shape: Shape) -> Fill:
    encode = steady_encoder(shape.start, shape.length)

    def fill(scope: Scope) -> bytes:
        return encode(scope["links"][name])  # type: ignore[index]

    return fill


def _make_fill(evaluate: Evaluate, how: Escape) -> Fill:
    may_be_plain, may_be_url = how is not Escape.URL, how in _FOR_URLS

    def fill(scope: Scope) -> bytes:
        value = evaluate(scope)
        if type(value) is str:
            if may_be_plain and value.isalnum() and value.isascii() and len(value) <= WIDTH:
                return b"=\r\n%b=\r\n" % value.encode("ascii")  # what the two below would make of it: most names
            if may_be_url and value[:8] == "https://" and (found := _encoded_url(value)) is not None:
                return found
        return encode_value(escape(value, how))

    return fill


@lru_cache(maxsize=256)
def _encoded_url(url: str) -> bytes | None:
    """A URL that no escape changes, encoded; None for any other. Each link of a message stands there several times."""
    return encode_value(url) if _HARMLESS.fullmatch(url) else None


def _merged(pieces: Pieces) -> Iterator[Piece]:
    """The pieces with neighbouring strings joined and empty ones left out."""
    run: list[str] = []
    for piece in pieces:
        if isinstance(piece, str):
            run.append(piece)
            continue
        if text := "".join(run):
            yield text
        run = []
        yield piece
    if text := "".join(run):
        yield text

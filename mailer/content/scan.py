"""One line of an issue: which parts are text, which ``{{ … }}``, ``{% … %}`` or ``{# … #}``.

An expression and a statement end on the line where they begin; a comment may go on. A ``-`` next to the braces takes
the blanks beside them away, as in Jinja2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailer.expressions.names import ROOTS


@dataclass(frozen=True, slots=True)
class Text:
    """Text, as it stands."""

    text: str


@dataclass(frozen=True, slots=True)
class Output:
    """``{{ source }}``."""

    source: str


@dataclass(frozen=True, slots=True)
class Statement:
    """``{% keyword rest %}``."""

    keyword: str
    rest: str = ""


Segment = Text | Output | Statement


@dataclass(frozen=True, slots=True)
class Scanned:
    """A line's segments. ``open_comment``: the next line begins inside a comment; ``comment``: this one has some.

    ``problem`` is what is wrong with the braces, and what to do about it.
    """

    segments: tuple[Segment, ...]
    open_comment: bool = False
    comment: bool = False
    problem: tuple[str, str] | None = None

    @property
    def alone(self) -> Statement | None:
        """The statement that stands alone on the line, if one does."""
        solid = [segment for segment in self.segments if not (isinstance(segment, Text) and not segment.text.strip())]
        return solid[0] if len(solid) == 1 and isinstance(solid[0], Statement) else None


_OPENING = re.compile(r"\{\{|\{%|\{#")
_CLOSER = {"{{": "}}", "{%": "%}"}
_HOP = re.compile(r"\\.|[\"']|\}\}|%\}|\{\{|\{%", re.DOTALL)
_MARKERS = re.compile(r"\A[-+]|[-+]\Z")
_STATEMENT = re.compile(r"(\w+)\s*(.*)", re.DOTALL)
_ONE_BRACE = re.compile(rf"\{{\s*(?:{'|'.join(ROOTS)})\.\w+[^{{}}]{{0,40}}")


def scan(line: str, in_comment: bool = False) -> Scanned:
    """The segments of a line. ``in_comment``: an earlier line has opened a comment that isn't closed yet."""
    segments: list[Segment] = []
    problem: tuple[str, str] | None = None
    commented = comment = in_comment
    position, trim = 0, False
    while True:
        if commented:
            end = line.find("#}", position)
            if end < 0:
                return Scanned(tuple(segments), True, True, problem)
            position, commented = end + 2, False
        found = _OPENING.search(line, position)
        text = line[position : found.start()] if found else line[position:]
        problem = problem or _one_brace(text)
        text = text.lstrip() if trim else text
        trim = False
        if found and line.startswith("-", found.end()) and found.group() != "{#":
            text = text.rstrip()
        if text:
            segments.append(Text(text))
        if found is None:
            return Scanned(tuple(segments), False, comment, problem)
        position = found.end()
        if found.group() == "{#":
            commented = comment = True
            continue
        end, whole = _find(line, position, _CLOSER[found.group()])
        inside = line[position:end]
        if not whole:
            problem = problem or _unclosed(found.group(), inside)
        segments.append(_segment(found.group(), inside, whole=whole))
        position, trim = end + 2 * whole, whole and inside.endswith("-")


def _segment(opening: str, inside: str, *, whole: bool) -> Segment:
    source = _MARKERS.sub("", inside).strip()
    if opening == "{{":
        return Output(source) if whole else Text("")
    found = _STATEMENT.match(source)
    keyword, rest = found.groups() if found else (source, "")
    # A statement that isn't closed is a problem already: what it would do is kept, so that its endif isn't another.
    return Statement(keyword, rest) if whole else Statement(keyword, "true" if keyword == "if" else "")


def _find(line: str, position: int, closer: str) -> tuple[int, bool]:
    """Where the closing braces stand that aren't inside a text literal, and True.

    Without any before other braces open: where those do, or the line's end, and False.
    """
    quote = ""
    for hop in _HOP.finditer(line, position):
        mark = hop.group()
        if quote:
            quote = "" if mark == quote else quote
        elif mark in ("'", '"'):
            quote = mark
        elif mark == closer:
            return hop.start(), True
        elif mark in _CLOSER:
            return hop.start(), False
    end = line.find(closer, position)
    return (end, True) if end >= 0 else (len(line), False)


def _unclosed(opening: str, inside: str) -> tuple[str, str]:
    shown = inside.strip()[:40]
    closer = _CLOSER[opening]
    return f"'{opening} {shown}' is never closed on its line", f"Write {opening} … {closer}, on one line."


def _one_brace(text: str) -> tuple[str, str] | None:
    found = _ONE_BRACE.search(text)
    if found is None:
        return None
    inside = found.group().lstrip("{ ").rstrip()
    return f"'{found.group().strip()}' has one brace only", f"Write {{{{ {inside} }}}}."

"""Where in an HTML document each token stands, and so how its value must be escaped.

The scanner knows as much HTML as the question needs: tags, attributes, comments, raw text. MSO's conditional comments
(``<!--[if mso]> … <![endif]-->``) hold HTML for Outlook, so tokens count inside them as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from mailer.content.tokens import PATTERN
from mailer.errors import CompileError
from mailer.model.compiled import Escape

KeywordOf = Callable[[str], str | None]
"""Of a control token: ``if``, ``elif``, ``else`` or ``endif``. None for one that stands for a value."""

URL_ATTRIBUTES = {
    "href",
    "src",
    "action",
    "background",
    "cite",
    "poster",
    "formaction",
    "longdesc",
    "data",
    "xlink:href",
}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}

_MARKUP = re.compile(r"<!--(?P<comment>.*?)-->|<![^>]*>|<(?P<close>/?)(?P<name>[a-zA-Z][^\s/>]*)", re.DOTALL)
_ATTRIBUTE = re.compile(r"(?P<name>[^\s=>/\"']+)(?:\s*=\s*(?:\"(?P<d>[^\"]*)\"|'(?P<s>[^']*)'|(?P<u>[^\s>\"']+)))?")
_CONDITIONAL_COMMENT = re.compile(r"\[if [^\]]*\]>(?!<!)(?P<inner>.*?)(?:<!\[endif\])?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mark:
    """One token in the HTML. ``start`` and ``end`` are what it takes the place of (a control's own comment included).

    ``place`` is equal for tokens that stand in the same attribute, the same MSO comment, or the text; ``inside`` are
    the names of the elements that are open there. ``url`` is what precedes it in the same URL.
    """

    token: str
    start: int
    end: int
    escape: Escape
    place: int
    inside: tuple[str, ...]
    url: str = ""


def find_tokens(html: str, keyword_of: KeywordOf) -> list[Mark]:
    """Every token of an HTML document in order. Raises ``CompileError`` for one where no value may stand."""
    marks = list(_scan(html, 0, len(html), 0, keyword_of))
    if len(marks) != len(PATTERN.findall(html)):
        seen = {mark.token for mark in marks}
        lost = next((found for found in PATTERN.finditer(html) if found.group() not in seen), None)
        raise _misplaced(html, lost.start() if lost else 0, "where HTML allows no value")
    return marks


def _scan(html: str, start: int, end: int, place: int, keyword_of: KeywordOf) -> Iterator[Mark]:
    inside: tuple[str, ...] = ()
    position = start
    while position < end:
        found = _MARKUP.search(html, position, end)
        stop = found.start() if found else end
        for token in PATTERN.finditer(html, position, stop):
            yield Mark(token.group(), token.start(), token.end(), Escape.TEXT, place, inside)
        if found is None:
            return
        position = found.end()
        if found.group("comment") is not None:
            yield from _comment(html, found, place, inside, keyword_of)
        elif name := found.group("name"):
            position, closed = yield from _attributes(html, position, end, inside, keyword_of)
            inside = _nest(inside, name.lower(), bool(found.group("close")), closed)
            if not found.group("close") and name.lower() in ("style", "script"):
                position = _raw_text(html, position, end, name)
                inside = inside[:-1]


def _nest(inside: tuple[str, ...], name: str, closes: bool, closed: bool) -> tuple[str, ...]:
    if not closes:
        return inside if closed or name in VOID else (*inside, name)
    for index in range(len(inside) - 1, -1, -1):
        if inside[index] == name:
            return inside[:index]
    return inside


def _comment(
    html: str, found: re.Match[str], place: int, inside: tuple[str, ...], keyword_of: KeywordOf
) -> Iterator[Mark]:
    body = found.group("comment")
    if PATTERN.fullmatch(body):
        if keyword_of(body) is None:
            raise _misplaced(html, found.start(), "in a comment")
        yield Mark(body, found.start(), found.end(), Escape.TEXT, place, inside)
    elif conditional := _CONDITIONAL_COMMENT.match(body):
        offset = found.start("comment")
        first, last = conditional.span("inner")
        yield from _scan(html, offset + first, offset + last, found.start() + 1, keyword_of)
    elif PATTERN.search(body):
        raise _misplaced(html, found.start(), "in a comment")


def _attributes(
    html: str, position: int, end: int, inside: tuple[str, ...], keyword_of: KeywordOf
) -> Generator[Mark, None, tuple[int, bool]]:
    """Yields the tokens in a tag's attributes; returns where the tag ends, and whether it closes itself."""
    closed = False
    while position < end:
        if html[position] == ">":
            return position + 1, closed
        closed = html[position] == "/"
        found = _ATTRIBUTE.match(html, position, end)
        if found is None:
            position += 1
            continue
        position = found.end()
        if PATTERN.search(found.group("name")):
            raise _misplaced(html, found.start(), "inside a tag, outside any attribute's value")
        if found.group("u") is not None and PATTERN.search(found.group("u")):
            raise _misplaced(html, found.start(), "in an attribute's value without quotation marks")
        group = "d" if found.group("d") is not None else "s"
        if found.group(group):
            yield from _value(found.group("name").lower(), found.group(group), found.start(group), inside, keyword_of)
    return end, closed


def _value(name: str, value: str, offset: int, inside: tuple[str, ...], keyword_of: KeywordOf) -> Iterator[Mark]:
    """Tokens in one attribute. In a URL it matters whether anything can precede the token on the way through the
    conditions: only a value that always begins the URL may bring its own scheme."""
    is_url = name in URL_ATTRIBUTES
    begins, last = True, 0
    opened: list[tuple[bool, list[bool]]] = []
    for token in PATTERN.finditer(value):
        begins = begins and not value[last : token.start()].strip()
        last = token.end()
        escape = Escape.ATTRIBUTE if not is_url else Escape.URL if begins else Escape.URL_PART
        start = offset + token.start()
        before = PATTERN.sub("", value[: token.start()]) if is_url else ""
        yield Mark(token.group(), start, offset + last, escape, offset, inside, before)
        match keyword_of(token.group()):
            case None:
                begins = False
            case "if":
                opened.append((begins, []))
            case "endif" if opened:
                _, ends = opened.pop()
                begins = begins and all(ends)
            case _ if opened:
                opened[-1][1].append(begins)
                begins = opened[-1][0]


def _raw_text(html: str, position: int, end: int, name: str) -> int:
    found = re.compile(rf"</{name}\s*>", re.IGNORECASE).search(html, position, end)
    stop = found.start() if found else end
    if token := PATTERN.search(html, position, stop):
        raise _misplaced(html, token.start(), f"inside <{name}>")
    return found.end() if found else end


def _misplaced(html: str, position: int, where: str) -> CompileError:
    around = " ".join(PATTERN.sub("{{ … }}", html[max(0, position - 40) : position + 80]).split())
    return CompileError(
        f"An expression stands {where}",
        todo=f"Move it into text or into an attribute's value in quotation marks. It stands near: {around}",
    )

"""Addresses: where an issue's links lead and its pictures come from must be known by the time it is checked.

An address that begins with an expression is judged when the expression's value is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from mailer.content.document import Control, Node
from mailer.content.draft import Draft
from mailer.content.markdown import proses, spans
from mailer.content.tokens import PATTERN
from mailer.expressions.escape import SCHEME

ADDRESSES = ("href", "src")
"""A block's attributes that hold an address."""

_WEB = re.compile(r"https?://", re.IGNORECASE)


def check_links(nodes: tuple[Node, ...], draft: Draft) -> None:
    """Notes the links and pictures of the Markdown that lead nowhere.

    Where the line has another problem already, that may be why an address is missing.
    """
    lines = {problem.line for problem in draft.problems}
    for prose in proses(nodes):
        for span, line in spans(prose):
            key = {"link_open": "href", "image": "src"}.get(span.type)
            if key and ((url := str(span.attrs.get(key, ""))) or line not in lines):
                check_address(key, url, line, draft)


def check_address(key: str, url: str, line: int, draft: Draft) -> None:
    """Notes what is wrong with the address of a link (``href``) or of a picture (``src``)."""
    name = "picture" if key == "src" else "link"
    for beginning in _beginnings(url, draft):
        if not beginning:
            what = f"This {name} has no address"
            if PATTERN.search(url):
                what += " where its condition doesn't hold"
            draft.problem(what, line, "Write where it is: https://…")
        elif not (_WEB if key == "src" else SCHEME).match(beginning):
            shown = PATTERN.sub("…", unquote(url).strip())[:60]
            draft.problem(f"'{shown}' is no address that a {name} can have", line, _better(name, shown))


def _better(name: str, url: str) -> str:
    if url.lower().startswith("www."):
        return f"Write https://{url}."
    if name == "picture":
        return "A picture's begins with https://."
    if re.fullmatch(r"[^\s:/@]+@[^\s:/@]+", url):
        return f"Write mailto:{url}."
    return "A link's begins with https://, mailto: or tel:."


def _beginnings(url: str, draft: Draft) -> Iterator[str]:
    """The texts that the address may begin with, one for each way through its conditions."""
    begins, last = True, 0
    opened: list[tuple[bool, list[bool]]] = []
    for token in PATTERN.finditer(url):
        text = url[last : token.start()].strip()
        last = token.end()
        if begins and text:
            yield text
        begins = begins and not text
        entry = draft.tokens.get(token.group())
        match entry.keyword if isinstance(entry, Control) else "":
            case "if":
                # The first of the ways out is the one past all branches; an else closes it.
                opened.append((begins, [begins]))
            case "elif" | "else" as keyword if opened:
                before, ways = opened[-1]
                ways.append(begins)
                ways[0] = ways[0] and keyword == "elif"
                begins = before
            case "endif" if opened:
                begins = begins or any(opened.pop()[1])
            case _:
                begins = False
    if begins:
        yield url[last:].strip()

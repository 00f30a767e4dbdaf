"""Markdown as issues use it: CommonMark, tables and strikethrough; HTML in it is text."""

from __future__ import annotations

from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

LINKS_ONLY = "links"
"""Class of a paragraph that holds nothing but links and what separates them: an item's sources."""

TABLE, CELL = "grid", "cell"
"""Classes of a Markdown table and its cells, to tell them from the tables that MJML draws."""


def parse(markdown: str) -> list[Token]:
    """The block tokens of a text."""
    return _MARKDOWN.parse(markdown)


def to_html(markdown: str) -> str:
    """HTML (as XHTML, which MJML wants) of a text."""
    return str(_MARKDOWN.render(markdown)).strip()


def to_inline_html(markdown: str) -> str:
    """HTML of a text without blocks: one line, no paragraph around it."""
    return str(_MARKDOWN.renderInline(markdown)).strip()


def is_links_only(children: Sequence[Token]) -> bool:
    """Whether inline content is links with nothing but signs (``|``, an emoji) before and between them."""
    depth, links = 0, 0
    for child in children:
        if child.type == "link_open":
            depth, links = depth + 1, links + 1
        elif child.type == "link_close":
            depth -= 1
        elif depth == 0 and (child.type not in ("text", "softbreak") or any(sign.isalnum() for sign in child.content)):
            return False
    return links > 0


def _classify(state: StateCore) -> None:
    """Classes that the layout's CSS is written for."""
    for token in state.tokens:
        if token.type == "table_open":
            token.attrSet("class", TABLE)
        elif token.type == "td_open":
            token.attrSet("class", CELL)
    for before, token in zip(state.tokens, state.tokens[1:], strict=False):
        if before.type == "paragraph_open" and token.type == "inline" and is_links_only(token.children or ()):
            before.attrSet("class", LINKS_ONLY)


def _markdown() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "xhtmlOut": True}).enable(["table", "strikethrough"])
    made.core.ruler.push("classify", _classify)
    return made


_MARKDOWN = _markdown()

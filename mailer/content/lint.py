"""What isn't wrong in an issue but is likely to be regretted: warnings for an editor."""

from __future__ import annotations

import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

from mailer.content.document import Block, Conditional, Document, Node, Prose
from mailer.content.tokens import PATTERN
from mailer.errors import Problem

SUBJECT_SHORT, SUBJECT_LONG = 78, 150
"""Characters of a subject that a mail program on a desk usually shows, and that none does."""

NEEDS_ALT = ("image", "chart")
"""Blocks that draw a picture."""

_TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9]*(?:\s[^<>]*)?/?>")
# Where an expression stood is a letter to Markdown, and between a letter and a quotation mark ** opens no emphasis.
_LOST_EMPHASIS = re.compile(rf"{PATTERN.pattern}[*_]|[*_]{PATTERN.pattern}")

NO_MARKDOWN = ("code", "html")
"""Blocks whose body isn't Markdown."""

_URL_KEYS = ("href", "src", "url")
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])

Finding = tuple[str, int, str]
"""What, in which line, what to do."""


def warnings(document: Document) -> list[Problem]:
    """The warnings about a document, in the order of their lines."""
    found = [*_front(document), *_nodes(document.nodes), *_headings(document)]
    ordered = sorted(found, key=lambda finding: finding[1])
    return [Problem(what, document.file, line, todo, "warning") for what, line, todo in ordered]


def _front(document: Document) -> Iterator[Finding]:
    length = len(PATTERN.sub("", document.front.subject))
    if length > SUBJECT_LONG:
        yield f"The subject has {length} characters", 1, f"Nobody sees more than {SUBJECT_LONG}. Shorten it."
    elif length > SUBJECT_SHORT:
        yield f"The subject has {length} characters", 1, f"Many mail programs show only {SUBJECT_SHORT}."
    if not document.front.preheader:
        yield "The issue has no preheader", 1, "Add preheader: with a sentence that is shown beside the subject."
    if not document.nodes:
        yield "The issue has no text", 1, "Write it after the front matter."


def _nodes(nodes: tuple[Node, ...]) -> Iterator[Finding]:
    for node in nodes:
        match node:
            case Prose():
                yield from _prose(node)
            case Block():
                yield from _block(node)
                if node.name not in NO_MARKDOWN:
                    yield from _nodes(node.body)
            case Conditional():
                for _, branch in node.branches:
                    yield from _nodes(branch)


def _block(block: Block) -> Iterator[Finding]:
    if block.name in NEEDS_ALT and not block.attributes.get("alt", "").strip():
        yield f"The block '{block.name}' has no alt text", block.line, 'Say in alt="…" what the picture shows.'
    for key in _URL_KEYS:
        if (url := block.attributes.get(key, "")).lower().startswith("http://"):
            yield _unencrypted(url, block.line)


def _prose(prose: Prose) -> Iterator[Finding]:
    for token in _MARKDOWN.parse(prose.markdown):
        if token.type == "inline":
            yield from _inline(token.children or [], prose.line + (token.map[0] if token.map else 0))


def _inline(children: list[Token], line: int) -> Iterator[Finding]:
    href: str | None = None
    text = ""
    for child in children:
        match child.type:
            case "softbreak" | "hardbreak":
                line += 1
            case "link_open":
                href, text = str(child.attrs.get("href", "")), ""
                if href.lower().startswith("http://"):
                    yield _unencrypted(href, line)
            case "link_close":
                if href is not None and not text.strip():
                    yield f"The link to {_shown(href)} has no text", line, "Write what it leads to: [text](address)."
                href = None
            case "image":
                if not child.content.strip():
                    yield "A picture has no alt text", line, "Say what it shows: ![text](address)."
                text += "image"
            case _:
                text += child.content
                if child.type == "text" and _LOST_EMPHASIS.search(child.content):
                    todo = "Put a blank between them, or the braces inside the emphasis."
                    yield "A * or _ beside an expression's braces emphasises nothing", line, todo
                if child.type == "text" and (tag := _TAG.search(child.content)):
                    yield f"The HTML {tag.group()[:40]} will be seen as text", line, "Use Markdown, or the block html."


def _headings(document: Document) -> Iterator[Finding]:
    before = 0
    for level, line in _levels(document.nodes):
        if before and level > before + 1:
            yield (
                f"A heading of level {level} follows one of level {before}",
                line,
                f"Use {'#' * (before + 1)} instead.",
            )
        before = level


def _levels(nodes: tuple[Node, ...]) -> Iterator[tuple[int, int]]:
    for node in nodes:
        match node:
            case Prose():
                for token in _MARKDOWN.parse(node.markdown):
                    if token.type == "heading_open" and token.level == 0:
                        yield int(token.tag[1:]), node.line + (token.map[0] if token.map else 0)
            case Block() if node.name not in NO_MARKDOWN:
                yield from _levels(node.body)
            case Conditional():
                for _, branch in node.branches:
                    yield from _levels(branch)


def _unencrypted(url: str, line: int) -> Finding:
    return f"{_shown(url)} isn't encrypted", line, "Use https:// where the site offers it."


def _shown(url: str) -> str:
    return PATTERN.sub("…", url)[:60] or "nothing"

"""What isn't wrong in an issue but is likely to be regretted: warnings for an editor."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailer.content.document import Block, Conditional, Control, Document, Node, Prose
from mailer.content.links import ADDRESSES
from mailer.content.markdown import MARKDOWN, proses, spans
from mailer.content.tokens import PATTERN
from mailer.errors import Problem

SUBJECT_SHORT, SUBJECT_LONG = 78, 150
"""Characters of a subject that a mail program on a desk usually shows, and that none does."""

NEEDS_ALT = ("image", "chart")
"""Blocks that draw a picture."""

LATER = ("links.web_version",)
"""Links to pages that aren't served yet."""

_TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9]*(?:\s[^<>]*)?/?>")
# Where an expression stood is a letter to Markdown, and between a letter and a quotation mark ** opens no emphasis.
_LOST_EMPHASIS = re.compile(rf"{PATTERN.pattern}[*_]|[*_]{PATTERN.pattern}")

Finding = tuple[str, int, str]
"""What, in which line, what to do."""


def warnings(document: Document) -> list[Problem]:
    """The warnings about a document, in the order of their lines."""
    found = [*_front(document), *_later(document), *_headings(document)]
    for block in _blocks(document.nodes):
        found += _block(block)
    for prose in proses(document.nodes):
        found += _prose(prose)
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


def _block(block: Block) -> Iterator[Finding]:
    if block.name in NEEDS_ALT and not block.attributes.get("alt", "").strip():
        yield f"The block '{block.name}' has no alt text", block.line, 'Say in alt="…" what the picture shows.'
    for key in ADDRESSES:
        if (url := block.attributes.get(key, "")).lower().startswith("http://"):
            yield _unencrypted(url, block.line)


def _prose(prose: Prose) -> Iterator[Finding]:
    href = text = ""
    for span, line in spans(prose):
        match span.type:
            case "link_open":
                href, text = str(span.attrs.get("href", "")), ""
                if href.lower().startswith("http://"):
                    yield _unencrypted(href, line)
            case "link_close":
                if not text.strip():
                    yield f"The link to {_shown(href)} has no text", line, "Write what it leads to: [text](address)."
            case "image":
                if not span.content.strip():
                    yield "A picture has no alt text", line, "Say what it shows: ![text](address)."
                text += "image"
            case _:
                text += span.content
                if span.type == "text" and _LOST_EMPHASIS.search(span.content):
                    todo = "Put a blank between them, or the braces inside the emphasis."
                    yield "A * or _ beside an expression's braces emphasises nothing", line, todo
                if span.type == "text" and (tag := _TAG.search(span.content)):
                    yield f"The HTML {tag.group()[:40]} will be seen as text", line, "Use Markdown."


def _later(document: Document) -> Iterator[Finding]:
    """Each link to a page that isn't there yet, once, where it is used first."""
    used: list[tuple[str, int]] = []
    for entry in document.tokens.values():
        expression = entry.condition if isinstance(entry, Control) else entry
        used += [(name, entry.line) for name in expression.names] if expression else []
    for name in LATER:
        if lines := [line for found, line in used if found == name]:
            yield (
                f"'{name}' leads to a page that this version doesn't serve yet",
                min(lines),
                "Leave it out until then.",
            )


def _blocks(nodes: tuple[Node, ...]) -> Iterator[Block]:
    for node in nodes:
        match node:
            case Block():
                yield node
                yield from _blocks(node.body)
            case Conditional():
                for _, branch in node.branches:
                    yield from _blocks(branch)


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
    for prose in proses(nodes):
        for token in MARKDOWN.parse(prose.markdown):
            if token.type == "heading_open" and token.level == 0:
                yield int(token.tag[1:]), prose.line + (token.map[0] if token.map else 0)


def _unencrypted(url: str, line: int) -> Finding:
    return f"{_shown(url)} isn't encrypted", line, "Use https:// where the site offers it."


def _shown(url: str) -> str:
    return PATTERN.sub("…", url)[:60] or "nothing"

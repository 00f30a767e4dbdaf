"""Markdown as plain text that reads well in a mail client: for the text part, and for counting words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markdown_it.tree import SyntaxTreeNode

from mailer.compile.markdown import is_links_only, parse
from mailer.content.tokens import PATTERN

WIDTH = 78
"""Columns of a line; RFC 5322 §2.1.1 recommends no more."""

_SPACES = re.compile(r"[ \t\n]+")


@dataclass(frozen=True, slots=True)
class Reading:
    """How tokens read: ``fold`` gives the text of a token (itself, if its value isn't known yet), ``source`` what it
    stands for (so that two tokens of one expression are known as equal), ``width`` its columns."""

    fold: Callable[[str], str]
    source: Callable[[str], str]
    width: Callable[[str], int]

    def text(self, text: str) -> str:
        """A text with its tokens folded."""
        return PATTERN.sub(lambda found: self.fold(found.group()), text)

    def same(self, one: str, other: str) -> bool:
        """Whether two texts say the same."""
        return self._resolved(one) == self._resolved(other)

    def columns(self, text: str) -> int:
        """The columns that a text takes."""
        return len(PATTERN.sub("", text)) + sum(self.width(found.group()) for found in PATTERN.finditer(text))

    def _resolved(self, text: str) -> str:
        return PATTERN.sub(lambda found: self.source(found.group()), text)


def to_text(markdown: str, reading: Reading, width: int = WIDTH) -> str:
    """A text's blocks, a blank line between them, in lines of at most ``width`` columns where words allow it."""
    return _blocks(SyntaxTreeNode(parse(markdown)).children, reading, width)


def to_inline_text(markdown: str, reading: Reading) -> str:
    """The same in one line."""
    return " ".join(to_text(markdown, reading, 100_000).split())


def wrap(text: str, reading: Reading, width: int = WIDTH, hanging: str = "") -> str:
    """Breaks lines at spaces only, so that no token and no URL is broken; later lines begin with ``hanging``."""
    lines: list[str] = []
    for part in text.split("\n"):
        line = ""
        for word in _SPACES.split(part.strip(" \t")):
            longer = f"{line} {word}" if line else word
            if line and reading.columns(longer) > width:
                lines.append(line)
                line = hanging + word
            else:
                line = longer
        lines.append(line)
    return "\n".join(lines)


def _blocks(nodes: Sequence[SyntaxTreeNode], reading: Reading, width: int, between: str = "\n\n") -> str:
    return between.join(text for node in nodes if (text := _block(node, reading, width)))


def _block(node: SyntaxTreeNode, reading: Reading, width: int) -> str:
    match node.type:
        case "heading":
            title = wrap(_inline(node.children, reading), reading, width)
            line = "=" if node.tag == "h1" else "-"
            length = min(width, max(map(reading.columns, title.split("\n"))))
            return f"{title}\n{line * length}" if node.tag in ("h1", "h2") else title
        case "paragraph":
            inline = node.children[0].token
            if inline and is_links_only(inline.children or ()):
                return _links(node, reading)
            return wrap(_inline(node.children, reading), reading, width)
        case "bullet_list" | "ordered_list":
            return _list(node, reading, width)
        case "blockquote":
            inner = _blocks(node.children, reading, width - 2)
            return "\n".join(f"> {line}".rstrip() for line in inner.split("\n"))
        case "fence" | "code_block":
            return "\n".join(f"    {line}".rstrip() for line in reading.text(node.content).rstrip("\n").split("\n"))
        case "hr":
            return "* * *"
        case "table":
            return _table(node, reading)
    return reading.text(node.content)


def _list(node: SyntaxTreeNode, reading: Reading, width: int) -> str:
    start = int(node.attrs.get("start", 1))
    items: list[str] = []
    loose = False
    for number, item in enumerate(node.children, start):
        bullet = "- " if node.type == "bullet_list" else f"{number}. "
        loose = loose or any(child.type == "paragraph" and not child.hidden for child in item.children)
        inner = _blocks(item.children, reading, width - len(bullet), "\n\n" if loose else "\n")
        items.append(
            bullet + inner.replace("\n", "\n" + " " * len(bullet)).replace("\n" + " " * len(bullet) + "\n", "\n\n")
        )
    return ("\n\n" if loose else "\n").join(items)


def _table(node: SyntaxTreeNode, reading: Reading) -> str:
    rows = [
        [_inline(cell.children, reading) for cell in row.children] for part in node.children for row in part.children
    ]
    widths = [max(reading.columns(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell + " " * (wide - reading.columns(cell)) for cell, wide in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * wide for wide in widths), *lines[1:]])


def _links(node: SyntaxTreeNode, reading: Reading) -> str:
    """A paragraph of links only: one a line, the address after a colon."""
    lines = []
    for child in node.children[0].children:
        if child.type == "link":
            label, url = _link(child, reading)
            lines.append(f"{label}: {url}" if url else label)
    return "\n".join(lines)


def _inline(nodes: Sequence[SyntaxTreeNode], reading: Reading) -> str:
    return "".join(_span(node, reading) for node in nodes)


def _span(node: SyntaxTreeNode, reading: Reading) -> str:
    match node.type:
        case "text" | "code_inline":
            return reading.text(node.content)
        case "softbreak":
            return " "
        case "hardbreak":
            return "\n"
        case "link":
            label, url = _link(node, reading)
            return f"{label} ({url})" if url else label
    return _inline(node.children, reading)


def _link(node: SyntaxTreeNode, reading: Reading) -> tuple[str, str]:
    """A link's words, and its address unless the words already are that."""
    label = _inline(node.children, reading)
    url = str(node.attrs.get("href", ""))
    written = "".join(child.content for child in node.children)
    address = url.removeprefix("mailto:").partition("?")[0] if url.startswith("mailto:") else url
    known = any(reading.same(written, way) for way in (url, address))
    return label, "" if known else reading.text(url)

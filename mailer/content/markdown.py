"""An issue's Markdown as checks read it: its inline tokens, each with its line."""

from __future__ import annotations

from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

from mailer.content.document import Block, Conditional, Node, Prose
from mailer.content.shapes import NO_MARKDOWN


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:
        """Any address: one that isn't allowed is to be found and named, not to be shown as text."""
        return True


MARKDOWN = _Markdown("commonmark", {"html": False}).enable(["table", "strikethrough"])


def proses(nodes: tuple[Node, ...]) -> Iterator[Prose]:
    """Every run of Markdown, inside blocks and conditions too."""
    for node in nodes:
        match node:
            case Prose():
                yield node
            case Block() if node.name not in NO_MARKDOWN:
                yield from proses(node.body)
            case Conditional():
                for _, branch in node.branches:
                    yield from proses(branch)


def spans(prose: Prose) -> Iterator[tuple[Token, int]]:
    """The inline tokens of a text, with their lines in the file."""
    for token in MARKDOWN.parse(prose.markdown):
        line = prose.line + (token.map[0] if token.map else 0)
        for child in token.children or ():
            yield child, line
            line += child.type in ("softbreak", "hardbreak")

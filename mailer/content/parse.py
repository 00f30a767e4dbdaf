"""From an issue file to a ``Document``."""

from __future__ import annotations

from collections.abc import Mapping

from mailer.content.body import parse_body
from mailer.content.document import Document
from mailer.content.draft import Draft
from mailer.content.front_matter import parse_front_matter, split_front_matter
from mailer.content.links import check_links
from mailer.content.shapes import BlockShape
from mailer.content.source import read_source
from mailer.errors import ContentError
from mailer.expressions.names import Names


def parse_issue(
    text: str | bytes, file: str, names: Names, blocks: Mapping[str, BlockShape], *, language: str = ""
) -> Document:
    """The document that an issue file holds.

    ``file`` is what problems call it; its stem is the slug where the front matter gives none. ``language``: the
    publication's, for an issue that names none. Raises ``ContentError`` with all problems, in the order of their lines.
    """
    source = read_source(text, file)
    lines = source.split("\n")
    draft = Draft(file, source, names)
    front_lines, first = split_front_matter(lines, draft)
    front = None if draft.problems else parse_front_matter(front_lines, language, draft)
    nodes = parse_body(lines[first:], first + 1, blocks, draft)
    check_links(nodes, draft)
    if draft.problems or front is None:
        raise ContentError(sorted(draft.problems, key=lambda problem: problem.line))
    return Document(file, front, nodes, dict(draft.tokens))

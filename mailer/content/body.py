"""The body of an issue: from its lines to nodes.

Each line is one of: part of a fenced code block, ``:::``, a statement alone, or Markdown. Inside a code fence nothing
has a meaning of ours. A paragraph that is one ``{% if %}`` … ``{% endif %}`` from end to end counts as if its
statements stood alone, so that no empty paragraph is left where the condition is false.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mailer.content.document import Node
from mailer.content.draft import Draft
from mailer.content.opening import COLONS, parse_opening
from mailer.content.scan import Scanned, Segment, Statement, Text, scan
from mailer.content.shapes import LITERAL, BlockShape
from mailer.content.tree import Tree

_FENCE = re.compile(r"\s*(`{3,}(?=[^`]*\Z)|~{3,})")


class _Reader:
    """Where reading is: inside which code fence, inside a comment or not."""

    def __init__(self, blocks: Mapping[str, BlockShape], draft: Draft) -> None:
        self.blocks, self.draft, self.tree = blocks, draft, Tree(draft)
        self.fence, self.fence_line = "", 0
        self.in_comment, self.comment_line = False, 0

    def line(self, line: str, number: int, following: str | None) -> None:
        """Takes one line; ``following`` is the next one, None at the end."""
        raw = self.tree.raw
        if raw and raw.name in LITERAL:
            self._literal(line, number)
        elif self.fence:
            self._in_fence(line, number)
        elif not self.in_comment and raw is None and (found := _FENCE.match(line)):
            self.fence, self.fence_line = found.group(1), number
            self.tree.text(line, number)
        else:
            self._scanned(line, number, following)

    def finish(self) -> tuple[Node, ...]:
        """The nodes; what is still open is noted."""
        if self.fence:
            todo = f"Write {self.fence} on a line of its own after the code."
            self.draft.problem(f"The code fence {self.fence[:20]} is never closed", self.fence_line, todo)
        if self.in_comment:
            self.draft.problem("The comment {# is never closed", self.comment_line, "Write #} after it.")
        return self.tree.finish()

    def _literal(self, line: str, number: int) -> None:
        found = COLONS.match(line)
        if found and not found.group(1).strip():
            self.tree.close_block(number)
        else:
            self.tree.text(line, number)

    def _in_fence(self, line: str, number: int) -> None:
        self.tree.text(line, number)
        text = line.strip()
        if len(text) >= len(self.fence) and not text.strip(self.fence[0]):
            self.fence = ""

    def _scanned(self, line: str, number: int, following: str | None) -> None:
        found = scan(line, self.in_comment)
        if found.open_comment and not self.in_comment:
            self.comment_line = number
        self.in_comment = found.open_comment
        if found.problem:
            self.draft.problem(found.problem[0], number, found.problem[1])
        if found.comment and not any(isinstance(s, Statement) or _solid(s) for s in found.segments):
            # A line that held nothing but a comment must not end the paragraph that it stands in.
            if self.tree.at_paragraph:
                self.tree.text("", number)
            return
        if self.tree.raw:
            self._raw(found, number)
        elif found.alone:
            self.tree.statement(found.alone, number)
        elif self.tree.at_paragraph and _ends_paragraph(following) and (parts := _whole_if(found.segments)):
            self._lifted(parts, number)
        else:
            self._text(found.segments, number)

    def _raw(self, found: Scanned, number: int) -> None:
        text = self.draft.text(found.segments, number)
        colons = COLONS.match(text)
        rest = colons.group(1).strip() if colons else ""
        if colons and not rest:
            self.tree.close_block(number)
            return
        if colons and rest.split()[0] in self.blocks and self.tree.raw:
            what = f"The block '{self.tree.raw.name}' can hold no other block, but '{rest.split()[0]}' begins inside it"
            self.draft.problem(what, number, "Put ::: on a line of its own before it.")
        self.tree.text(text, number)

    def _text(self, segments: Sequence[Segment], number: int) -> None:
        text = self.draft.text(segments, number)
        colons = COLONS.match(text)
        if colons is None:
            self.tree.text(text, number)
        elif rest := colons.group(1).strip():
            self.tree.open_block(parse_opening(rest, number, self.blocks, self.draft), number)
        else:
            self.tree.close_block(number)

    def _lifted(self, parts: Sequence[Statement | list[Segment]], number: int) -> None:
        for part in parts:
            if isinstance(part, Statement):
                self.tree.statement(part, number)
            elif part:
                self._text(part, number)


def parse_body(lines: Sequence[str], first: int, blocks: Mapping[str, BlockShape], draft: Draft) -> tuple[Node, ...]:
    """The nodes of an issue's body. ``first`` is the number of its first line in the file."""
    reader = _Reader(blocks, draft)
    for index, line in enumerate(lines):
        reader.line(line, first + index, lines[index + 1] if index + 1 < len(lines) else None)
    return reader.finish()


def _solid(segment: Segment) -> bool:
    return not isinstance(segment, Text) or bool(segment.text.strip())


def _ends_paragraph(following: str | None) -> bool:
    if following is None or not following.strip() or COLONS.match(following):
        return True
    return scan(following).alone is not None if "{%" in following else False


def _whole_if(segments: Sequence[Segment]) -> list[Statement | list[Segment]] | None:
    """The statements of an ``{% if %}`` that fills a line from end to end, and what stands between them."""
    solid = [index for index, segment in enumerate(segments) if _solid(segment)]
    if len(solid) < 3:
        return None
    parts: list[Statement | list[Segment]] = [[]]
    depth = 0
    for index in range(solid[0], solid[-1] + 1):
        segment = segments[index]
        word = segment.keyword if isinstance(segment, Statement) else ""
        if depth == 0 and word != "if":
            return None
        if isinstance(segment, Statement) and depth == (0 if word == "if" else 1):
            if depth == 0 and index > solid[0]:
                return None
            parts += [segment, []]
        else:
            content = parts[-1]
            assert isinstance(content, list)
            content.append(segment)
        depth += {"if": 1, "endif": -1}.get(word, 0)
    return parts if depth == 0 else None

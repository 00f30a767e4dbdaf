"""The tree that an issue's lines are put into: what is open at the moment, and what closes what."""

from __future__ import annotations

from dataclasses import dataclass, field

from mailer.content.balance import unbalanced, unbalanced_markdown
from mailer.content.document import Block, Conditional, Node, Prose
from mailer.content.draft import Draft
from mailer.content.opening import Opening
from mailer.content.scan import Statement

MAX_DEPTH = 20
"""How deep blocks and conditions may be nested; no mail needs more, and what comes after walks the tree recursively."""


@dataclass(slots=True)
class _Frame:
    """Something open: a block, a condition, or (neither) the issue itself."""

    line: int
    opening: Opening | None = None
    condition: str | None = None
    has_else: bool = False
    nodes: list[Node] = field(default_factory=list)
    branches: list[tuple[str | None, tuple[Node, ...]]] = field(default_factory=list)

    @property
    def is_if(self) -> bool:
        return self.opening is None

    @property
    def shown(self) -> str:
        return "{% if %}" if self.opening is None else f"block '{self.opening.name[:60]}'"


class Tree:
    """Takes an issue's lines in order and gives its nodes. Notes what doesn't fit in the draft."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._root = _Frame(0)
        self._open: list[_Frame] = []
        self._prose: list[str] = []
        self._prose_line = 0
        self._too_deep = False
        self._blocks = self._ifs = 0

    @property
    def raw(self) -> Opening | None:
        """The raw block whose body is being read, if one is."""
        opening = self._open[-1].opening if self._open else None
        return opening if opening and opening.shape and opening.shape.raw else None

    @property
    def at_paragraph(self) -> bool:
        """Whether a line that came now would begin a paragraph."""
        return not self._prose or not self._prose[-1].strip()

    def text(self, line: str, number: int) -> None:
        """A line of Markdown, with tokens."""
        if not self._prose:
            self._prose_line = number
        self._prose.append(line)

    def open_block(self, opening: Opening, number: int) -> None:
        """``::: name …``."""
        self._push(_Frame(number, opening=opening))

    def close_block(self, number: int) -> None:
        """``:::``. What stands open inside the block is closed with it, and noted."""
        self._flush()
        if self._blocks == 0:
            todo = "Remove it, or open a block above it with ::: name."
            self._draft.problem("::: closes nothing here", number, todo)
            return
        while self._open[-1].is_if:
            frame = self._pop()
            what = f"The {{% if %}} in line {frame.line} isn't closed where ::: closes the block around it"
            self._draft.problem(what, number, "Put {% endif %} before this :::.")
            self._add(_conditional(frame))
        self._end_block(self._pop())

    def statement(self, statement: Statement, number: int) -> None:
        """A statement that stands alone on its line."""
        known = self._draft.known(statement, number)
        if known is None:
            return
        statement = known
        self._flush()
        if statement.keyword == "if":
            self._push(_Frame(number, condition=self._condition(statement, number)))
            return
        if self._ifs == 0:
            word = f"'{{% {statement.keyword} %}}'"
            self._draft.problem(f"{word} has no {{% if %}}", number, "Remove it, or write {% if … %} above it.")
            return
        while not self._open[-1].is_if:
            frame = self._pop()
            what = f"The {frame.shown} in line {frame.line} isn't closed before {{% {statement.keyword} %}}"
            self._draft.problem(what, number, "Put ::: on a line of its own before it.")
            self._end_block(frame)
        self._branch(self._open[-1], statement, number)

    def finish(self) -> tuple[Node, ...]:
        """The issue's nodes. What is still open is noted."""
        self._flush()
        for frame in self._open:
            end = "{% endif %}" if frame.is_if else ":::"
            what = "This {% if %}" if frame.is_if else f"The {frame.shown}"
            self._draft.problem(f"{what} is never closed", frame.line, f"Write {end} on a line of its own at its end.")
        return tuple(self._root.nodes)

    def _end_block(self, frame: _Frame) -> None:
        opening = frame.opening
        assert opening is not None
        if opening.shape and opening.shape.empty and frame.nodes:
            what = f"The block '{opening.name}' can hold nothing"
            self._draft.problem(what, frame.nodes[0].line, f"Put ::: on a line of its own after line {frame.line}.")
        self._add(Block(opening.name, opening.attributes, tuple(frame.nodes), frame.line))

    def _branch(self, frame: _Frame, statement: Statement, number: int) -> None:
        if statement.keyword in ("elif", "else") and frame.has_else:
            what = f"'{{% {statement.keyword} %}}' comes after the {{% else %}} of the {{% if %}} in line {frame.line}"
            self._draft.problem(what, number, "Remove it.")
        frame.branches.append((frame.condition, tuple(frame.nodes)))
        frame.nodes = []
        match statement.keyword:
            case "elif":
                frame.condition = self._condition(statement, number)
            case "else":
                frame.condition, frame.has_else = None, True
            case "endif":
                self._pop()
                self._add(Conditional(tuple(frame.branches), frame.line))

    def _condition(self, statement: Statement, number: int) -> str:
        return self._draft.condition(statement.rest, number) if statement.rest else ""

    def _push(self, frame: _Frame) -> None:
        self._flush()
        if len(self._open) == MAX_DEPTH and not self._too_deep:
            self._too_deep = True
            what = f"Blocks and conditions are nested more than {MAX_DEPTH} deep"
            self._draft.problem(what, frame.line, "Close some of those above with ::: or {% endif %}.")
        self._open.append(frame)
        self._count(frame, 1)

    def _pop(self) -> _Frame:
        frame = self._open.pop()
        self._count(frame, -1)
        return frame

    def _count(self, frame: _Frame, change: int) -> None:
        if frame.is_if:
            self._ifs += change
        else:
            self._blocks += change

    def _flush(self) -> None:
        """What has come of a text since the last block becomes a node."""
        lines, number = self._prose, self._prose_line
        self._prose = []
        if self.raw is None:
            while lines and not lines[0].strip():
                del lines[0]
                number += 1
        while lines and not lines[-1].strip():
            lines.pop()
        if not lines:
            return
        markdown = "\n".join(lines)
        for what, line, todo in self._unbalanced(markdown):
            self._draft.problem(what, line, todo)
        self._add(Prose(markdown, number))

    def _unbalanced(self, markdown: str) -> list[tuple[str, int, str]]:
        if self.raw:
            return unbalanced(self._draft.controls(markdown), f"the block '{self.raw.name}'")
        open_if = next((frame.line for frame in reversed(self._open) if frame.is_if), 0)
        return unbalanced_markdown(markdown, self._draft, open_if)

    def _add(self, node: Node) -> None:
        (self._open[-1] if self._open else self._root).nodes.append(node)


def _conditional(frame: _Frame) -> Conditional:
    return Conditional((*frame.branches, (frame.condition, tuple(frame.nodes))), frame.line)

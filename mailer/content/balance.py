"""Whether the ``{% if %}`` … ``{% endif %}`` inside a text pair up, and whether Markdown lets them.

A branch that is left out must leave whole HTML behind: ``**{% if x %}a** b{% endif %}`` would leave a ``<strong>``
open. So the text is read as Markdown, and each pair has to stand in one and the same place of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from mailer.content.document import Control
from mailer.content.draft import Draft

Finding = tuple[str, int, str]
"""What is wrong, in which line, what to do."""

Place = tuple[int, ...]
"""Which Markdown elements stand around; equal for what stands in the same one."""

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
_PAIR = "Put {% if … %} and {% endif %} into the same one, or each alone on a line."


def unbalanced(controls: Sequence[Control], where: str) -> list[Finding]:
    """What is wrong with the order of the statements in one text."""
    return _check([(control, ()) for control in controls], where)


def unbalanced_markdown(markdown: str, draft: Draft, open_if: int = 0) -> list[Finding]:
    """What is wrong with the statements inside the lines of a run of Markdown.

    ``open_if``: the line of the ``{% if %}`` around it that stands alone, if there is one.
    """
    if not draft.controls(markdown):
        return []
    findings = []
    for container in _containers(markdown):
        placed = [(control, place) for text, place in container for control in draft.controls(text)]
        findings += _check(placed, "its paragraph", open_if)
    return findings


def _check(placed: Sequence[tuple[Control, Place]], where: str, open_if: int = 0) -> list[Finding]:
    findings: list[Finding] = []
    opened: list[tuple[Control, Place, bool]] = []
    for control, place in placed:
        if control.keyword == "if":
            opened.append((control, place, False))
            continue
        if not opened:
            todo = f"Remove it, or write {{% if … %}} before it in {where}."
            if open_if:
                todo = f"The one in line {open_if} stands alone on its line: put this alone on a line too."
            findings.append((f"'{{% {control.keyword} %}}' has no {{% if %}} in {where}", control.line, todo))
            continue
        first, home, has_else = opened.pop()
        if place != home:
            what = f"'{{% {control.keyword} %}}' and its {{% if %}} stand in different parts of the text's formatting"
            findings.append((what, control.line, "Put both inside the emphasis, link or cell, or both outside."))
        if control.keyword in ("elif", "else") and has_else:
            findings.append((f"'{{% {control.keyword} %}}' comes after {{% else %}}", control.line, "Remove it."))
        if control.keyword != "endif":
            opened.append((first, home, has_else or control.keyword == "else"))
    for first, _, _ in opened:
        findings.append((f"'{{% if %}}' is never closed in {where}", first.line, _PAIR))
    return findings


def _containers(markdown: str) -> Iterator[list[tuple[str, Place]]]:
    """The texts in which statements have to pair up: each a list of its parts with their places."""
    for block in _MARKDOWN.parse(markdown):
        if block.type != "inline":
            yield [(block.content, ())]
            continue
        parts: list[tuple[str, Place]] = []
        yield from _inline(block.children or [], (), parts)
        yield parts


def _inline(
    children: Sequence[Token], place: Place, parts: list[tuple[str, Place]]
) -> Iterator[list[tuple[str, Place]]]:
    """Adds the texts of inline elements to ``parts``; yields those that are containers of their own."""
    for number, child in enumerate(children):
        if child.nesting > 0:
            place = (*place, number)
        elif child.nesting < 0:
            place = place[:-1]
        for value in child.attrs.values():
            yield [(str(value), ())]
        if child.type in ("image", "code_inline"):
            yield [(child.content, ())]
        else:
            parts.append((child.content, place))

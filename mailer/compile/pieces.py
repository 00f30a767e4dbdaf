"""From a text with tokens to pieces: issue scope folded in, recipient scope as slots and choices."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from mailer.compile.contexts import Mark, find_tokens
from mailer.compile.token_table import TokenTable
from mailer.compile.values import IssueValues
from mailer.content.document import Control
from mailer.content.tokens import PATTERN
from mailer.errors import CompileError
from mailer.expressions.expression import Expression, Scope
from mailer.model.compiled import Branch, Choice, Escape, Piece, Pieces, Slot

_REST = re.compile(r"zqx([0-9]{4})", re.IGNORECASE)


@dataclass(slots=True)
class _Open:
    """An ``{% if %}`` whose ``{% endif %}`` hasn't come yet."""

    control: Control
    mark: Mark
    outer: list[Piece]
    reachable: bool
    branches: list[tuple[str | bool, list[Piece]]] = field(default_factory=list)

    @property
    def decided(self) -> bool:
        return any(condition is True for condition, _ in self.branches)


def html_pieces(html: str, tokens: TokenTable, values: IssueValues) -> Pieces:
    """Pieces of an HTML document; each slot's escape follows from where its token stands."""
    return _build(html, find_tokens(html, tokens.keyword), tokens, values)


def text_pieces(text: str, how: Escape, tokens: TokenTable, values: IssueValues) -> Pieces:
    """Pieces of a text that is escaped the same everywhere: the text part, a header."""
    marks = (Mark(found.group(), found.start(), found.end(), how, 0, ()) for found in PATTERN.finditer(text))
    return _build(text, marks, tokens, values)


def _build(text: str, marks: Iterable[Mark], tokens: TokenTable, values: IssueValues) -> Pieces:
    pieces: list[Piece] = []
    opened: list[_Open] = []
    position, reachable = 0, True
    for mark in marks:
        _append(pieces, text[position : mark.start])
        position = mark.end
        entry = tokens[mark.token]
        if isinstance(entry, Expression):
            if reachable:
                _append(pieces, _value(entry, mark, values))
        elif entry.keyword == "if":
            opened.append(_Open(entry, mark, pieces, reachable))
            pieces, reachable = _branch(opened[-1], entry, values)
        else:
            current = _matching(opened, entry, mark, tokens.file)
            if entry.keyword != "endif":
                pieces, reachable = _branch(current, entry, values)
            else:
                opened.pop()
                pieces, reachable = current.outer, current.reachable
                _close(current, pieces)
    if opened:
        raise CompileError(
            "An {% if %} is never closed", where=f"{tokens.file}:{opened[-1].control.line}", todo="Add {% endif %}."
        )
    _append(pieces, text[position:])
    done = tuple(pieces)
    _check_whole(done, tokens)
    return done


def _check_whole(pieces: Pieces, tokens: TokenTable) -> None:
    """A template may have changed a token (``upper``, ``truncate``): its rest would go out as gibberish."""
    for piece in pieces:
        match piece:
            case str() if found := _REST.search(piece):
                entry = tokens.numbered(int(found.group(1)))
                what = f"'{entry.source}'" if isinstance(entry, Expression) else f"{{% {entry.keyword} %}}"
                raise CompileError(
                    f"A template changes {what} before its value is known",
                    where=f"{tokens.file}:{entry.line}",
                    todo="Filters for a recipient's values belong into the issue, inside the braces.",
                )
            case Choice():
                for branch in piece.branches:
                    _check_whole(branch.pieces, tokens)
                _check_whole(piece.otherwise, tokens)


def _value(expression: Expression, mark: Mark, values: IssueValues) -> Piece:
    if expression.scope is Scope.ISSUE:
        return values.text(expression, mark.escape, mark.url)
    return Slot(values.folded(expression), mark.escape)


def _branch(current: _Open, control: Control, values: IssueValues) -> tuple[list[Piece], bool]:
    """Begins a branch: its list of pieces, and whether anyone can get there."""
    condition: str | bool = True
    reachable = current.reachable and not current.decided
    if control.condition is not None:
        if control.condition.scope is Scope.RECIPIENT:
            condition = values.folded(control.condition)
        else:
            condition = reachable and bool(values.evaluate(control.condition))
    branch: list[Piece] = []
    reachable = reachable and condition is not False
    current.branches.append((condition, branch))
    return branch, reachable


def _matching(opened: list[_Open], control: Control, mark: Mark, file: str) -> _Open:
    where = f"{file}:{control.line}"
    if not opened:
        raise CompileError(f"{{% {control.keyword} %}} stands without an {{% if %}} before it", where=where)
    current = opened[-1]
    if (mark.place, mark.inside) != (current.mark.place, current.mark.inside):
        longer, shorter = sorted((mark.inside, current.mark.inside), key=len, reverse=True)
        element = f"<{longer[len(shorter)]}>" if len(longer) > len(shorter) else "one attribute or element"
        raise CompileError(
            f"{{% {control.keyword} %}} and its {{% if %}} of line {current.control.line} stand on two sides of the "
            f"border of {element}",
            where=where,
            todo="Put the whole condition inside, or the whole element into the condition.",
        )
    return current


def _close(current: _Open, pieces: list[Piece]) -> None:
    branches: list[Branch] = []
    otherwise: list[Piece] = []
    for condition, inner in current.branches:
        if condition is True:
            otherwise = inner
            break
        if condition is not False:
            branches.append(Branch(str(condition), tuple(inner)))
    if branches:
        pieces.append(Choice(tuple(branches), tuple(otherwise)))
        return
    for piece in otherwise:
        _append(pieces, piece)


def _append(pieces: list[Piece], piece: Piece) -> None:
    if piece == "":
        return
    if isinstance(piece, str) and pieces and isinstance(pieces[-1], str):
        pieces[-1] += piece
    else:
        pieces.append(piece)

"""The tokens of one compilation: those of the document, and those that compiling adds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from mailer.content.document import Conditional, Control, Document
from mailer.content.tokens import PATTERN, token
from mailer.errors import CompileError
from mailer.expressions.expression import Expression, Scope


def tokens_in(text: str) -> list[str]:
    """Every token in a text, in order."""
    return [found.group() for found in PATTERN.finditer(text)]


class TokenTable:
    """What each token stands for. Templates and block conditions add tokens of their own to the document's."""

    def __init__(self, document: Document) -> None:
        self.file = document.file
        self._entries: dict[str, Expression | Control] = dict(document.tokens)
        found = [match for key in self._entries if (match := PATTERN.fullmatch(key))]
        self._next = max((int(match.group(1)) for match in found), default=-1) + 1
        seed = repr((document.front, document.nodes)).encode()
        self._mark = found[0].group(2) if found else hashlib.sha256(seed).hexdigest()[:8]

    def __getitem__(self, key: str) -> Expression | Control:
        try:
            return self._entries[key]
        except KeyError:
            raise CompileError(
                f"The text '{key}' looks like one of the compiler's own tokens", where=self.file, todo="Change it."
            ) from None

    def numbered(self, number: int) -> Expression | Control:
        """What the token with a number stands for."""
        return self[token(number, self._mark)]

    def expression(self, key: str) -> Expression:
        """The expression of a token that is a condition."""
        entry = self[key]
        found = entry.condition if isinstance(entry, Control) else entry
        if found is None:
            raise CompileError(f"An {entry} has no condition", where=self.file)
        return found

    def keyword(self, key: str) -> str | None:
        """The keyword of a control token; None for one that stands for a value."""
        entry = self[key]
        return entry.keyword if isinstance(entry, Control) else None

    def slot(self, source: str) -> str:
        """A token for a recipient-scope expression that a template names, such as ``links.unsubscribe``."""
        return self._add(Expression(source, 0, Scope.RECIPIENT, frozenset({source})))

    def controls(self, conditional: Conditional) -> Iterator[str]:
        """A token before each branch of a conditional, then one for its ``endif``."""
        keyword = "if"
        for condition, _ in conditional.branches:
            expression = None if condition is None else self.expression(condition)
            yield self._add(Control("else" if expression is None else keyword, expression, conditional.line))
            keyword = "elif"
        yield self._add(Control("endif", None, conditional.line))

    def _add(self, entry: Expression | Control) -> str:
        key = token(self._next, self._mark)
        self._next += 1
        if self._next > 9999:
            raise CompileError("An issue can hold 9,999 expressions, and this one has more", where=self.file)
        self._entries[key] = entry
        return key

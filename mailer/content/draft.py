"""What parsing an issue gathers on its way: the problems, and the tokens given out so far."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial

from mailer.content.document import Control
from mailer.content.scan import Output, Segment, Statement, Text
from mailer.content.tokens import PATTERN, token
from mailer.errors import Problem
from mailer.expressions.errors import ExpressionError
from mailer.expressions.expression import Expression, Scope
from mailer.expressions.names import Names
from mailer.expressions.parse import parse_expression
from mailer.expressions.segment import parse_segment

MAX_TOKENS = 5000
"""Expressions of one issue. A token's number has four digits, and compiling adds tokens of its own."""

KEYWORDS = ("if", "elif", "else", "endif")

_Parse = Callable[[str, int, Names], Expression]
_CONDITION = partial(parse_expression, example="{% if subscriber.first_name %}")


class Draft:
    """Problems and tokens of one issue file."""

    def __init__(self, file: str, source: str, names: Names) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.tokens: dict[str, Expression | Control] = {}
        self._names = names
        self._mark = hashlib.sha256(source.encode()).hexdigest()[:8]
        self._full = False

    def problem(self, what: str, line: int, todo: str = "") -> None:
        """Notes an error of the issue."""
        self.problems.append(Problem(what, self.file, line, todo))

    def expression(self, source: str, line: int) -> str:
        """A token for an expression; one that is wrong is noted as a problem and stands for an empty text."""
        return self._add(self._parse(source, line), line)

    def condition(self, source: str, line: int) -> str:
        """The same for the condition of an ``{% if %}``."""
        return self._add(self._parse(source, line, _CONDITION), line)

    def segment(self, source: str, line: int) -> None:
        """Notes what is wrong with a condition on subscribers."""
        self._parse(source, line, parse_segment)

    def control(self, statement: Statement, line: int) -> str:
        """A token for a statement inside a line; nothing for one that isn't known."""
        if (known := self.known(statement, line)) is None:
            return ""
        condition = None
        if known.keyword in ("if", "elif"):
            condition = self._parse(known.rest, line, _CONDITION) if known.rest else _nothing(line)
        return self._add(Control(known.keyword, condition, line), line)

    def known(self, statement: Statement, line: int) -> Statement | None:
        """The statement if it is one of ``KEYWORDS``, or near to one; notes what is wrong with it."""
        word, rest = statement.keyword, statement.rest
        if word not in KEYWORDS:
            near = get_close_matches(word[:60], KEYWORDS, n=1)
            only = "Only {% if … %}, {% elif … %}, {% else %} and {% endif %} are."
            todo = f"Did you mean '{near[0]}'?" if near else only
            self.problem(f"'{{% {word[:60]} %}}' isn't possible here", line, todo)
            return Statement(near[0], rest) if near else None
        if word in ("if", "elif") and not rest:
            sample = f"Write {{% {word} subscriber.first_name %}}, for instance."
            self.problem(f"'{{% {word} %}}' has no condition", line, sample)
        elif word in ("else", "endif") and rest:
            todo = "Write {% elif … %}." if rest.startswith("if ") else f"Write {{% {word} %}}."
            self.problem(f"'{{% {word} %}}' takes no condition", line, todo)
        return statement

    def text(self, segments: Sequence[Segment], line: int) -> str:
        """A line's text with a token for each expression and each statement."""
        parts = []
        for segment in segments:
            match segment:
                case Text(text):
                    parts.append(text)
                case Output(source):
                    parts.append(self.expression(source, line))
                case Statement():
                    parts.append(self.control(segment, line))
        return "".join(parts)

    def controls(self, text: str) -> list[Control]:
        """The statements in a text with tokens, in order."""
        found = (self.tokens.get(match.group()) for match in PATTERN.finditer(text))
        return [entry for entry in found if isinstance(entry, Control)]

    def _parse(self, source: str, line: int, parse: _Parse = parse_expression) -> Expression:
        try:
            return parse(source, line, self._names)
        except ExpressionError as error:
            self.problem(error.what, line, error.todo)
            return _nothing(line)

    def _add(self, entry: Expression | Control, line: int) -> str:
        if len(self.tokens) == MAX_TOKENS:
            if not self._full:
                self.problem(f"An issue can hold {MAX_TOKENS} expressions, and here is one more", line, "Shorten it.")
            self._full = True
            return ""
        key = token(len(self.tokens), self._mark)
        self.tokens[key] = entry
        return key


def _nothing(line: int) -> Expression:
    return Expression("''", line, Scope.ISSUE, frozenset())

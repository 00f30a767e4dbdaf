"""Folding: issue-scope names inside a recipient-scope expression become constants while compiling.

A compiled issue carries no issue-scope values, and a recipient's evaluation has only ``subscriber`` and ``links``. So
``{{ subscriber.first_name ~ ", KW" ~ issue.week }}`` is stored as ``subscriber.first_name ~ ", KW" ~ 24``.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace

from jinja2.lexer import TOKEN_WHITESPACE
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mailer.expressions.errors import ExpressionError
from mailer.expressions.expression import Expression, Scope
from mailer.expressions.member import member
from mailer.expressions.names import scope_of

_ENVIRONMENT = ImmutableSandboxedEnvironment()


def fold(expression: Expression, values: Mapping[str, object]) -> Expression:
    """The expression with its issue-scope names replaced by their values; unchanged where it reads none.

    ``values``: as for evaluation, by root (``issue``, ``publication``, ``audience``, ``referrals``). A text, number,
    truth value or None becomes a literal, a date its ISO 8601 text, which the date filters read. Raises
    ``ExpressionError`` for any other value (such as the list ``referrals.leaders``).
    """
    folded = {
        name: _literal(name, member(values.get(name.partition(".")[0]), name.partition(".")[2]))
        for name in expression.names
        if scope_of(name.partition(".")[0]) is Scope.ISSUE
    }
    if not folded:
        return expression
    return replace(expression, source=_substitute(expression.source, folded), names=expression.names.difference(folded))


def _substitute(source: str, folded: Mapping[str, str]) -> str:
    """Works on Jinja2's own lexer, so that what stands in a text literal isn't taken for a name."""
    lexemes = [(kind, text) for _, kind, text in _ENVIRONMENT.lexer.tokeniter(source, None, state="variable")]
    solid = [index for index, (kind, _) in enumerate(lexemes) if kind != TOKEN_WHITESPACE]
    out = [text for _, text in lexemes]
    for place, index in enumerate(solid):
        triple = solid[place : place + 3]
        name = "".join(lexemes[at][1] for at in triple)
        if lexemes[index][0] == "name" and name in folded:
            for at in range(index, triple[-1] + 1):
                out[at] = ""
            out[index] = folded[name]
    return "".join(out)


def _literal(name: str, value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case int() | float() if value == value and abs(value) != float("inf"):
            return f"({value!r})" if value < 0 else repr(value)
        case datetime.date():
            return f"'{value.isoformat()}'"
        case str():
            return "'" + "".join(map(_escaped, value)) + "'"
    raise ExpressionError(
        f"'{name}' can't be mixed with a recipient's values in one expression",
        todo=f"Test it in an {{% if {name} %}} of its own around the other.",
    )


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"

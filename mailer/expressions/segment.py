"""A segment: a condition that says which subscribers a send is for."""

from __future__ import annotations

from mailer.expressions.errors import ExpressionError
from mailer.expressions.expression import Expression
from mailer.expressions.names import Names
from mailer.expressions.parse import parse_expression

EXAMPLE = "subscriber.plan == 'premium'"


def parse_segment(source: str, line: int, names: Names) -> Expression:
    """The condition; ``line`` is where it stands in an issue, else 0. Raises ``ExpressionError``."""
    expression = parse_expression(source, line, names, example=EXAMPLE)
    if not expression.names or any(not name.startswith("subscriber.") for name in expression.names):
        raise ExpressionError(
            f"'{source[:60]}' isn't about subscribers alone", todo=f"A segment is a condition such as {EXAMPLE}."
        )
    return expression

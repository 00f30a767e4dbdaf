"""Issue-scope values: evaluated once, while compiling."""

from __future__ import annotations

from collections.abc import Mapping

from mailer.errors import CompileError
from mailer.expressions.errors import ExpressionError
from mailer.expressions.escape import escape
from mailer.expressions.evaluate import evaluator
from mailer.expressions.expression import Expression
from mailer.expressions.fold import fold
from mailer.expressions.locale import Locale
from mailer.model.compiled import Escape


class IssueValues:
    """Evaluates and escapes the issue-scope expressions of one issue."""

    def __init__(self, values: Mapping[str, object], locale: Locale, file: str) -> None:
        self._values, self._file = values, file
        self.locale = locale

    def evaluate(self, expression: Expression) -> object:
        """The value of an issue-scope expression. Raises ``CompileError`` that names file and line."""
        try:
            return evaluator(expression.source, self.locale, strict=True)(self._values)
        except ExpressionError as error:
            raise self._blamed(expression, error) from None

    def text(self, expression: Expression, how: Escape, url: str = "") -> str:
        """The same as text, escaped for its place. ``url`` is what precedes it in the same URL."""
        value = self.evaluate(expression)
        text = escape(value, how)
        if how is Escape.URL and text == "#" != value:
            raise CompileError(
                f"'{value}' is no web address, and '{expression.source}' stands where one must be",
                where=self._at(expression),
                todo="A link begins with https:// or mailto:.",
            )
        if how is Escape.URL_PART and url.lower().startswith("mailto:") and "?" not in url:
            return text.replace("%40", "@")  # RFC 6068: the @ between local part and domain stands for itself
        return text

    def folded(self, expression: Expression) -> str:
        """The source of a recipient-scope expression without issue-scope names in it."""
        try:
            return fold(expression, self._values).source
        except ExpressionError as error:
            raise self._blamed(expression, error) from None

    def _blamed(self, expression: Expression, error: ExpressionError) -> CompileError:
        return CompileError(error.what, where=self._at(expression), todo=error.todo)

    def _at(self, expression: Expression) -> str:
        return f"{self._file}:{expression.line}"

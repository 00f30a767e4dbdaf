"""Evaluation: from an expression's source to a function of the values it names.

Most expressions are plain names, and those run for every recipient of every issue: they become one lookup. The others
run in Jinja2's sandbox.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Undefined
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mailer.expressions.errors import ExpressionError
from mailer.expressions.filters import filters
from mailer.expressions.locale import Locale as Locale
from mailer.expressions.member import member
from mailer.model.people import Subscriber

Evaluator = Callable[[Mapping[str, object]], object]

_DOTTED = re.compile(r"([a-z]+)\.([^\W\d_]\w*)")


@lru_cache(maxsize=4096)
def evaluator(source: str, locale: Locale, *, strict: bool = False) -> Evaluator:
    """A function that evaluates an expression (its source without braces) over values by root.

    ``values["subscriber"]`` is a ``Subscriber``, ``values["links"]`` and the issue-scope roots are mappings or plain
    objects. A name without a value gives an empty text.

    ``strict`` is for issue scope, while compiling: what can't be evaluated raises ``ExpressionError``. Otherwise, for
    one recipient among thousands, a filter passes on what it can't work on, and an expression that fails as a whole
    (a text plus a number, a division by zero) gives an empty text, which is false in a condition: nobody's mail stops
    for it. Raises ``ExpressionError`` for a source that is no expression.
    """
    if plain := _DOTTED.fullmatch(source):
        return _lookup(plain[1], plain[2])
    return _through_jinja(source, locale, strict)


def _lookup(root: str, name: str) -> Evaluator:
    def look(values: Mapping[str, object]) -> object:
        owner = values.get(root)
        if type(owner) is Subscriber:
            return owner.value(name)
        return owner.get(name, "") if type(owner) is dict else member(owner, name)

    return look


def _through_jinja(source: str, locale: Locale, strict: bool) -> Evaluator:
    try:
        run = _environment(locale, strict).compile_expression(source, undefined_to_none=False)
    except Exception as error:
        raise ExpressionError(f"'{source[:60]}' can't be compiled: {error}", todo="Write it more simply.") from None

    def evaluate(values: Mapping[str, object]) -> object:
        try:
            found = run(values)
        except Exception as error:
            # Anything may be wrong with a value: what that means is decided here, once, by who is waiting.
            if not strict:
                return ""
            todo = "Nothing can be divided by 0, texts and numbers don't mix, and a filter needs its kind of value."
            raise ExpressionError(f"'{source[:60]}' can't be evaluated: {error}", todo=todo) from None
        return "" if isinstance(found, Undefined) else found

    return evaluate


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with our meaning of a dot, and without ways to make a text a gigabyte long."""

    intercepted_binops = frozenset({"*", "%"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        return member(obj, attribute)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, str | list | tuple) or isinstance(right, str | list | tuple):
            raise TypeError(f"'{operator}' is for numbers only")
        return self.binop_table[operator](left, right)


@lru_cache(maxsize=64)
def _environment(locale: Locale, strict: bool) -> _Environment:
    environment = _Environment(autoescape=False, optimized=False)
    environment.filters = dict(filters(locale, strict=strict))
    environment.globals = {}
    return environment

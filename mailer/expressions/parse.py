"""From an expression's source to an ``Expression``: what it reads, and what is wrong with it.

Jinja2's own parser reads the source; what it makes of it is then held against a short list of what an expression may
be built from. Everything else (calls, subscripts, powers, private names, loops) is refused here, by name, so that an
editor learns of it while checking an issue; the sandbox in ``evaluate`` is the second line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from jinja2 import TemplateSyntaxError, nodes
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mailer.errors import nearest
from mailer.expressions.errors import ExpressionError
from mailer.expressions.expression import Expression, Scope
from mailer.expressions.filters import SIGNATURES, check_date_format
from mailer.expressions.names import Names, scope_of

TESTS = ("defined", "undefined", "none", "string", "number", "even", "odd", "in")
MAX_LENGTH = 2000
"""Characters of one expression."""
MAX_DEPTH = 50
"""How deep the parts of an expression may be nested; code that Jinja2 makes of deeper ones could overflow."""

_PLAIN = (
    nodes.Const,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Compare,
    nodes.Operand,
    nodes.Add,
    nodes.Sub,
    nodes.Mul,
    nodes.Div,
    nodes.FloorDiv,
    nodes.Mod,
    nodes.Neg,
    nodes.Pos,
    nodes.Concat,
    nodes.CondExpr,
    nodes.Tuple,
    nodes.List,
    nodes.Keyword,
)
_CURLY_QUOTES = re.compile("[“”„‟‚‘’«»]")
_ENVIRONMENT = ImmutableSandboxedEnvironment()


def parse_expression(
    source: str, line: int, names: Names, example: str = "{{ issue.date | date('long') }}"
) -> Expression:
    """An expression (without its braces) that stands on ``line``. Raises ``ExpressionError``.

    ``example``: what one looks like that stands in such a place. An expression is of recipient scope as soon as one
    name in it is; ``fold`` then takes its issue-scope names out.
    """
    text = source.strip()
    read = frozenset(_names(_tree(text, example), names, text))
    recipient = any(scope_of(name.partition(".")[0]) is Scope.RECIPIENT for name in read)
    return Expression(text, line, Scope.RECIPIENT if recipient else Scope.ISSUE, read)


def _tree(text: str, example: str) -> nodes.Expr:
    if not text:
        raise ExpressionError("There is nothing between the braces", todo="Write a name, such as {{ issue.title }}.")
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"An expression is longer than {MAX_LENGTH} characters", todo="Split it up.")
    try:
        parser = Parser(_ENVIRONMENT, text, state="variable")
        tree = parser.parse_expression()
        if not parser.stream.eos:
            raise _unreadable(text, f"unexpected '{parser.stream.current.value}'", example)
    except TemplateSyntaxError as error:
        message = (error.message or "").replace("unexpected 'end of template'", "its end is missing")
        raise _unreadable(text, message, example) from None
    except (ValueError, ArithmeticError, RecursionError):
        raise _unreadable(text, "a number or a nesting is too large", example) from None
    return tree


def _unreadable(text: str, message: str, example: str) -> ExpressionError:
    what = f"'{_short(text)}' is no expression: {message.rstrip('.')}"
    if _CURLY_QUOTES.search(text):
        return ExpressionError(what, todo='Use straight quotation marks: "…" instead of “…”.')
    if "'='" in message:
        return ExpressionError(what, todo="To compare, write == (two of them).")
    return ExpressionError(what, todo=f"Write it like {example}.")


def _names(node: nodes.Node, names: Names, text: str, depth: int = 0) -> Iterator[str]:
    """The dotted names below a node, after checking every node on the way."""
    if depth > MAX_DEPTH:
        raise ExpressionError(f"'{_short(text)}' is nested too deeply", todo="Split it up.")
    match node:
        case nodes.Getattr(node=nodes.Name(name=root), attr=member):
            names.check(root, member)
            yield f"{root}.{member}"
            return
        case nodes.Name(name=word):
            raise names.missing(word)
        case nodes.Filter():
            _check_filter(node)
        case nodes.Test(name=name) if name not in TESTS:
            raise ExpressionError(f"There is no test '{name[:60]}'", todo=nearest(name[:60], TESTS))
        case nodes.Test():
            pass
        case _ if not isinstance(node, _PLAIN):
            raise _refused(node)
    for child in node.iter_child_nodes():
        yield from _names(child, names, text, depth + 1)


def _check_filter(node: nodes.Filter) -> None:
    name = node.name
    if name not in SIGNATURES:
        raise ExpressionError(f"There is no filter '{name[:60]}'", todo=nearest(name[:60], tuple(SIGNATURES)))
    needed, known = SIGNATURES[name]
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        raise ExpressionError(f"'{name}' can't take * or ** arguments", todo="Write each argument out.")
    keywords = [str(keyword.key) for keyword in node.kwargs]
    for keyword in keywords:
        if keyword not in known:
            todo = nearest(keyword[:60], known) or "It takes none."
            raise ExpressionError(f"The filter '{name}' has no argument '{keyword[:60]}'", todo=todo)
    given = [*known[: len(node.args)], *keywords]
    if len(node.args) > len(known) or len(given) > len(set(given)):
        takes = f"It takes: {', '.join(known)}." if known else f"Write | {name} alone."
        raise ExpressionError(f"The filter '{name}' has too many arguments", todo=takes)
    if len(given) < needed:
        raise ExpressionError(
            f"The filter '{name}' needs {needed} arguments", todo=f"Write {name}({', '.join(known)})."
        )
    formats = [*node.args, *(keyword.value for keyword in node.kwargs)]
    if name == "date" and formats and isinstance(formats[0], nodes.Const):
        try:
            check_date_format(str(formats[0].value))
        except ValueError as error:
            what, _, todo = str(error).partition(". ")
            raise ExpressionError(what, todo=todo) from None


def _refused(node: nodes.Node) -> ExpressionError:
    match node:
        case nodes.Call(node=nodes.Getattr(attr=name)) | nodes.Call(node=nodes.Name(name=name)):
            todo = f"Write it as a filter: … | {name}." if name in SIGNATURES else "Filters can do such things."
            return ExpressionError(f"'{name[:60]}(…)' can't be called in an expression", todo=todo)
        case nodes.Getattr(attr=name):
            todo = f"Write … | {name}." if name in SIGNATURES else "A name has two parts, such as issue.title."
            return ExpressionError(f"'.{name[:60]}' has nothing to belong to", todo=todo)
        case nodes.Getitem():
            return ExpressionError("[…] can't be used in an expression", todo="Write subscriber.city, with a dot.")
        case nodes.Pow():
            return ExpressionError(
                "** can't be used in an expression", todo="Multiply instead: issue.week * issue.week."
            )
    kind = type(node).__name__.lower()
    return ExpressionError(
        f"A {kind} can't stand in an expression",
        todo="Names, texts, numbers, comparisons, and/or/not, arithmetic and filters can.",
    )


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"

"""Parsing expressions: names, scopes, and what is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.expressions.errors import ExpressionError
from mailer.expressions.expression import Scope
from mailer.expressions.filters import SIGNATURES, filters
from mailer.expressions.locale import Locale
from mailer.expressions.names import Names
from mailer.expressions.parse import parse_expression

NAMES = Names(frozenset({"city", "plan"}))


@pytest.mark.parametrize(
    ("source", "scope", "names"),
    [
        ("issue.title", Scope.ISSUE, {"issue.title"}),
        ("issue.date | holiday or issue.date | weekday", Scope.ISSUE, {"issue.date"}),
        ("'text'", Scope.ISSUE, set()),
        ("referrals.leaders | length > 2", Scope.ISSUE, {"referrals.leaders"}),
        ("links.share", Scope.RECIPIENT, {"links.share"}),
        ("subscriber.city | default(publication.name)", Scope.RECIPIENT, {"subscriber.city", "publication.name"}),
        (
            "subscriber.plan in ('a', 'b') and not audience.delta < 0",
            Scope.RECIPIENT,
            {"subscriber.plan", "audience.delta"},
        ),
        ("'subscriber.city' ~ issue.slug", Scope.ISSUE, {"issue.slug"}),
        ("subscriber.first_name if subscriber.first_name else 'you'", Scope.RECIPIENT, {"subscriber.first_name"}),
        ("issue.week is even", Scope.ISSUE, {"issue.week"}),
    ],
)
def test_scope_follows_from_the_names(source: str, scope: Scope, names: set[str]) -> None:
    """An expression is of recipient scope as soon as it reads one recipient name."""
    found = parse_expression(source, 7, NAMES)
    assert (found.source, found.line, found.scope, found.names) == (source, 7, scope, names)


@pytest.mark.parametrize(
    ("source", "what", "todo"),
    [
        ("subscriber.frist_name", "'subscriber' has no 'frist_name'", "'subscriber.first_name'"),
        ("subscriber.town", "has no 'town'", "city"),
        ("subscribers.city", "There is no 'subscribers.city'", "'subscriber.city'"),
        ("first_name", "There is no 'first_name'", "'subscriber.first_name'"),
        ("weather", "There is no 'weather'", "begins with one of: issue"),
        ("subscriber", "'subscriber' alone is no value", "email"),
        ("issue.titel | upper", "'issue' has no 'titel'", "'issue.title'"),
        ("issue.title | uper", "no filter 'uper'", "'upper'"),
        ("issue.week is evn", "no test 'evn'", "'even'"),
        ("issue.date | date('lnog')", "'lnog' is no date format", "'long'"),
        ("issue.date | date(fmt='long')", "no argument 'fmt'", "'format'"),
        ("issue.date | date('long', 'short')", "too many arguments", "format"),
        ("issue.date | date('long', format='short')", "too many arguments", "format"),
        ("issue.title | replace('a')", "needs 2 arguments", "replace(old, new)"),
        ("issue.title | join(*issue.title)", "* or **", "Write each"),
        ("issue.date | date(“long”)", "is no expression", "straight quotation marks"),
        ("issue.title.upper()", "'upper(…)' can't be called", "| upper"),
        ("range(3)", "'range(…)' can't be called", "Filters"),
        ("issue.title.upper", "'.upper' has nothing to belong to", "| upper"),
        ("subscriber['city']", "[…] can't be used", "with a dot"),
        ("issue.week ** 2", "** can't be used", "Multiply"),
        ("{'a': 1}", "A dict can't stand", "Names"),
        ("subscriber.__class__", "'subscriber' has no '__class__'", "Known"),
        ("''.__class__", "'.__class__' has nothing", "two parts"),
        ("(issue.title", "is no expression", "Write it like"),
        ("issue.title issue.slug", "unexpected 'issue'", "Write it like"),
        ("issue.week = 2", "unexpected '='", "write =="),
        ("(issue.week = 2)", "got '='", "write =="),
        ("issue.title +", "its end is missing", "Write it like"),
        ("", "nothing between the braces", "issue.title"),
        ("1" + " + 1" * 60, "nested too deeply", "Split"),
        ("(" * 1500, "too large", "Write it like"),
        ("'" + "x" * 3000 + "'", "longer than 2000", "Split"),
    ],
)
def test_a_wrong_expression_says_what_to_do(source: str, what: str, todo: str) -> None:
    """What an expression may not hold is refused with a reason and a suggestion."""
    with pytest.raises(ExpressionError) as caught:
        parse_expression(source, 1, NAMES)
    assert what in caught.value.what
    assert todo in caught.value.todo


def test_private_attribute_names_are_never_known() -> None:
    """An imported attribute whose name begins with an underscore can't be read."""
    with pytest.raises(ExpressionError):
        parse_expression("subscriber._secret", 1, Names(frozenset({"_secret"})))


def test_every_filter_has_a_signature() -> None:
    """The table of filters' arguments names exactly the filters there are."""
    assert set(SIGNATURES) == set(filters(Locale(), strict=True))


@settings(max_examples=150)
@given(st.one_of(st.text(), st.text(alphabet="subcriert._|()[]{}'\" +*/~%<=>,-0123iflsn", max_size=40)))
def test_any_text_parses_or_is_refused(source: str) -> None:
    """No text makes the parser raise anything but its own error."""
    with suppress(ExpressionError):
        assert parse_expression(source, 1, NAMES).source == source.strip()

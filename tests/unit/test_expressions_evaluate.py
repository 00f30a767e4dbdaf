"""Evaluation and folding."""

from __future__ import annotations

import datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.expressions.errors import ExpressionError
from mailer.expressions.evaluate import evaluator
from mailer.expressions.expression import Scope
from mailer.expressions.fold import fold
from mailer.expressions.locale import Locale
from mailer.expressions.names import Names
from mailer.expressions.parse import parse_expression
from mailer.model.people import COLUMNS, Subscriber

LOCALE = Locale("de")
NAMES = Names(frozenset({"city", "values"}))
ANNA = Subscriber(1, "anna@example.com", "Anna", attributes={"city": "Köln", "values": "x", "age": "41"})
VALUES = {"subscriber": ANNA, "links": {"share": "https://example.com/s/1"}, "issue": SimpleNamespace(week=24)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("subscriber.first_name", "Anna"),
        ("subscriber.city", "Köln"),
        ("subscriber.values", "x"),
        ("subscriber.unheard_of", ""),
        ("subscriber.referrals_this_week", 0),
        ("subscriber.id", ""),
        ("subscriber.attributes", ""),
        ("links.share", "https://example.com/s/1"),
        ("links.web_version", ""),
        ("issue.week", 24),
        ("nobody.at_home", ""),
        ("subscriber.age | int > 40", True),
        ("subscriber.first_name if subscriber.last_name", ""),
        ("'a' if subscriber.first_name == 'Anna' else 'b'", "a"),
        ("subscriber.first_name + 1", ""),
        ("1 / subscriber.referrals_this_week", ""),
        ("'x' * 1000000000", ""),
        ("'%1000000000d' % 1", ""),
        ("7 * 6", 42),
    ],
)
def test_an_expression_has_a_value_for_a_recipient(source: str, expected: object) -> None:
    """A recipient's expression gives its value, or an empty text where there is none; it never fails."""
    assert evaluator(source, LOCALE)(VALUES) == expected


@pytest.mark.parametrize("source", ["issue.week + 'a'", "1 / 0", "'x' * 1000000000"])
def test_strict_evaluation_fails_aloud(source: str) -> None:
    """In strict mode an expression that fails is an error that names it."""
    with pytest.raises(ExpressionError, match="can't be evaluated"):
        evaluator(source, LOCALE, strict=True)(VALUES)


def test_a_source_that_is_no_expression_is_an_error() -> None:
    """An evaluator of nonsense is refused when it is made, not when it runs."""
    with pytest.raises(ExpressionError, match="can't be compiled"):
        evaluator("a b", LOCALE)


def test_only_data_can_be_reached() -> None:
    """Neither methods nor private parts of a value can be read, even by a source that was never checked."""
    for source in ("issue.__class__", "subscriber.value", "links.keys", "subscriber.__class__.__mro__", "word.upper"):
        assert evaluator(source, LOCALE)({**VALUES, "word": "text"}) == ""


def test_evaluators_are_made_once() -> None:
    """The same source and locale give the same function."""
    assert evaluator("subscriber.city | upper", LOCALE) is evaluator("subscriber.city | upper", LOCALE)


@given(
    name=st.sampled_from([*COLUMNS, "referrals_this_week", "city", "missing"]),
    texts=st.lists(st.text(max_size=8), min_size=6, max_size=6),
    referrals=st.integers(0, 9),
    there=st.booleans(),
)
def test_a_plain_name_means_the_same_with_and_without_jinja(
    name: str, texts: list[str], referrals: int, there: bool
) -> None:
    """The direct lookup of a plain name agrees with Jinja2."""
    person = Subscriber(1, *texts[:5], attributes={"city": texts[5]}, referrals_this_week=referrals)
    values = {"subscriber": person} if there else {}
    assert evaluator(f"subscriber.{name}", LOCALE)(values) == evaluator(f"(subscriber.{name})", LOCALE)(values)


@pytest.mark.parametrize(
    ("source", "folded"),
    [
        ("subscriber.city", "subscriber.city"),
        ("subscriber.city ~ issue.week", "subscriber.city ~ 24"),
        ("subscriber.city or issue . title", "subscriber.city or 'It\\'s'"),
        ("subscriber.city ~ 'issue.week' ~ issue.week", "subscriber.city ~ 'issue.week' ~ 24"),
        ("subscriber.city | default(issue.title | title)", "subscriber.city | default('It\\'s' | title)"),
        ("subscriber.city < issue.date | date('short')", "subscriber.city < '2025-06-09' | date('short')"),
        ("subscriber.city if audience.delta > 0", "subscriber.city if (-3) > 0"),
        ("subscriber.city ~ publication.name", "subscriber.city ~ none"),
    ],
)
def test_folding_leaves_recipient_names_only(source: str, folded: str) -> None:
    """Issue-scope names become literals, and nothing else changes."""
    issue = {"week": 24, "title": "It's", "date": datetime.date(2025, 6, 9)}
    values = {"issue": issue, "audience": {"delta": -3}, "publication": {"name": None}}
    found = fold(parse_expression(source, 1, NAMES), values)
    assert found.source == folded
    assert found.scope is Scope.RECIPIENT
    assert found.names == {"subscriber.city"}


def test_a_list_cannot_be_folded() -> None:
    """A value that has no literal is refused with a way out."""
    with pytest.raises(ExpressionError, match=r"referrals\.leaders") as caught:
        fold(parse_expression("referrals.leaders and subscriber.city", 1, NAMES), {"referrals": {"leaders": [1]}})
    assert "{% if referrals.leaders %}" in caught.value.todo


@given(st.one_of(st.text(), st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.none()))
def test_a_folded_value_is_the_value(value: object) -> None:
    """What folding writes into the source evaluates to the very value again."""
    expression = parse_expression("[subscriber.city, issue.title] | last", 1, NAMES)
    found = evaluator(fold(expression, {"issue": {"title": value}}).source, LOCALE)(VALUES)
    assert found == value
    assert type(found) is type(value)

"""Filters, in the issue's language."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
from babel.numbers import get_group_symbol
from hypothesis import given
from hypothesis import strategies as st

from mailer.expressions.errors import ExpressionError
from mailer.expressions.evaluate import evaluator
from mailer.expressions.holiday import holiday_name
from mailer.expressions.locale import Locale, babel_locale, country_of, language_tag

GERMAN = Locale("de", "", "Europe/Berlin")
WHIT_MONDAY = datetime.date(2025, 6, 9)


def run(source: str, locale: Locale = GERMAN, *, strict: bool = False, **issue: object) -> object:
    return evaluator(source, locale, strict=strict)({"issue": issue})


def test_the_sentence_that_opens_an_issue() -> None:
    """Holiday, date and week make the sentence readers know."""
    day = run("issue.date | holiday or issue.date | weekday", date=WHIT_MONDAY)
    date = run("issue.date | date('long')", date=WHIT_MONDAY)
    week = run("issue.week", week=24)
    assert f"Heute ist {day}, der {date} und die KW{week}" == "Heute ist Pfingstmontag, der 9. Juni 2025 und die KW24"


@pytest.mark.parametrize(
    ("source", "locale", "value", "expected"),
    [
        ("issue.x | number", GERMAN, 19492, "19.492"),
        ("issue.x | number", GERMAN, "19492", "19.492"),
        ("issue.x | number", GERMAN, 1234.5, "1.234,5"),
        ("issue.x | number", GERMAN, Decimal("0.25"), "0,25"),
        ("issue.x | number", Locale("en"), 19492, "19,492"),
        ("issue.x | number", Locale("en", "DE"), 19492, "19,492"),
        ("issue.x | number", Locale("de", "CH"), 19492, f"19{get_group_symbol('de_CH')}492"),
        ("issue.x | number", Locale("tlh"), 19492, "19,492"),
        ("issue.x | signed", GERMAN, 35, "+35"),
        ("issue.x | signed", GERMAN, 1035, "+1.035"),
        ("issue.x | signed", GERMAN, -35, "-35"),
        ("issue.x | signed", GERMAN, 0, "±0"),
        ("issue.x | signed", Locale("sv"), -35, "−35"),
        ("issue.x | date", GERMAN, WHIT_MONDAY, "9. Juni 2025"),
        ("issue.x | date('short')", GERMAN, WHIT_MONDAY, "09.06.25"),
        ("issue.x | date('full')", GERMAN, WHIT_MONDAY, "Montag, 9. Juni 2025"),
        ("issue.x | date(format='d. MMM')", GERMAN, WHIT_MONDAY, "9. Juni"),
        ("issue.x | date", Locale("en", "GB"), WHIT_MONDAY, "9 June 2025"),
        ("issue.x | date", Locale("en"), "2025-06-09", "June 9, 2025"),
        ("issue.x | date", GERMAN, "2025-06-09T23:30:00+00:00", "10. Juni 2025"),
        ("issue.x | date", Locale("de", "", "No/Where"), "2025-06-09T23:30:00+00:00", "9. Juni 2025"),
        ("issue.x | weekday", GERMAN, WHIT_MONDAY, "Montag"),
        ("issue.x | holiday", GERMAN, WHIT_MONDAY, "Pfingstmontag"),
        ("issue.x | holiday", Locale("fr"), datetime.date(2025, 7, 14), "Fête nationale"),
        ("issue.x | holiday", Locale("en"), datetime.date(2025, 12, 25), ""),
        ("issue.x | holiday", Locale("en", "GB"), datetime.date(2025, 12, 25), "Christmas Day"),
        ("issue.x | holiday", Locale("nl"), datetime.date(2025, 4, 18), "Goede vrijdag"),
        ("issue.x | holiday", Locale("de", "FR"), datetime.date(2025, 7, 14), ""),
        ("issue.x | holiday", Locale("de", "XX"), WHIT_MONDAY, ""),
        ("issue.x | holiday", GERMAN, datetime.date(2025, 6, 10), ""),
        ("issue.x | holiday", GERMAN, datetime.date(1, 1, 1), ""),
        ("issue.x | default('du')", GERMAN, "", "du"),
        ("issue.x | default('du')", GERMAN, None, "du"),
        ("issue.x | default('du')", GERMAN, 0, 0),
        ("issue.x | upper ~ issue.x | lower ~ issue.x | title ~ issue.x | trim", GERMAN, "aB", "ABabAbaB"),
        ("issue.x | length", GERMAN, ["a", "b"], 2),
        ("issue.x | length", GERMAN, "", 0),
        ("issue.x | join(', ')", GERMAN, ["a", 1], "a, 1"),
        ("issue.x | join('+', 'name')", GERMAN, [{"name": "A"}, {"name": "B"}], "A+B"),
        ("issue.x | first ~ issue.x | last", GERMAN, "abc", "ac"),
        ("issue.x | first ~ issue.x | last", GERMAN, ["x", "y"], "xy"),
        ("issue.x | first ~ issue.x | last", GERMAN, [], ""),
        ("issue.x | replace('a', 'o')", GERMAN, "data", "doto"),
        ("issue.x | round", GERMAN, "2.6", 3),
        ("issue.x | round(1)", GERMAN, 2.66, 2.7),
        ("issue.x | int + 1", GERMAN, "41", 42),
        ("issue.x | int(7)", GERMAN, "x", 7),
        ("issue.x | float", GERMAN, "2.5", 2.5),
    ],
)
def test_filter_in_its_language(source: str, locale: Locale, value: object, expected: object) -> None:
    """Each filter writes a value as the locale's readers expect it."""
    assert run(source, locale, strict=True, x=value) == expected


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("issue.x | number", "abc"),
        ("issue.x | number", True),
        ("issue.x | signed", "1,5"),
        ("issue.x | date", "09.06.2025"),
        ("issue.x | date", "2025-13-45"),
        ("issue.x | date(issue.f)", WHIT_MONDAY),
        ("issue.x | weekday", 12),
        ("issue.x | holiday", "Monday"),
    ],
)
def test_wrong_input_passes_for_a_recipient_and_fails_while_compiling(source: str, value: object) -> None:
    """What a filter can't work on passes unchanged, but is an error in strict mode."""
    assert run(source, x=value, f="lnog") == value
    with pytest.raises(ExpressionError, match="can't be evaluated"):
        run(source, strict=True, x=value, f="lnog")


@pytest.mark.parametrize("name", ["number", "signed", "date", "weekday", "holiday"])
@pytest.mark.parametrize("value", [None, ""])
def test_nothing_stays_nothing(name: str, value: object) -> None:
    """A value that isn't there comes out of a filter as an empty text, in strict mode too."""
    assert run(f"issue.x | {name}", strict=True, x=value) == ""


@given(st.integers(-(10**12), 10**12))
def test_signed_shows_the_sign_of_every_number(amount: int) -> None:
    """``signed`` is the sign, then ``number`` of the absolute value."""
    sign = "±" if amount == 0 else "+" if amount > 0 else "-"
    assert run("issue.x | signed", x=amount) == f"{sign}{run('issue.x | number', x=abs(amount))}"


@given(st.dates(), st.sampled_from(["DE", "FR", "AT", "US", "IN", "XX", ""]), st.sampled_from(["de", "fr", "en", "hi"]))
def test_any_day_has_a_holiday_or_none(day: datetime.date, country: str, language: str) -> None:
    """Looking up a holiday never fails, for any day, country or language."""
    assert isinstance(holiday_name(day, country, language), str)


@pytest.mark.parametrize(
    ("locale", "country", "babel"),
    [
        (Locale("de"), "DE", "de"),
        (Locale("de-AT"), "AT", "de_AT"),
        (Locale("fr"), "FR", "fr"),
        (Locale("en"), "", "en"),
        (Locale("en", "gb"), "GB", "en_GB"),
        (Locale("de", "AT"), "AT", "de_AT"),
        (Locale("xx"), "", "en"),
    ],
)
def test_country_and_babel_locale(locale: Locale, country: str, babel: str) -> None:
    """A country comes from the setting, the tag or the language, and refines the language where it speaks it."""
    assert (country_of(locale), str(babel_locale(locale))) == (country, babel)


@pytest.mark.parametrize(
    ("text", "tag"), [("de", "de"), (" DE_at ", "de-AT"), ("zh-hant-tw", "zh-Hant-TW"), ("german", None), ("", None)]
)
def test_language_tags(text: str, tag: str | None) -> None:
    """A language tag gets its usual spelling; an unknown one is none."""
    assert language_tag(text) == tag

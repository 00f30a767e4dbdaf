"""The preferences form: what is taken, what is refused, and what it shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.expressions.locale import Locale
from mailer.model.people import Preferences
from mailer.web.fields import NAME_LENGTH, read_fields
from mailer.web.preferences_form import FIELDS, KEEP, PAUSES, Publisher, draw_form, judge, pause_end

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2030, 3, 18, 9, 30, tzinfo=BERLIN)  # the clocks change on the 31st
ANN = Preferences("Ann", "B", "de")
FORM = "application/x-www-form-urlencoded"
LABELS = {
    name: f"{name} {{date}} {{weeks}} {{length}}"
    for name in (
        "preferences_saved",
        "preferences_no_language",
        "preferences_paused",
        "preferences_no_pause",
        "preferences_unpause",
        "preferences_weeks",
        "preferences_error_length",
    )
}
PUBLISHER = Publisher(Locale("de", "DE", "Europe/Berlin"), ("de", "en"), LABELS)


@pytest.mark.parametrize(
    ("content_type", "body", "fields"),
    [
        (FORM, b"first_name=A%C3%B6+B&pause=2", {"first_name": "Aö B", "pause": "2"}),
        (FORM + "; charset=UTF-8", b"first_name=", {"first_name": ""}),
        ("", b"leave=yes&other=1", {"leave": "yes"}),
        (FORM, b"", None),
        (FORM, b"List-Unsubscribe=One-Click", None),
        (FORM, b"first_name=%FF", None),
        (FORM, b"first_name=\xff", None),
        (FORM, b"&".join([b"first_name=a"] * 51), None),
        ("application/json", b"first_name=a", None),
        ("multipart/form-data; boundary=x", b"first_name=a", None),
    ],
)
def test_fields(content_type: str, body: bytes, fields: dict[str, str] | None) -> None:
    """A urlencoded body's known fields are read as UTF-8; anything else is no form of ours."""
    assert read_fields(content_type, body, FIELDS) == fields


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        ({}, ANN),
        ({"first_name": "  Zoë \t Maria\r\n "}, replace(ANN, first_name="Zoë Maria")),
        ({"first_name": "", "last_name": ""}, replace(ANN, first_name="", last_name="")),
        ({"last_name": "<b>{{ 7*7 }}</b>"}, replace(ANN, last_name="<b>{{ 7*7 }}</b>")),
        ({"language": "en"}, replace(ANN, language="en")),
        ({"language": ""}, replace(ANN, language="")),
        ({"pause": "0"}, ANN),
        ({"pause": KEEP}, ANN),
        ({"pause": "2"}, replace(ANN, paused_until=datetime(2030, 4, 2, tzinfo=BERLIN).timestamp())),
    ],
)
def test_taken(sent: dict[str, str], wanted: Preferences) -> None:
    """What is sent is taken, blanks in names made one; what isn't sent stays."""
    answers = judge(sent, ANN, ("de", "en"), MONDAY)
    assert (answers.wanted, answers.errors) == (wanted, {})


@pytest.mark.parametrize(
    ("sent", "field", "error"),
    [
        ({"first_name": "x" * (NAME_LENGTH + 1)}, "first_name", "length"),
        ({"last_name": "a\0b"}, "last_name", "characters"),
        ({"last_name": "a\u202eb"}, "last_name", "characters"),
        ({"language": "tlh"}, "language", "choice"),
        ({"pause": "3"}, "pause", "choice"),
        ({"pause": "-2"}, "pause", "choice"),
        ({"pause": ""}, "pause", "choice"),
    ],
)
def test_refused(sent: dict[str, str], field: str, error: str) -> None:
    """A name that is too long or has control characters, and a choice that isn't offered, are refused by field."""
    answers = judge(sent, ANN, ("de", "en"), MONDAY)
    assert answers.errors == {field: f"preferences_error_{error}"}


def test_what_is_there_may_stay() -> None:
    """A long name and a language that an import brought are no error when the form comes back with them."""
    odd = Preferences("x" * (NAME_LENGTH + 1), "", "Klingonisch", 1e12)
    sent = {"first_name": odd.first_name, "last_name": "", "language": odd.language, "pause": KEEP}
    answers = judge(sent, odd, ("de",), MONDAY)
    assert (answers.wanted, answers.errors) == (odd, {})


def test_pause_end() -> None:
    """A pause ends with a day of the publication's, across a change of the clocks, and is the same all day long."""
    for weeks in PAUSES:
        ends = {pause_end(MONDAY.replace(hour=hour), weeks) for hour in (0, 12, 23)}
        assert len(ends) == 1
        end = datetime.fromtimestamp(ends.pop(), BERLIN)
        assert (end.hour, end.minute, (end.date() - MONDAY.date()).days) == (0, 0, weeks * 7 + 1)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(["first_name", "last_name", "language", "pause"]), st.text(max_size=120)))
def test_repeated(sent: dict[str, str]) -> None:
    """Whatever is sent, sent again it changes nothing more; names never hold line breaks or control characters."""
    fields = read_fields(FORM, urlencode(sent, errors="replace").encode(), FIELDS) or {}
    first = judge(fields, ANN, ("de", "en"), MONDAY)
    if not first.errors:
        assert judge(fields, first.wanted, ("de", "en"), MONDAY) == first
        assert all(ord(char) > 31 for char in first.wanted.first_name + first.wanted.last_name)


def test_form() -> None:
    """The form offers each language by its own name, and each pause with its last day; what holds is selected."""
    form = draw_form(replace(ANN, language="fr"), PUBLISHER, MONDAY, {}, saved=False)
    languages = [(option.value, option.text, option.tag, option.selected) for option in form.languages[1:]]
    assert languages == [
        ("de", "Deutsch", "de", False),
        ("en", "English", "en", False),
        ("fr", "Français", "fr", True),
    ]
    assert [option.value for option in form.pauses] == ["0", "2", "4", "8", "12"]
    assert [option.value for option in form.pauses if option.selected] == ["0"]
    assert "1. April 2030 2" in form.pauses[1].text
    assert (form.errors, form.saved) == ({}, "")


def test_form_of_a_pause() -> None:
    """Somebody who pauses sees until when, and is offered to end it; a pause that is over is none."""
    end = pause_end(MONDAY, 2)
    form = draw_form(replace(ANN, paused_until=end), PUBLISHER, MONDAY, {}, saved=True)
    assert [(option.value, option.selected) for option in form.pauses[:2]] == [(KEEP, True), ("0", False)]
    assert "preferences_paused 1. April 2030" in form.pauses[0].text
    assert "preferences_unpause" in form.pauses[1].text
    assert form.saved == LABELS["preferences_saved"]
    later = datetime.fromtimestamp(end, UTC)
    assert draw_form(replace(ANN, paused_until=end), PUBLISHER, later, {}, saved=False).pauses[0].selected
    assert draw_form(replace(ANN, paused_until=end), PUBLISHER, later, {}, saved=False).pauses[0].value == "0"


def test_form_with_errors() -> None:
    """An error stands at its field, with the number that it speaks of."""
    form = draw_form(ANN, PUBLISHER, MONDAY, {"first_name": "preferences_error_length"}, saved=False)
    assert form.errors == {"first_name": f"preferences_error_length {{date}} {{weeks}} {NAME_LENGTH}"}

"""The preferences form: what it shows, and what comes back with it. Pure: the day is handed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import babel
from babel.dates import format_date

from mailer.expressions.locale import Locale, babel_locale, language_tag
from mailer.model.people import Preferences
from mailer.web.fields import NAME_LENGTH, one_line, wrong_name

PAUSES = (2, 4, 8, 12)
"""Weeks."""

NO_PAUSE, KEEP = "0", "keep"

FIELDS = ("first_name", "last_name", "language", "pause", "leave")

_ERRORS = {
    "length": "preferences_error_length",
    "characters": "preferences_error_characters",
    "choice": "preferences_error_choice",
}


@dataclass(frozen=True, slots=True)
class Option:
    """One line of a select. ``tag``: the language of its text, where that isn't the page's."""

    value: str
    text: str
    selected: bool
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """What the template draws. ``errors``: texts by field; ``saved``: a text, empty before anything was saved."""

    first_name: str
    last_name: str
    languages: Sequence[Option]
    pauses: Sequence[Option]
    errors: Mapping[str, str]
    saved: str = ""
    name_length: int = NAME_LENGTH


@dataclass(frozen=True, slots=True)
class Answers:
    """What a person sent: their preferences from now on, or which fields are wrong (label names by field)."""

    wanted: Preferences
    errors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Publisher:
    """What the form needs to know of the publication. ``languages``: tags to choose from."""

    locale: Locale
    languages: tuple[str, ...]
    labels: Mapping[str, str]


def judge(fields: Mapping[str, str], current: Preferences, languages: Iterable[str], now: datetime) -> Answers:
    """What the fields ask for. A field that isn't there, or is wrong, stays as it is. ``now`` has a timezone."""
    errors: dict[str, str] = {}
    changes: dict[str, str] = {}
    for name, before in (("first_name", current.first_name), ("last_name", current.last_name)):
        value = one_line(fields.get(name, before))
        if wrong := wrong_name(value, before):
            errors[name] = _ERRORS[wrong]
        changes[name] = value
    language = fields.get("language", current.language)
    if language not in {"", current.language, *languages}:
        errors["language"] = _ERRORS["choice"]
        language = current.language
    paused_until = current.paused_until
    pause = fields.get("pause", KEEP)
    if pause == NO_PAUSE:
        paused_until = None
    elif pause in map(str, PAUSES):
        paused_until = pause_end(now, int(pause))
    elif pause != KEEP:
        errors["pause"] = _ERRORS["choice"]
    return Answers(replace(current, **changes, language=language, paused_until=paused_until), errors)


def pause_end(now: datetime, weeks: int) -> float:
    """When a pause ends, in Unix seconds: with the day that is so many weeks from today, where ``now`` is.

    So whoever sends the form twice asks for the same, and a pause of two weeks leaves out two of a weekly's issues.
    """
    day = now.date() + timedelta(weeks=weeks, days=1)
    return datetime.combine(day, time(), now.tzinfo).timestamp()


def last_day(paused_until: float, timezone: str) -> date:
    """The last day of a pause."""
    return datetime.fromtimestamp(paused_until - 1, ZoneInfo(timezone)).date()


def draw_form(
    shown: Preferences,
    publisher: Publisher,
    now: datetime,
    errors: Mapping[str, str],
    *,
    saved: bool = False,
    pause: str = "",
) -> Form:
    """The form as it says ``shown``; ``errors``: label names by field; ``pause``: the line that is chosen, where that
    isn't what holds."""
    labels = publisher.labels
    return Form(
        shown.first_name,
        shown.last_name,
        _languages(shown.language, publisher),
        _pauses(shown.paused_until, publisher, now, pause),
        {name: labels[label].replace("{length}", str(NAME_LENGTH)) for name, label in errors.items()},
        labels["preferences_saved"] if saved else "",
    )


def _languages(chosen: str, publisher: Publisher) -> list[Option]:
    tags = [*publisher.languages, *([chosen] if chosen and chosen not in publisher.languages else [])]
    named = sorted((_name_of(tag), tag) for tag in tags)
    none = Option("", publisher.labels["preferences_no_language"], chosen == "")
    return [none, *(Option(tag, name, tag == chosen, language_tag(tag) or "") for name, tag in named)]


def _name_of(tag: str) -> str:
    """What a language calls itself; what isn't a language stays as an import brought it."""
    known = language_tag(tag)
    name = babel.Locale.parse(known, sep="-").get_display_name() if known else None
    return name[0].upper() + name[1:] if name else tag


def _pauses(until: float | None, publisher: Publisher, now: datetime, chosen: str) -> list[Option]:
    labels, pausing = publisher.labels, until is not None and until > now.timestamp()

    def day(end: float) -> str:
        when = last_day(end, publisher.locale.timezone)
        return str(format_date(when, "long", locale=babel_locale(publisher.locale)))

    texts = {}
    if until is not None and pausing:
        texts[KEEP] = labels["preferences_paused"].replace("{date}", day(until))
    texts[NO_PAUSE] = labels["preferences_unpause" if pausing else "preferences_no_pause"]
    for weeks in PAUSES:
        text = labels["preferences_weeks"].replace("{weeks}", str(weeks))
        texts[str(weeks)] = text.replace("{date}", day(pause_end(now, weeks)))
    if chosen not in texts:
        chosen = KEEP if pausing else NO_PAUSE
    return [Option(value, text, value == chosen) for value, text in texts.items()]

"""Public holidays, by country and language."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import lru_cache

import holidays

_CATEGORIES = ("public", "optional")
_YEARS = range(1900, 2200)


def holiday_name(day: datetime.date, country: str, language: str) -> str:
    """The name of a country's holiday (public, or one that many take) in a language.

    Empty where there is none, and where the name is known in other languages only: a French name in a German sentence
    helps nobody, and ``{{ issue.date | holiday or issue.date | weekday }}`` then goes on with the weekday.
    """
    return _names(country, language, day.year).get(day, "") if country and day.year in _YEARS else ""


@lru_cache(maxsize=64)
def _names(country: str, language: str, year: int) -> Mapping[datetime.date, str]:
    try:
        known = holidays.country_holidays(country)
    except NotImplementedError:
        return {}
    spoken = _speaks(language, known.supported_languages, known.default_language)
    if spoken is None:
        return {}
    categories = tuple(category for category in _CATEGORIES if category in known.supported_categories)
    days = holidays.country_holidays(country, years=year, language=spoken, categories=categories)
    return {day: days.get_list(day)[0] for day in days}


def _speaks(language: str, supported: tuple[str, ...], default: str | None) -> str | None:
    wanted = language.replace("-", "_").split("_")
    if wanted[0] == "":
        return None
    mine = [tag for tag in (*((default,) if default else ()), *supported) if tag.split("_")[0] == wanted[0]]
    if not mine and not supported and wanted[0] == "en":
        return default or "en_US"
    exact = [tag for tag in mine if tag.split("_") == wanted]
    return next(iter(exact or mine), None)

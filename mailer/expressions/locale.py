"""In which language, country and timezone values are written out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import babel
from babel.core import get_global
from babel.languages import get_official_languages

_SPREAD = frozenset({"ar", "en", "es", "pt", "zh"})
"""Languages of so many countries that none can be guessed from them."""


@dataclass(frozen=True, slots=True)
class Locale:
    """``language``: a BCP 47 tag. ``country``: ISO 3166, or empty. ``timezone``: an IANA name."""

    language: str = "en"
    country: str = ""
    timezone: str = "UTC"


def language_tag(text: str) -> str | None:
    """A language tag in its usual spelling (``de_at`` → ``de-AT``); None where no such language is known."""
    try:
        found = babel.Locale.parse(text.strip().replace("_", "-"), sep="-")
    except (babel.UnknownLocaleError, ValueError, TypeError, AttributeError):
        return None
    return str(found).replace("_", "-")


@lru_cache(maxsize=256)
def country_of(locale: Locale) -> str:
    """The country whose holidays count: as given, else of the tag (``de-AT``), else the language's home (``de`` → DE).

    Empty for languages that many countries share, such as English.
    """
    if locale.country:
        return locale.country.upper()
    found = _parse(locale.language)
    if found is None:
        return ""
    if found.territory:
        return str(found.territory)
    if found.language in _SPREAD:
        return ""
    likely = str(get_global("likely_subtags").get(found.language, ""))
    return likely.rpartition("_")[2] if "_" in likely else ""


@lru_cache(maxsize=256)
def babel_locale(locale: Locale) -> babel.Locale:
    """Babel's locale for language and country (``en`` and ``GB`` → ``en_GB``); English for an unknown language.

    A country counts only where the language is official: CLDR's English for Germany writes 19,492 as ``19.492``, which
    nobody who reads English expects.
    """
    found = _parse(locale.language) or babel.Locale("en")
    country = locale.country.upper()
    if found.territory or found.language not in get_official_languages(country):
        return found
    return _parse(f"{locale.language}-{country}") or found


def _parse(tag: str) -> babel.Locale | None:
    known = language_tag(tag)
    return babel.Locale.parse(known, sep="-") if known else None

"""The filters of expressions: numbers, dates and holidays in the issue's language, and a few for text and lists.

Nothing there (``None``, an undefined name, an empty text) comes out as an empty text of every filter but ``default``.
What a filter can't work on (``'abc' | number``) depends on who is waiting: ``strict`` raises ``ValueError``, for an
issue's own values are known while compiling and an editor can mend them; otherwise the value passes unchanged, for one
subscriber's odd attribute mustn't stop their mail. Attributes are always text, so ``number`` reads ``'19492'`` and
``date`` reads ``'2025-06-09'``.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel.dates import format_date
from babel.numbers import format_decimal, get_minus_sign_symbol, get_plus_sign_symbol
from jinja2 import Undefined

from mailer.errors import nearest
from mailer.expressions.holiday import holiday_name
from mailer.expressions.locale import Locale, babel_locale, country_of
from mailer.expressions.member import member

DATE_FORMATS = ("short", "medium", "long", "full")
_DATE_LETTERS = frozenset("GyYuQqMLwWdDFEec")
_NUMBER = re.compile(r"[+-]?\d{1,30}(?:\.\d{1,30})?")
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d(?![\w-])|\d{4}-\d\d-\d\d(?=T)")

Filter = Callable[..., object]


def filters(locale: Locale, *, strict: bool) -> dict[str, Filter]:
    """Every filter by its name, for a locale."""
    babel = babel_locale(locale)

    def localised(work: Callable[..., str]) -> Filter:
        def apply(value: object, *args: object, **kwargs: object) -> object:
            if absent(value):
                return ""
            try:
                return work(value, *args, **kwargs)
            except (ValueError, TypeError, ArithmeticError):
                if strict:
                    raise
                return value

        return apply

    def number(value: object) -> str:
        return format_decimal(as_number(value), locale=babel)

    def signed(value: object) -> str:
        amount = as_number(value)
        if amount == 0:
            return "±0"
        sign = get_plus_sign_symbol(babel) if amount > 0 else get_minus_sign_symbol(babel)
        return f"{sign}{format_decimal(amount if amount > 0 else -amount, locale=babel)}"

    def date(value: object, format: object = "long") -> str:
        check_date_format(str(format))
        return format_date(as_date(value, locale.timezone), str(format), babel)

    def weekday(value: object) -> str:
        return format_date(as_date(value, locale.timezone), "EEEE", babel)

    def holiday(value: object) -> str:
        return holiday_name(as_date(value, locale.timezone), country_of(locale), locale.language)

    here = {work.__name__: localised(work) for work in (number, signed, date, weekday, holiday)}
    return {**here, **_PLAIN}


def absent(value: object) -> bool:
    """Whether a value counts as nothing. Zero and false are something."""
    return value is None or value == "" or isinstance(value, Undefined)


def as_number(value: object) -> float | Decimal:
    """A number, also from a text such as ``19492`` or ``-2.5``. Raises ``ValueError``."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return Decimal(value.strip())
    raise ValueError(f"'{str(value)[:60]}' is no number")


def as_date(value: object, timezone: str) -> datetime.date:
    """A date, also from an ISO 8601 text; a time with an offset is taken in ``timezone``. Raises ``ValueError``."""
    if isinstance(value, str) and _ISO_DATE.match(value):
        value = datetime.datetime.fromisoformat(value)
    if isinstance(value, datetime.datetime):
        return (value.astimezone(_zone(timezone)) if value.tzinfo else value).date()
    if isinstance(value, datetime.date):
        return value
    raise ValueError(f"'{str(value)[:60]}' is no date such as 2025-06-09")


def check_date_format(format: str) -> None:
    """Raises ``ValueError`` unless a text is one of ``DATE_FORMATS`` or a CLDR date pattern such as ``d. MMMM``."""
    if format in DATE_FORMATS:
        return
    letters = {letter for letter in re.sub(r"'[^']*'", "", format) if letter.isascii() and letter.isalpha()}
    if not letters or letters - _DATE_LETTERS or re.search(r"([a-zA-Z])\1{5}", format):
        known = nearest(format[:60], DATE_FORMATS)
        raise ValueError(f"'{format[:60]}' is no date format. {known} A pattern such as 'd. MMMM' is possible too.")


def _zone(name: str) -> datetime.tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return datetime.UTC


def _text(value: object) -> str:
    return "" if absent(value) else str(value)


def _items(value: object) -> list[object]:
    if absent(value):
        return []
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _default(value: object, fallback: object = "") -> object:
    return fallback if absent(value) else value


def _length(value: object) -> int:
    return len(value) if isinstance(value, str) else len(_items(value))


def _join(value: object, separator: object = "", attribute: object = None) -> str:
    items = _items(value)
    picked = items if attribute is None else [member(item, str(attribute)) for item in items]
    return str(separator).join(_text(item) for item in picked)


def _first(value: object) -> object:
    return value[:1] if isinstance(value, str) else next(iter(_items(value)), "")


def _last(value: object) -> object:
    return value[-1:] if isinstance(value, str) else next(reversed(_items(value)), "")


def _replace(value: object, old: object, new: object) -> str:
    return _text(value).replace(str(old), str(new))


def _int(value: object, default: object = 0) -> object:
    try:
        return int(as_number(value))
    except (ValueError, ArithmeticError):
        return default


def _float(value: object, default: object = 0.0) -> object:
    try:
        return float(as_number(value))
    except (ValueError, ArithmeticError):
        return default


def _round(value: object, digits: object = 0) -> object:
    try:
        places = int(as_number(digits))
        amount = as_number(value)
        return round(amount) if places == 0 else round(amount, places)
    except (ValueError, TypeError, ArithmeticError):
        return value


_PLAIN: Mapping[str, Filter] = {
    "default": _default,
    "upper": lambda value: _text(value).upper(),
    "lower": lambda value: _text(value).lower(),
    "title": lambda value: _text(value).title(),
    "trim": lambda value: _text(value).strip(),
    "length": _length,
    "join": _join,
    "first": _first,
    "last": _last,
    "replace": _replace,
    "round": _round,
    "int": _int,
    "float": _float,
}

SIGNATURES: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "number": (0, ()),
    "signed": (0, ()),
    "date": (0, ("format",)),
    "weekday": (0, ()),
    "holiday": (0, ()),
    "default": (0, ("fallback",)),
    "upper": (0, ()),
    "lower": (0, ()),
    "title": (0, ()),
    "trim": (0, ()),
    "length": (0, ()),
    "join": (0, ("separator", "attribute")),
    "first": (0, ()),
    "last": (0, ()),
    "replace": (2, ("old", "new")),
    "round": (0, ("digits",)),
    "int": (0, ("default",)),
    "float": (0, ("default",)),
}
"""Each filter's arguments: how many it needs, and their names in order."""

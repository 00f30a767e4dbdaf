"""The rows of a ``calendar`` block: a list of ``- 2025-06-10: text``."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

from babel.dates import format_date, format_skeleton
from markupsafe import Markup

from mailer.compile.markdown import to_inline_html
from mailer.compile.plain import Reading, to_inline_text
from mailer.content.document import Block, Prose
from mailer.errors import CompileError
from mailer.expressions.holiday import holiday_name
from mailer.expressions.locale import Locale, babel_locale, country_of

_ENTRY = re.compile(r"\s*[-*+]\s+(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})\s*:?\s*(?P<text>.*)")
_FORM = "Each line of a calendar reads such as: - 2025-06-10: what happens"


@dataclass(frozen=True, slots=True)
class Row:
    """One day: its name in words, what happens as HTML and as text, and whether that is only a public holiday."""

    day: str
    html: Markup
    text: str
    holiday: bool


def calendar_rows(block: Block, file: str, locale: Locale, day: str, reading: Reading) -> list[Row]:
    """The rows in the order of the file. A day without text shows its public holiday, if it is one.

    ``day`` is how a day is written, such as ``{weekday} {day}``. Raises ``CompileError`` with the line that is wrong.
    """
    rows: list[Row] = []
    for node in block.body:
        if not isinstance(node, Prose):
            raise CompileError("A calendar holds nothing but its list", where=f"{file}:{node.line}", todo=_FORM)
        for number, line in enumerate(node.markdown.split("\n"), node.line):
            if line.strip():
                rows.append(_row(line, f"{file}:{number}", locale, day, reading))
    return rows


def _row(line: str, where: str, locale: Locale, day: str, reading: Reading) -> Row:
    found = _ENTRY.fullmatch(line)
    if found is None:
        raise CompileError(f"'{line.strip()[:60]}' is no day of a calendar", where=where, todo=_FORM)
    try:
        date = datetime.date.fromisoformat(found.group("date"))
    except ValueError as error:
        raise CompileError(f"'{found.group('date')}' is no date: {error}", where=where) from None
    tongue = babel_locale(locale)
    name = day.format(
        weekday=format_date(date, "EEEE", locale=tongue), day=format_skeleton("MMMMd", date, locale=tongue)
    )
    text = found.group("text").strip()
    if not text and (feast := holiday_name(date, country_of(locale), locale.language)):
        return Row(name, Markup.escape(feast), feast, True)
    # The Markdown is ours to trust: HTML in it was escaped.
    return Row(name, Markup(to_inline_html(text)), to_inline_text(text, reading), False)  # noqa: S704

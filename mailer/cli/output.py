"""How commands print: tables for people, JSON for programs, and times for both."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mailer.model.ledger import RecipientState, SendState

_UNBOUNDED = 1000
"""Columns where there is no terminal to fit into."""

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _UNBOUNDED)
"""stdout: results."""

err = Console(stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else _UNBOUNDED)
"""stderr: progress and notices."""

STYLES: dict[str, str] = {
    RecipientState.SENT: "green",
    RecipientState.DEFERRED: "yellow",
    RecipientState.FAILED: "red",
    RecipientState.IN_DOUBT: "magenta",
    RecipientState.EXPIRED: "red",
    RecipientState.SKIPPED: "dim",
    SendState.RUNNING: "cyan",
    SendState.FINISHED: "green",
    SendState.PAUSED: "yellow",
    SendState.CANCELLED: "red",
    SendState.SCHEDULED: "blue",
}
"""Colours of states, the same everywhere."""


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def print_json_line(value: Any) -> None:
    """A JSON document on a line of stdout, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def stream_json(items: Iterable[Any]) -> None:
    """A JSON array on stdout, an item a line, never whole in memory."""
    separator = "[\n"
    for item in items:
        sys.stdout.write(separator + json.dumps(item, ensure_ascii=False))
        separator = ",\n"
    sys.stdout.write("[]\n" if separator == "[\n" else "\n]\n")


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """A table without lines, the same everywhere; columns named in ``right`` hold numbers."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return made


def state(value: str) -> Text:
    """A state in its colour, in people's words."""
    return Text(value.replace("_", " "), style=STYLES.get(value, ""))


def number(value: float) -> str:
    """A count with thousands apart."""
    return f"{value:,.0f}"


def plural(count: int, one: str, many: str = "") -> str:
    """``1 recipient``, ``2 recipients``."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def iso(moment: float | None) -> str | None:
    """Unix seconds as ISO 8601 in UTC, for programs."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def local(moment: float, timezone: str) -> str:
    """Unix seconds as people read them, in the publication's timezone."""
    return f"{datetime.fromtimestamp(moment, ZoneInfo(timezone)):%a %d %b %Y %H:%M} {timezone}"


def brief(moment: float, timezone: str) -> str:
    """The same for tables."""
    return f"{datetime.fromtimestamp(moment, ZoneInfo(timezone)):%Y-%m-%d %H:%M}"


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def shown(text: str) -> str:
    """A stranger's text with control characters made visible, so that a terminal obeys none of them."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def plain(text: str) -> Text:
    """The same for a table, where brackets would mean styles."""
    return Text(shown(text))

"""Made-up subscribers: the n-th is always the same person."""

from __future__ import annotations

import csv
from pathlib import Path

from mailer.model.people import Subscriber

FIRST = ("Anna", "Ben", "Clara", "David", "Emma", "Finn", "Käthe", "Lukas", "Söhnke", "Vera", "Zoë", "")
LAST = ("Bauer", "Groß", "Jäger", "Klein", "Krüger", "Müller", "Schäfer", "Weiß")
DOMAINS = 97
"""How many domains they share."""

COLUMNS = ("email", "first_name", "last_name", "language", "timezone", "plan", "joined")


def person(number: int) -> Subscriber:
    """The subscriber of that number, from 1 on. One in twelve has no name; attributes: ``plan`` and ``joined``."""
    first = FIRST[number % len(FIRST)]
    return Subscriber(
        number,
        f"reader{number}@site{number % DOMAINS}.example",
        first,
        LAST[number // len(FIRST) % len(LAST)] if first else "",
        "de",
        "Europe/Berlin",
        {
            "plan": "premium" if number % 16 == 0 else "free",
            "joined": f"2025-{1 + number % 12:02d}-{1 + number % 28:02d}",
        },
    )


def write_csv(path: Path, count: int) -> None:
    """Writes people 1 to ``count`` as ``mailer subscribers import`` takes them."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for one in map(person, range(1, count + 1)):
            rows.writerow(
                (one.email, one.first_name, one.last_name, one.language, one.timezone, *one.attributes.values())
            )

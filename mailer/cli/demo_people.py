"""The readers of the demo's newsletter: 500 people who don't exist, the same ones every time."""

from __future__ import annotations

import csv
import io
import random

REFUSED, FULL, GREYLISTED = 9, 5, 12
"""How many live where the capture refuses, defers or greylists them."""

# fmt: off
_FIRST = (
    "Ada", "Bela", "Carlotta", "Dörte", "Emil", "Fjodor", "Grete", "Hauke", "Ilse", "Jaroslaw", "Käthe", "Levke",
    "Matti", "Nuria", "Ömer", "Pelle", "Quentin", "Rosalie", "Sören", "Tilly", "Uta", "Valentin", "Wiebke",
    "Xaver", "Yasemin", "Zita", "Änne", "Björn", "Chloë", "Dragan",
)
# fmt: on
# fmt: off
_LAST = (
    "Apfelbaum", "Brunnengräber", "Distelfink", "Eichelhäher", "Fliederbusch", "Gießmann", "Hagebutt",
    "Igelsbach", "Kohlmeise", "Löwenzahn", "Moosgruber", "Nußbaumer", "Pflaumenkern", "Quendel", "Rübsam",
    "Süßkirsch", "Tannenzapf", "Unkraut", "Veilchenfeld", "Wurzelsepp",
)
# fmt: on
_HOMES = ("gartenpost.example", "beetmail.example", "laube7.example", "spaten.example", "gärtnerei-wühlmaus.example")
_GARDENS = ("Balkon", "Schrebergarten", "Hinterhof", "Gewächshaus", "Fensterbank")


def people_csv(count: int = 500) -> str:
    """A list as ``mailer subscribers import`` reads it."""
    chance = random.Random(500)  # noqa: S311 - nothing secret
    awkward = ["refused.example"] * REFUSED + ["full.example"] * FULL + ["greylisted.example"] * GREYLISTED
    homes = awkward + [chance.choice(_HOMES) for _ in range(count - len(awkward))]
    chance.shuffle(homes)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["email", "first_name", "last_name", "language", "timezone", "garden"])
    for number, home in enumerate(homes, 1):
        first, last = chance.choice(_FIRST), chance.choice(_LAST)
        if number % 11 == 0:
            first = last = ""
        writer.writerow([f"leser{number}@{home}", first, last, "de", "Europe/Berlin", chance.choice(_GARDENS)])
    return text.getvalue()

"""The demo's readers."""

from __future__ import annotations

import csv
import io

from mailer.cli.demo_people import FULL, GREYLISTED, REFUSED, people_csv
from mailer.model.address import parse_address


def test_people() -> None:
    """There are 500 different ones with legal addresses, none of which exists, and as many misbehave as is said."""
    rows = list(csv.DictReader(io.StringIO(people_csv())))
    addresses = [parse_address(row["email"]) for row in rows]
    assert len({address.key for address in addresses}) == len(rows) == 500
    assert all(address.domain.endswith(".example") for address in addresses)
    for domain, count in {"refused": REFUSED, "full": FULL, "greylisted": GREYLISTED}.items():
        assert sum(address.domain == f"{domain}.example" for address in addresses) == count


def test_same_every_time() -> None:
    """Two demos send to the same people."""
    assert people_csv() == people_csv()

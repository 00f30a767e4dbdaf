"""Limits of destinations and relays in the configuration."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from mailer.config.load import Loaded, load_settings
from mailer.errors import ConfigError

RELAY = '[[relays]]\nhost = "mail.example.com"\n'


def load(directory: Path, text: str) -> Loaded:
    path = directory / "mailer.toml"
    path.write_text(text)
    return load_settings(path, {})


@pytest.mark.parametrize(
    "text",
    [
        '[delivery.domains."gmail.com"]\nrate = "5/s"\n[delivery.domains."web.de"]\nrate = "2/s"\n',
        '[delivery.domains."web.de"]\nrate = "5/s"\n[delivery.domains."gmx.de"]\nrate = "5/s"\n',
    ],
)
def test_destinations(tmp_path: Path, text: str) -> None:
    """Different destinations may have different limits, and one of them the same limit twice."""
    assert len(load(tmp_path, text).settings.delivery.domains) == 2


def test_one_destination_with_two_limits(tmp_path: Path) -> None:
    """Two domains of one provider with different limits are an error that names both."""
    text = '[delivery.domains."web.de"]\nrate = "5/s"\n[delivery.domains."gmx.de"]\nrate = "2/s"\n'
    with pytest.raises(ConfigError, match=r"'web\.de' and 'gmx\.de' are the same destination \(gmx\.net\)") as caught:
        load(tmp_path, text)
    assert "mailer.toml:3" in str(caught.value)


def test_warm_up(tmp_path: Path) -> None:
    """A relay's warm-up has messages of the first day, that day, and a growth with a default."""
    [relay] = load(tmp_path, RELAY + "warm_up = 500\nwarm_up_since = 2030-01-31\nweight = 3\n").settings.relays
    assert (relay.warm_up, relay.warm_up_since, relay.warm_up_growth) == (500, date(2030, 1, 31), 1.5)
    assert relay.weight == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("warm_up = 500\n", "warm_up and warm_up_since"),
        ("warm_up_since = 2030-01-31\n", "warm_up and warm_up_since"),
        ('warm_up = 500\nwarm_up_since = "soon"\n', "warm_up_since"),
        ("warm_up = 0\nwarm_up_since = 2030-01-31\n", "must be at least 1"),
        ("warm_up_growth = 0.5\n", "must be at least 1"),
        ("weight = 0\n", "must be more than 0"),
    ],
)
def test_wrong(tmp_path: Path, text: str, says: str) -> None:
    """What makes no sense is refused, and the key is named."""
    with pytest.raises(ConfigError, match=says):
        load(tmp_path, RELAY + text)

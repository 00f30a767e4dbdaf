"""The worker's log."""

from __future__ import annotations

import logging
import sys

import pytest

from workers.logs import Logfmt, without_addresses


def record(message: str, *, broken: bool = False) -> logging.LogRecord:
    info = None
    if broken:
        try:
            raise ValueError("no such mailbox: anna.meier@example.com")
        except ValueError:
            info = sys.exc_info()
    return logging.LogRecord("workers.run", logging.WARNING, __file__, 1, message, (), info)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("550 <anna.meier@example.com> unknown", "550 <a***@example.com> unknown"),
        ("to=jörg+news@münchen.example,", "to=j***@münchen.example,"),
        ('"o\'brien@example.com"', '"o\'b***@example.com"'),
        ("redis://me:***@host/0", "redis://me:***@host/0"),
        ("no address here, 5 @ 3", "no address here, 5 @ 3"),
    ],
)
def test_no_addresses(text: str, shown: str) -> None:
    """The local part of an address is cut to its first letter."""
    assert without_addresses(text) == shown


def test_one_line() -> None:
    """A message with line breaks and quotes is one line, and so is a traceback; neither shows an address."""
    line = Logfmt().format(record('she said "no"\r\nlevel=error to bob@example.com', broken=True))
    assert "\n" not in line
    assert "\r" not in line
    assert " level=warning " in line
    assert r'msg="she said \"no\"\nlevel=error to b***@example.com"' in line
    assert "Traceback" in line
    assert "anna.meier" not in line

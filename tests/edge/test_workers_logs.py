"""The worker's log."""

from __future__ import annotations

import logging
import re
import sys

import pytest

from workers.logs import Logfmt, address_hider, shown

KEY = b"sixteen bytes or more"


def record(message: str, *, broken: bool = False) -> logging.LogRecord:
    info = None
    if broken:
        try:
            raise ValueError("no such mailbox: anna.meier@example.com")
        except ValueError:
            info = sys.exc_info()
    return logging.LogRecord("workers.run", logging.WARNING, __file__, 1, message, (), info)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("550 <anna.meier@example.com> unknown", "550 <addr:#@example.com> unknown"),
        ("to=jörg+news@münchen.example,", "to=addr:#@münchen.example,"),
        ('"o\'brien@example.com"', '"addr:#@example.com"'),
        ("/unsubscribe?who=anna%40example.com&x=1", "/unsubscribe?who=addr:#%40example.com&x=1"),
        ('<"anna meier"@example.com>', "<addr:#@example.com>"),
        ("redis://me:***@host/0", "redis://me:***@host/0"),
        ("no address here, 5 @ 3", "no address here, 5 @ 3"),
    ],
)
def test_no_addresses(text: str, form: str) -> None:
    """In the place of each address's local part stands a hash; all else stays."""
    assert re.fullmatch(re.escape(form).replace(r"\#", "[0-9a-f]{10}"), address_hider(KEY)(text))


def test_same_person_same_hash() -> None:
    """An address is the same word however it is written, another word for another key or another person."""
    hide = address_hider(KEY)
    written = ["Anna.Meier@Example.com", "anna.meier@example.com", "anna.meier@EXAMPLE.COM"]
    assert len({hide(text).casefold() for text in written}) == 1
    assert hide("anna@example.com") != address_hider(b"another key of 16")("anna@example.com")
    assert hide("anna@example.com") != hide("anne@example.com")
    assert hide("j@münchen.example").split("@")[0] == hide("j@xn--mnchen-3ya.example").split("@")[0]


def test_one_line() -> None:
    """A message with line breaks and quotes is one line, and so is a traceback; neither shows an address."""
    line = Logfmt(address_hider(KEY)).format(record('she said "no"\r\nlevel=error to bob@example.com', broken=True))
    assert "\n" not in line
    assert "\r" not in line
    assert " level=warning " in line
    assert r'msg="she said \"no\"\nlevel=error to addr:' in line
    assert "Traceback" in line
    assert "anna.meier" not in line
    assert "bob@" not in line


def test_addresses_shown() -> None:
    """With --log-addresses they stand there as they are."""
    assert 'msg="to bob@example.com"' in Logfmt(shown).format(record("to bob@example.com"))

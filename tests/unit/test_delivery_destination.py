"""Destinations: domains, and the providers behind many of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.delivery.destination import GROUPS, destination, same_destination


@pytest.mark.parametrize(
    ("email", "expected"),
    [
        ("a@example.org", "example.org"),
        ("a@EXAMPLE.Org.", "example.org"),
        ("example.org", "example.org"),
        ("a@googlemail.com", "gmail.com"),
        ("a@hotmail.de", "outlook.com"),
        ("a@hotmail.co.uk", "outlook.com"),
        ("a@live.com.au", "outlook.com"),
        ("a@Live.NL", "outlook.com"),
        ("a@live.example.com", "live.example.com"),
        ("a@live.com.evil.example", "live.com.evil.example"),
        ("a@web.de", "gmx.net"),
        ("a@gmx.at", "gmx.net"),
        ("a@yahoo.co.jp", "yahoo.com"),
        ("a@ymail.com", "yahoo.com"),
        ("a@me.com", "icloud.com"),
        ("a@magenta.de", "t-online.de"),
        ("a@bücher.example", "xn--bcher-kva.example"),
        ("a@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a@b@gmail.com", "gmail.com"),
        ("a@\u2028x", "\u2028x".strip()),
        ("", ""),
    ],
)
def test_destination(email: str, expected: str) -> None:
    """An address belongs to its provider's group, or to its domain."""
    assert destination(email) == expected


@pytest.mark.parametrize("name", GROUPS)
def test_group_holds_its_own_name(name: str) -> None:
    """A group is called after one of its domains, and each of them is in no other group."""
    assert destination(name) == name
    for domain in GROUPS[name]:
        assert destination(domain.replace(".*", ".com")) == name


def test_domains_are_listed_once() -> None:
    """No domain stands in two groups."""
    listed = [domain for domains in GROUPS.values() for domain in domains]
    assert len(listed) == len(set(listed))


@given(st.text(max_size=40))
def test_takes_anything(text: str) -> None:
    """Any text has a destination, and that is its own destination."""
    name = destination(text)
    assert destination(name) == name


def test_same_destination() -> None:
    """Two members of one group are found, with the group's name; others are no trouble."""
    assert same_destination(["web.de", "example.org", "gmx.de"]) == [("web.de", "gmx.de", "gmx.net")]
    assert same_destination(["gmail.com", "outlook.com"]) == []

"""Header fields."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.headerregistry import AddressHeader

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.wire.headers import NAME_LIMIT, clean, field, mailbox, phrase, unstructured

TEXTS = [
    "Hello",
    "Grüße aus Köln",
    "a" * 200,
    "word " * 40,
    "ein Wörtchen " * 20,
    "two  blanks " * 12,
    "=?utf-8?q?fake?=",
    "😀" * 60,
    "日本語の件名" * 10,
    "x\r\nBcc: evil@example.com",
    "tab\tand\0nul",
    "U+2028\u2028here",
    "e" * 68 + "ä",
    "  around  ",
    "a" * 69 + " " + "b" * 10,
    "a" * 77,
    "a" * 78 + " b",
]


def parsed(raw: bytes) -> str:
    message = message_from_bytes(raw + b"\r\n", policy=policy.default)
    assert message.keys() == ["Subject"]
    return str(message["Subject"])


def assert_folded(raw: bytes) -> None:
    assert raw.endswith(b"\r\n")
    lines = raw[:-2].split(b"\r\n")
    for number, line in enumerate(lines):
        assert len(line) <= 78
        assert all(0x20 <= byte < 0x7F for byte in line)
        assert line.strip()
        assert number == 0 or line.startswith(b" ")
        for word in line.split():
            if word.startswith(b"=?"):
                assert len(word) <= 75


@pytest.mark.parametrize("text", TEXTS)
def test_subject_comes_back(text: str) -> None:
    """A subject is one field of short ASCII lines and decodes to its text in one line."""
    raw = field("Subject", text)
    assert_folded(raw)
    assert parsed(raw) == clean(text)


@settings(max_examples=200)
@given(st.text(max_size=120))
def test_any_subject_comes_back(text: str) -> None:
    """No text can end the field, begin another, or be changed on its way."""
    raw = field("Subject", text)
    assert_folded(raw) if clean(text) else None
    assert parsed(raw).split() == clean(text).split()


def test_each_encoded_word_decodes_alone() -> None:
    """No character is split between two encoded-words (RFC 2047 §5)."""
    words = unstructured("ä😀" * 40, 9).split("\r\n ")
    assert len(words) > 3
    for word in words:
        assert "\ufffd" not in parsed(f"Subject: {word}\r\n".encode())


NAMES = [
    ("Erika Mustermann", "Erika Mustermann"),
    ("Dr. Who", "Dr. Who"),
    ('Anna "Ann" O\'Neil', 'Anna "Ann" O\'Neil'),
    ("back\\slash", "back\\slash"),
    ("Müller, Jörg", "Müller, Jörg"),
    ("Evil <evil@example.com>", "Evil <evil@example.com>"),
    ("a@b.c, d@e.f", "a@b.c, d@e.f"),
    ("x\r\nBcc: y@example.com", "x Bcc: y@example.com"),
    ("=?utf-8?q?a?=", "=?utf-8?q?a?="),
    ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ('"' * 60, '"' * 60),
    (" ", ""),
]


@pytest.mark.parametrize(("name", "shown"), NAMES)
def test_display_name_is_only_a_name(name: str, shown: str) -> None:
    """Whatever a name holds, the field has one address, and shows the name."""
    raw = f"To: {mailbox(name, 'someone@example.org', 4)}\r\n".encode("ascii")
    message = message_from_bytes(raw + b"\r\n", policy=policy.default)
    assert message.keys() == ["To"]
    to = message["To"]
    assert isinstance(to, AddressHeader)
    assert [address.addr_spec for address in to.addresses] == ["someone@example.org"]
    # The stdlib's address parser puts a blank between encoded-words, which RFC 2047 §6.2 forbids.
    assert to.addresses[0].display_name.replace(" ", "") == shown.replace(" ", "")
    assert_folded(raw)


@settings(max_examples=200)
@given(st.text(max_size=100))
def test_any_display_name_leaves_the_address_alone(name: str) -> None:
    """No name changes how many addresses there are, or which."""
    raw = f"To: {mailbox(name, 'someone@example.org', 4)}\r\n".encode("ascii")
    to = message_from_bytes(raw + b"\r\n", policy=policy.default)["To"]
    assert [address.addr_spec for address in to.addresses] == ["someone@example.org"]
    assert_folded(raw)


def test_long_names_are_cut() -> None:
    """A display name has at most 70 characters."""
    assert phrase("n" * 500, 4).startswith("=?utf-8?q?nnn")
    coded = mailbox("n" * 500, "a@b.de", 4).removesuffix(" <a@b.de>").rstrip()
    assert str(make_header(decode_header(coded))) == "n" * (NAME_LIMIT - 1) + "…"

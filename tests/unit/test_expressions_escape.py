"""Escaping: no value gets out of its place."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Undefined

from mailer.expressions.escape import escape
from mailer.model.compiled import Escape

NASTY = "\"'<>&;=\\`/{}%#:?@ \t\r\n\x00\x0b\x1b\x7f\x85\u2028\u2029\u202e\u2066\u2069\ufeffaäß😀-"
VALUES = st.one_of(
    st.text(), st.text(alphabet=NASTY, max_size=30), st.text(alphabet="htps:/javcri<\"' \t\n", max_size=20)
)


class Reader(HTMLParser):
    """Notes what an HTML parser makes of a document."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


def cleaned(value: str) -> str:
    """What is left of a value to read: controls as spaces, without bidirectional overrides."""
    value = re.sub("[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", value)
    return re.sub("[\ufffe\uffff]", "\ufffd", re.sub("[\u202a-\u202e\u2066-\u2069]", "", value))


@given(VALUES)
def test_text_stays_text(value: str) -> None:
    """HTML text reads as the value, and brings no markup."""
    found = read(f"<p>{escape(value, Escape.TEXT)}</p>")
    assert (found.text, found.tags) == (cleaned(value), ["p"])


@given(VALUES)
@pytest.mark.parametrize("quote", ['"', "'"])
def test_an_attribute_stays_an_attribute(quote: str, value: str) -> None:
    """An attribute reads as the value in either kind of quotation marks, and brings no other attribute."""
    found = read(f"<p title={quote}{escape(value, Escape.ATTRIBUTE)}{quote}>x</p>")
    assert (found.attributes, found.tags, found.text) == ([("title", cleaned(value))], ["p"], "x")


@given(VALUES)
def test_a_url_has_a_harmless_scheme(value: str) -> None:
    """A whole URL is nothing, ``#``, or begins with a scheme that runs no script; it ends where its slot ends."""
    found = read(f'<a href="{escape(value, Escape.URL)}">x</a>')
    [(_, href)] = found.attributes
    assert found.text == "x"
    assert href is not None
    assert href in ("", "#") or href.lower().startswith(("http://", "https://", "mailto:", "tel:"))
    assert not re.search('[\x00-\x20\x7f-\x9f"<>\\\\\u202a-\u202e]', href)


@given(VALUES)
def test_part_of_a_url_decodes_to_the_value(value: str) -> None:
    """A part of a URL holds only unreserved characters and percent-encoding, and decodes to the value."""
    found = escape(value, Escape.URL_PART)
    assert re.fullmatch(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})*", found)
    assert unquote(found) == value


@given(VALUES)
def test_a_header_is_one_line(value: str) -> None:
    """A header's value has no line break, no control character, no blank at its ends."""
    found = escape(value, Escape.HEADER)
    assert found == " ".join(cleaned(value).split())
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", found)


@given(VALUES)
def test_plain_text_keeps_its_signs(value: str) -> None:
    """In the text part only control characters and bidirectional overrides change."""
    assert escape(value, Escape.PLAIN) == cleaned(value)


@pytest.mark.parametrize(
    ("value", "how", "expected"),
    [
        ("Anna", Escape.TEXT, "Anna"),
        ("O'Neil & <Co>", Escape.TEXT, "O&#39;Neil &amp; &lt;Co&gt;"),
        ("Eve\r\nBcc: x@example.com", Escape.HEADER, "Eve Bcc: x@example.com"),
        ("gpj\u202efdp.exe", Escape.TEXT, "gpjfdp.exe"),
        ("https://example.com/?a=1&b=ü", Escape.URL, "https://example.com/?a=1&amp;b=ü"),
        (" https://example.com/a b ", Escape.URL, "https://example.com/a%20b"),
        ("HTTPS://example.com", Escape.URL, "HTTPS://example.com"),
        ("mailto:a@example.com", Escape.URL, "mailto:a@example.com"),
        ("tel:+491234", Escape.URL, "tel:+491234"),
        ("javascript:alert(1)", Escape.URL, "#"),
        ("java\nscript:alert(1)", Escape.URL, "#"),
        ("data:text/html,x", Escape.URL, "#"),
        ("//example.com", Escape.URL, "#"),
        ("example", Escape.URL, "#"),
        ("", Escape.URL, ""),
        ("a/b c?ü", Escape.URL_PART, "a%2Fb%20c%3F%C3%BC"),
        ("\ud800", Escape.URL_PART, "%3F"),
        ("\ud800", Escape.TEXT, "\ufffd"),
        ("a\tb\n<c>", Escape.PLAIN, "a b <c>"),
        (24, Escape.TEXT, "24"),
        (-2.5, Escape.PLAIN, "-2.5"),
    ],
)
def test_escape_by_example(value: object, how: Escape, expected: str) -> None:
    """A value becomes what its place can hold."""
    assert escape(value, how) == expected


@pytest.mark.parametrize("how", list(Escape))
@pytest.mark.parametrize("value", [None, Undefined()])
def test_nothing_is_an_empty_text(how: Escape, value: object) -> None:
    """What isn't there leaves nothing, wherever it stands."""
    assert escape(value, how) == ""

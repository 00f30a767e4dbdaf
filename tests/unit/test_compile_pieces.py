from __future__ import annotations

import re

import pytest

from mailer.compile.pieces import html_pieces, text_pieces
from mailer.compile.token_table import TokenTable
from mailer.compile.values import IssueValues
from mailer.content.document import Document
from mailer.content.parse import parse_issue
from mailer.errors import CompileError
from mailer.expressions.locale import Locale
from mailer.expressions.names import Names
from mailer.model.compiled import Branch, Choice, Escape, Pieces, Slot

VALUES: dict[str, object] = {
    "issue": {"title": "A & B", "word_count": 1826},
    "audience": {"count": 0},
    "publication": {"reply_to": "red@example.com", "base_url": "https://x.example/ü", "name": 'N "n"'},
}


def compiled(template: str, how: Escape | None = None) -> Pieces:
    """Pieces of a line in which ``{{ }}`` and ``{% %}`` are written as in an issue."""
    document = parsed(template)
    table, values = TokenTable(document), IssueValues(VALUES, Locale("de", "DE"), "x.md")
    line = getattr(document.nodes[0], "markdown", "")
    return html_pieces(line, table, values) if how is None else text_pieces(line, how, table, values)


def parsed(template: str) -> Document:
    front = "---\ntitle: T\nsubject: S\npreheader: P\nauthor: A\ndate: 2025-06-09\nlanguage: de\n---\n\n"
    return parse_issue(front + template + "\n", "x.md", Names(), {})


@pytest.mark.parametrize(
    ("template", "pieces"),
    [
        ("<b>{{ issue.title }}</b>", ("<b>A &amp; B</b>",)),
        ("<a title='{{ publication.name }}'>", ("<a title='N &#34;n&#34;'>",)),
        ('<a href="mailto:{{ publication.reply_to }}">', ('<a href="mailto:red@example.com">',)),
        ('<a href="x?{{ publication.reply_to }}">', ('<a href="x?red%40example.com">',)),
        ("a {{ subscriber.email }} b", ("a ", Slot("subscriber.email", Escape.TEXT), " b")),
        ("{{ subscriber.email ~ issue.word_count }}", (Slot("subscriber.email ~ 1826", Escape.TEXT),)),
        (
            "H{% if subscriber.email %} {{ subscriber.email }}{% endif %}!",
            ("H", Choice((Branch("subscriber.email", (" ", Slot("subscriber.email", Escape.TEXT))),)), "!"),
        ),
        ("{% if audience.count %}a{% else %}b{% endif %}c", ("bc",)),
        ("{% if audience.count %}{{ issue.title | number }}{% endif %}c", ("c",)),
        (
            "x{% if audience.count %}a{% elif subscriber.email %}b{% elif issue.title %}c{% else %}d{% endif %}",
            ("x", Choice((Branch("subscriber.email", ("b",)),), ("c",))),
        ),
        (
            "x{% if subscriber.email %}{% if subscriber.last_name %}a{% endif %}{% else %}b{% endif %}",
            ("x", Choice((Branch("subscriber.email", (Choice((Branch("subscriber.last_name", ("a",)),)),)),), ("b",))),
        ),
    ],
)
def test_pieces(template: str, pieces: Pieces) -> None:
    """Issue scope is folded in and escaped, recipient scope becomes slots and choices, neighbouring texts are one."""
    assert compiled(template) == pieces


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ issue.title | number }}", r"x\.md:10: 'issue\.title \| number' can't be evaluated"),
        ('<a href="{{ issue.title }}">', r"x\.md:10: 'A & B' is no web address"),
        ("<b>{% if subscriber.email %}a</b>{% endif %}", r"x\.md:10: .* border of <b>"),
    ],
)
def test_refused(template: str, message: str) -> None:
    """What can't be evaluated, or would tear an element in two, is an error with file and line."""
    with pytest.raises(CompileError) as caught:
        compiled(template)
    assert re.search(message, str(caught.value))


def test_header() -> None:
    """A text part and a header know no HTML: nothing in them is escaped for it."""
    assert compiled("{{ issue.title }} <{{ subscriber.email }}>", Escape.HEADER) == (
        "A & B <",
        Slot("subscriber.email", Escape.HEADER),
        ">",
    )


@pytest.mark.parametrize("html", ['<a title="{}a">{}</a>', "<!--[if mso]>{}<![endif]-->{}", "{}", "{1}{0}"])
def test_torn(html: str) -> None:
    """A condition that a template tears apart (attribute, MSO comment, one half lost) is an error."""
    document = parsed("x{% if subscriber.email %}y{% endif %}")
    opening, closing = document.tokens
    with pytest.raises(CompileError, match=r"if"):
        html_pieces(html.format(opening, closing), TokenTable(document), IssueValues(VALUES, Locale("de"), "x.md"))

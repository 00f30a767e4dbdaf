"""Warnings about an issue that is right but unwise."""

from __future__ import annotations

import pytest

from mailer.content.lint import warnings
from mailer.content.parse import parse_issue
from mailer.content.shapes import BlockShape
from mailer.expressions.names import Names

SHAPES = {
    "image": BlockShape("image", frozenset({"src"}), frozenset({"alt", "href"})),
    "news": BlockShape("news"),
    "html": BlockShape("html", raw=True),
    "share": BlockShape("share"),
}
HEAD = "---\ntitle: Spring\nsubject: Hello\npreheader: More\ndate: 2026-03-02\n---\n"
"""Six lines: the body begins in line 7."""


def lint(body: str, head: str = HEAD) -> list[tuple[int, str]]:
    found = warnings(parse_issue(head + body, "x.md", Names(), SHAPES))
    assert all(problem.severity == "warning" and problem.todo for problem in found)
    return [(problem.line, problem.what) for problem in found]


@pytest.mark.parametrize(
    ("body", "line", "what"),
    [
        ('::: image src="https://example.com/a.png"\n:::', 7, "The block 'image' has no alt text"),
        ('::: image src="http://example.com/a.png" alt="a"\n:::', 7, "http://example.com/a.png isn't encrypted"),
        ("a\n![](https://example.com/a.png)", 8, "A picture has no alt text"),
        ("a\n\nb [](https://example.com)", 9, "The link to https://example.com has no text"),
        ("::: news\na [b](http://example.com)\n:::", 8, "http://example.com isn't encrypted"),
        ("## a\n\n#### b", 9, "A heading of level 4 follows one of level 2"),
        ("## a\n{% if issue.week %}\n#### b\n{% endif %}", 9, "A heading of level 4 follows one of level 2"),
        ("a <b>c</b>", 7, "The HTML <b> will be seen as text"),
        ("a {% if issue.week %}**“b”**{% endif %}", 7, "A * or _ beside an expression's braces emphasises nothing"),
        ("", 1, "The issue has no text"),
    ],
)
def test_what_is_unwise_is_named(body: str, line: int, what: str) -> None:
    """Each of these is a warning in its line."""
    assert (line, what) in lint(body)


@pytest.mark.parametrize(
    "body",
    [
        "# a\n\n## b\n\n### c\n\n## d",
        "[{{ issue.title }}]({{ issue.url }}) and [![a](https://example.com/a.png)](https://example.com)",
        '::: image src="https://example.com/a.png" alt="{{ issue.title }}"\n:::',
        "::: html\n<b>a</b> [](http://example.com)\n:::",
        "1 < 2 > 1 and `<b>`",
        "a {% if issue.week %}**b**{% endif %} **{{ issue.week }}**",
    ],
)
def test_what_is_wise_is_not(body: str) -> None:
    """A sound issue has no warnings."""
    assert lint(body) == []


@pytest.mark.parametrize(("length", "warned"), [(78, False), (79, True), (151, True)])
def test_long_subjects(length: int, warned: bool) -> None:
    """A subject is warned about from 79 characters on, without counting its expressions."""
    found = lint("a", HEAD.replace("Hello", "x" * length + "{{ issue.week }}"))
    assert (found == [(1, f"The subject has {length} characters")]) is warned


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ("[a]({{ links.web_version }})\n\n{{ links.web_version }}", [7]),
        ("a\n::: share\n[a]({{ links.share }})\n:::", []),
        ("a {% if links.web_version %}b{% endif %}\n{{ links.unsubscribe }}", [7]),
        ("{{ links.web_version }}\n\n{{ links.preferences }}", [7]),
    ],
)
def test_pages_to_come(body: str, lines: list[int]) -> None:
    """A link to a page that isn't served yet is warned about once, where it is used first; no other is."""
    found = [line for line, what in lint(body) if "leads to a page that this version doesn't serve yet" in what]
    assert found == lines


def test_a_missing_preheader() -> None:
    """An issue without preheader is warned about."""
    assert lint("a", HEAD.replace("preheader: More\n", "")) == [(1, "The issue has no preheader")]

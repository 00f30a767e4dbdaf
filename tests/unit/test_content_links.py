"""Addresses of links and pictures: which may stand in an issue, and what is said of the others."""

from __future__ import annotations

import pytest

from mailer.content.parse import parse_issue
from mailer.content.shapes import BlockShape
from mailer.errors import ContentError
from mailer.expressions.names import Names

SHAPES = {
    "button": BlockShape("button", frozenset({"href"})),
    "image": BlockShape("image", frozenset({"src"}), frozenset({"href", "width"})),
    "calendar": BlockShape("calendar", raw=True),
    "code": BlockShape("code", raw=True),
}
HEAD = "---\ntitle: Spring\nsubject: Hello\ndate: 2026-03-02\n---\n"
"""Five lines: the body begins in line 6."""

LINK = "is no address that a link can have"
PICTURE = "is no address that a picture can have"


def parse(body: str) -> None:
    parse_issue(HEAD + body, "x.md", Names(), SHAPES)


def wrong(body: str) -> list[str]:
    with pytest.raises(ContentError) as caught:
        parse(body)
    return [f"{problem.line}: {problem.what}. {problem.todo}" for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            '::: button href="javascript:alert(1)"\nx\n:::',
            f"6: 'javascript:alert(1)' {LINK}. A link's begins with https",
        ),
        ('::: button href=" JavaScript:alert(1)"\nx\n:::', f"6: 'JavaScript:alert(1)' {LINK}"),
        ('::: button href="foo"\nx\n:::', f"6: 'foo' {LINK}"),
        ('::: button href=""\nx\n:::', "6: This link has no address. Write where it is"),
        ('::: image src=" "\n:::', "6: This picture has no address"),
        ('::: image src="a.png"\n:::', f"6: 'a.png' {PICTURE}. A picture's begins with https://"),
        ('::: image src="data:image/png;base64,AA=="\n:::', PICTURE),
        ('::: image src="mailto:a@example.com"\n:::', PICTURE),
        ('::: image src="https://example.com/a.png" href="#top"\n:::', f"6: '#top' {LINK}"),
        ("a\nb [l](www.example.com)", f"7: 'www.example.com' {LINK}. Write https://www.example.com."),
        ("[l]( )", "6: This link has no address"),
        ("[l](javascript:alert)", f"6: 'javascript:alert' {LINK}"),
        ("[l](javascript&#58;alert)", f"6: 'javascript:alert' {LINK}"),
        ("[l](a@example.com)", "Write mailto:a@example.com."),
        ("[l](/über)", f"6: '/über' {LINK}"),
        ("<ftp://example.com>", f"6: 'ftp://example.com' {LINK}"),
        ("[l][r]\n\n[r]: foo", f"6: 'foo' {LINK}"),
        ("![a](a.png)", f"6: 'a.png' {PICTURE}"),
        ("- a\n- b\n\n  [l](foo)", f"9: 'foo' {LINK}"),
        ("::: calendar\n- 2026-03-02: [l](foo)\n:::", f"7: 'foo' {LINK}"),
        ("{% if issue.week %}\n[l](foo)\n{% endif %}", f"7: 'foo' {LINK}"),
        ("[l](foo{{ issue.week }})", f"6: 'foo…' {LINK}"),
        ("[l](http{{ issue.week }})", LINK),
        ("[l]({% if issue.week %}foo{% else %}https://example.com{% endif %})", LINK),
        ("[l]({% if issue.week %}https://example.com{% else %}foo{% endif %})", LINK),
        ("[l]({% if issue.week %}https://example.com{% endif %}/foo)", LINK),
        ("[l]({% if issue.week %}https://example.com{% endif %})", "has no address where its condition doesn't hold"),
        (
            "[l]({% if issue.week %}{% if issue.slug %}https://a{% endif %}{% else %}https://b{% endif %})",
            "has no address where its condition doesn't hold",
        ),
    ],
)
def test_an_address_that_leads_nowhere(body: str, said: str) -> None:
    """An address without a scheme that a mail may have is an error in its line, with what to write."""
    [found] = wrong(body)
    assert said in found


@pytest.mark.parametrize(
    "body",
    [
        "[a](https://example.com) [b](HTTP://example.com) [c](mailto:a@example.com) [d](tel:+4912345) <a@example.com>",
        "[a]({{ issue.url }}) [b](https://{{ issue.slug }}.example.com/ü) ![c]({{ issue.url }}/a.png)",
        "[a]({% if issue.week %}https://a{% elif issue.slug %}https://b{% else %}{{ issue.url }}{% endif %}/x)",
        "[a](https://example.com/{% if issue.week %}foo{% endif %})",
        '::: image src="https://example.com/a.png" href=""\n:::',
        "`[a](foo)` and [a] (foo)",
        "::: code\n[a](foo)\n:::",
    ],
)
def test_an_address_that_leads_somewhere(body: str) -> None:
    """Links to the web, to mail and telephone pass, and so does what only an expression's value can tell."""
    parse(body)


def test_a_mistake_in_an_address_is_said_once() -> None:
    """A link whose address is a mistake isn't said to have none as well; another link on its line is judged."""
    assert len(wrong("[l]({% set x %})")) == 1
    assert len(wrong("[l]({% set x %}) [m](foo)")) == 2


@pytest.mark.parametrize("width", ["wide", "0", "420px", "50%", "-1", "", "{{ issue.week }}"])
def test_a_width_is_a_number(width: str) -> None:
    """A width that is no number of pixels is an error, as is one that nobody knows yet."""
    [found] = wrong(f'::: image src="https://example.com/a.png" width="{width}"\n:::')
    assert found.endswith('is no width. Write a number of pixels: width="420".')


def test_a_width() -> None:
    """A number of pixels passes."""
    parse('::: image src="https://example.com/a.png" width="420"\n:::')

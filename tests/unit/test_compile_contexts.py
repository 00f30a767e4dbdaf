from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.compile.contexts import find_tokens
from mailer.content.tokens import token
from mailer.errors import CompileError
from mailer.model.compiled import Escape

V = token(0, "0123abcd")
W = token(1, "0123abcd")
IF, ELSE, END = (token(number, "0123abcd") for number in (10, 11, 12))
KEYWORDS = {IF: "if", ELSE: "else", END: "endif"}


@pytest.mark.parametrize(
    ("html", "escapes"),
    [
        (f"<p>{V}</p>", [Escape.TEXT]),
        (f"<title>{V}</title>", [Escape.TEXT]),
        (f"<img alt=\"{V} b\" title='{W}'>", [Escape.ATTRIBUTE, Escape.ATTRIBUTE]),
        (f'<a href="{V}">x</a>', [Escape.URL]),
        (f'<a href=" {V}?a={W}">x</a>', [Escape.URL, Escape.URL_PART]),
        (f'<a href="https://x/{V}">x</a>', [Escape.URL_PART]),
        (f'<A HREF = "{V}">x</A>', [Escape.URL]),
        (f'<td background="{V}" bgcolor="{W}">', [Escape.URL, Escape.ATTRIBUTE]),
        (f'<!--[if mso]><v:fill src="{V}" /><![endif]-->{W}', [Escape.URL, Escape.TEXT]),
        (f"<!--[if !mso]><!-->{V}<!--<![endif]-->", [Escape.TEXT]),
        (f'<a href="{IF}{V}{ELSE}{W}{END}">', [Escape.URL, Escape.URL]),
        (f'<a href="{IF}https://x/{END}{V}">', [Escape.URL_PART]),
        (f'<style>p > a {{}}</style><script>"</p>"</script>{V}', [Escape.TEXT]),
        (f'<p title="a > b">{V}</p>', [Escape.TEXT]),
    ],
)
def test_context(html: str, escapes: list[Escape]) -> None:
    """A token's escape follows from where it stands in the HTML."""
    marks = find_tokens(html, KEYWORDS.get)
    assert [mark.escape for mark in marks if mark.token not in KEYWORDS] == escapes


@pytest.mark.parametrize(
    ("html", "where"),
    [
        (f"<style>.a {{ color: {V} }}</style>", "inside <style>"),
        (f"<script>{V}</script>", "inside <script>"),
        (f"<!-- {V} -->", "in a comment"),
        (f"<!--{V}-->", "in a comment"),
        (f"<!--{IF} {END}-->", "in a comment"),
        (f"<a {V}>", "outside any attribute's value"),
        (f"<a href={V}>", "without quotation marks"),
        (f"<{V}>", "allows no value"),
        (f"<!doctype {V}>", "allows no value"),
    ],
)
def test_misplaced(html: str, where: str) -> None:
    """Where no escape could make a value harmless, compilation stops and says what the place is."""
    with pytest.raises(CompileError, match=where):
        find_tokens(html, KEYWORDS.get)


def test_control_comment() -> None:
    """A control token's own comment goes with it."""
    html = f"<tr></tr><!--{IF}--><tr></tr><!--{END}-->"
    assert [html[mark.start : mark.end] for mark in find_tokens(html, KEYWORDS.get)] == [
        f"<!--{IF}-->",
        f"<!--{END}-->",
    ]


def test_nesting() -> None:
    """A token knows the elements that are open around it; void and self-closed ones don't count."""
    marks = find_tokens(f"<div><p><br>{V}<img /></p>{W}</div>", KEYWORDS.get)
    assert [mark.inside for mark in marks] == [("div", "p"), ("div",)]


@settings(max_examples=60)
@given(
    st.lists(
        st.sampled_from(
            [V, "<", ">", '"', "'", "<!--", "-->", "<a href=", "<p ", "</p>", "style>", "x=", "<!--[if a]>"]
        )
    )
)
def test_none_lost(parts: list[str]) -> None:
    """Whatever the HTML, every token is found once, in order, or compilation stops."""
    html = "".join(parts)
    try:
        marks = find_tokens(html, KEYWORDS.get)
    except CompileError:
        return
    assert [html[mark.start : mark.end] for mark in marks] == [V] * html.count(V)

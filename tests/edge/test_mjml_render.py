"""mrml and premailer, right where their defaults break mail (DESIGN §9)."""

from __future__ import annotations

import re
import socket

import pytest

from mailer.content.tokens import token
from mailer.errors import CompileError
from mailer.mjml.render import render

T = [token(number, "0123abcd") for number in range(6)]


def page(rows: str, head: str = "") -> str:
    return (
        f'<mjml lang="de"><mj-head>{head}</mj-head><mj-body width="600px"><mj-section><mj-column>{rows}'
        "</mj-column></mj-section></mj-body></mjml>"
    )


def test_doctype() -> None:
    """The doctype is kept: without it, clients fall into quirks mode."""
    assert render(page("<mj-text>a</mj-text>")).startswith("<!DOCTYPE html>\n<html")


def test_style_kept() -> None:
    """A stylesheet for the head stays byte for byte, with ``!important`` and media queries."""
    css = "@media (max-width: 480px) { .x { width: 1px !important } }\n:root { color-scheme: light dark } .y:hover {}"
    html = render(page("<mj-text>a</mj-text>", f"<mj-style>{css}</mj-style>"))
    assert f'<style type="text/css">{css}</style>' in html
    assert "width:100% !important" in html  # MJML's own columns, too
    assert 'media="screen and (min-width:480px)"' in html
    assert "data-premailer" not in html


def test_inlined() -> None:
    """CSS for inlining is written into the elements and leaves the head; what an element has itself wins."""
    css = "p { margin: 0; color: red } .b { color: blue !important } div { color: red }"
    style = f'<mj-style inline="inline">{css}</mj-style>'
    html = render(page('<mj-text color="#123456"><p class="b">a</p></mj-text>', style))
    assert re.search(r'<p class="b" style="margin:0; color:blue !important">a</p>', html)
    assert "color:#123456" in html
    assert "color: red" not in html


def test_image_width() -> None:
    """An image's width stays a number of pixels, also where CSS for inlining says something else: Outlook needs it."""
    css = '<mj-style inline="inline">img { width: 100%; height: auto; max-width: 100% }</mj-style>'
    html = render(page('<mj-image src="a.png" alt="A" width="300px" />', css))
    assert re.search(r'<img [^>]*width="300"', html)
    assert re.search(r'<img [^>]*height="auto"', html)


def test_comments() -> None:
    """MSO's conditional comments come out byte for byte."""
    outlook = "<!--[if mso]><v:rect style='a:b' fill=\"true\" href='x&y'><p>é < b</p></v:rect><![endif]-->"
    revealed = "<!--[if !mso]><!--><b>a</b><!--<![endif]-->"
    html = render(page(f"<mj-raw><tr><td>{outlook}{revealed}</td></tr></mj-raw><mj-text>a</mj-text>"))
    assert outlook in html
    assert revealed in html
    assert html.count("<!--[if mso | IE]>") == html.count("<![endif]-->") - 5


def test_no_font() -> None:
    """No font is loaded from anywhere, not even for mrml's default font."""
    html = render(page("<mj-text>a</mj-text><mj-text font-family='Roboto'>a</mj-text>"))
    assert "fonts.g" not in html
    assert "<link" not in html
    assert "@import" not in html


def test_no_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendering asks nothing of the network, whatever a template links to."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    link = '<link rel="stylesheet" href="https://example.com/a.css" />'
    assert 'href="https://example.com/a.css"' in render(page("<mj-text>a</mj-text>", f"<mj-raw>{link}</mj-raw>"))


@pytest.mark.parametrize(
    "url",
    [
        "https://e.com/ä?a={x}&amp;b=|c|&amp;d=%7B",
        f"https://e.com/{T[0]}/a b?x={T[1]}#{T[2]}",
        T[0],
        f"mailto:{T[0]}@e.com",
    ],
)
def test_urls(url: str) -> None:
    """URLs come out byte for byte, in links, images and buttons."""
    html = render(
        page(
            f'<mj-text><a href="{url}">a</a></mj-text><mj-button href="{url}">b</mj-button>'
            f'<mj-image src="{url}" alt="a" href="{url}" />',
            '<mj-style inline="inline">a { color: red }</mj-style>',
        )
    )
    assert html.count(f'href="{url}"') == 3
    assert f'src="{url}"' in html


def test_tokens() -> None:
    """Tokens come through whole and in order: text, attribute, between rows, between sections, in a table."""
    rows = (
        f'<mj-text>a {T[0]}<b title="x {T[1]}">b</b></mj-text><mj-raw><!--{T[2]}--></mj-raw>'
        f"<mj-text>c</mj-text><mj-raw><!--{T[3]}--></mj-raw>"
        f"<mj-table><!--{T[4]}--><tr><td>d</td></tr><!--{T[5]}--></mj-table>"
    )
    found = re.findall(
        r"zqx\d{4}[0-9a-f]{8}xqz", render(page(rows, '<mj-style inline="inline">b{color:red}</mj-style>'))
    )
    assert found == T


@pytest.mark.parametrize("title", ['say "hi" &amp; go', "say &#34;hi&#34; &amp; go"])
def test_title(title: str) -> None:
    """A quotation mark in the title doesn't break the label that mrml makes of it."""
    html = render(page("<mj-text>a</mj-text>", f"<mj-title>{title}</mj-title>"))
    assert "aria-label='say \"hi\" &amp; go'" in html


@pytest.mark.parametrize(
    ("mjml", "todo"),
    [
        ("<mjml><mj-body><mj-section></mj-body></mjml>", "</mj-body> closes what isn't open"),
        ("<mjml><mj-body><mj-section>", "<mj-section> is never closed"),
        ("<mjml><mj-body><mj-text>a < b</mj-text></mj-body></mjml>", "A '<' in text is written &lt;"),
        ("<mjml><mj-body><mj-include path='x' /></mj-body></mjml>", "It stumbled over: mj-include"),
    ],
)
def test_unreadable(mjml: str, todo: str) -> None:
    """MJML that mrml can't read is an error that says where and why, which mrml itself doesn't."""
    with pytest.raises(CompileError) as caught:
        render(mjml)
    assert todo in str(caught.value)

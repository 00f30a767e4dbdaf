"""MJML → HTML for mail clients, with the CSS inlined. Pure in effect: nothing is fetched, nothing is read from disk.

mrml (through ``mjml-python``) draws the tables, premailer inlines. Both have defaults that break mail, so both are
held on a short leash here: what must not change is taken out before and put back after, or compared.
"""

from __future__ import annotations

import logging
import re

from mjml import mjml2html
from premailer import Premailer

from mailer.errors import CompileError

_KEEP = ' data-premailer="ignore"'
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_INLINE_STYLE = re.compile(r"<mj-style\b[^>]*\binline\s*=\s*[\"']inline[\"'][^>]*>(.*?)</mj-style>", re.DOTALL)
_STYLE_OR_COMMENT = re.compile(r"<!--.*?-->|<style\b", re.DOTALL)
_URL_ATTRIBUTE = re.compile(r"(\s(?:href|src|background|action|cite|poster|srcset)=)\"([^\"]*)\"")
_TITLE = re.compile(r"<mj-title>(.*?)</mj-title>", re.DOTALL)
_SHIELDED_COMMENT = re.compile(r"<!--zqk([0-9]+)kqz-->")
_SHIELD = re.compile(r"zqu([0-9]+)uqz")
_POSITION = re.compile(r"position (\d+):(\d+)")
_TAG = re.compile(r"<!--.*?-->|<(?P<close>/?)(?P<name>[a-zA-Z][\w-]*)(?:\"[^\"]*\"|[^>\"])*?(?P<alone>/?)>", re.DOTALL)
_VOID = ("br", "hr", "img", "meta", "link", "input", "col", "wbr")


def render(mjml: str) -> str:
    """HTML of an MJML document.

    ``<mj-style inline="inline">`` is inlined and leaves the head; any other ``<mj-style>`` stays there, byte for byte.
    URLs, comments (MSO's conditional ones among them) and the doctype come out as mrml wrote them, and no font is
    loaded from anywhere. Raises ``CompileError`` where mrml can't read the MJML.
    """
    css = [found.group(1) for found in _INLINE_STYLE.finditer(mjml)]
    comments: list[str] = []

    def shield(found: re.Match[str]) -> str:
        comments.append(found.group())
        return f"<!--zqk{len(comments) - 1}kqz-->"

    # mrml reads conditional comments and writes their attributes anew.
    shielded = _COMMENT.sub(shield, _INLINE_STYLE.sub("", mjml))
    html = _inline(_to_html(shielded), css)
    return _SHIELDED_COMMENT.sub(lambda found: comments[int(found.group(1))], html)


def _to_html(mjml: str) -> str:
    # mrml copies the title into an aria-label and escapes a quotation mark there with a backslash.
    mjml = _TITLE.sub(lambda found: f"<mj-title>{found.group(1).replace(chr(34), '&quot;')}</mj-title>", mjml)
    try:
        # An empty table of fonts: mrml's own has Google's servers in it, and every reader would call there.
        html: str = mjml2html(mjml, fonts={})
    except ValueError as error:
        raise CompileError(f"The MJML can't be read: {error}", todo=_diagnosis(mjml, str(error))) from None
    return html


def _inline(html: str, css: list[str]) -> str:
    urls: list[str] = []

    def shield(found: re.Match[str]) -> str:
        urls.append(found.group(2))
        return f'{found.group(1)}"zqu{len(urls) - 1}uqz"'

    # lxml percent-encodes what it takes for odd in a URL.
    shielded = _URL_ATTRIBUTE.sub(shield, html)
    comments = _COMMENT.findall(shielded)
    # What stands in the head belongs there: premailer would rewrite it through cssutils and lose half.
    kept = _STYLE_OR_COMMENT.sub(_keep_style, shielded)
    # premailer drops a doctype that isn't spelt as lxml spells it.
    kept = re.sub(r"\A\s*<!doctype html>", "<!DOCTYPE html>", kept, flags=re.IGNORECASE)
    inlined: str = Premailer(
        css_text=css,
        strip_important=False,
        disable_basic_attributes=["width", "height", "align", "valign", "bgcolor"],
        disable_validation=True,
        align_floating_images=False,
        allow_network=False,
        cssutils_logging_level=logging.CRITICAL,
    ).transform(kept, pretty_print=False)
    if _COMMENT.findall(inlined) != comments:
        raise CompileError(
            "Inlining the CSS changed a comment in the HTML",
            todo="Look for a comment inside a tag, or a tag that is never closed, in the templates.",
        )
    # premailer leaves its mark on a style with a media attribute.
    return _SHIELD.sub(lambda found: urls[int(found.group(1))], inlined.replace(_KEEP, ""))


def _keep_style(found: re.Match[str]) -> str:
    return found.group() + _KEEP if found.group() == "<style" else found.group()


def _diagnosis(mjml: str, message: str) -> str:
    """Where the MJML is broken, in words: mrml gives a byte position at best, so the tags are counted as well."""
    if position := _POSITION.search(message):
        excerpt = mjml.encode()[int(position.group(1)) : int(position.group(2))].decode(errors="replace")
        return f"It stumbled over: {excerpt.strip()[:120]}"
    opened: list[str] = []
    for found in _TAG.finditer(mjml):
        name = found.group("name")
        if name is None or name in _VOID or found.group("alone"):
            continue
        if not found.group("close"):
            opened.append(name)
        elif opened and opened.pop() != name:
            line = mjml[: found.start()].count("\n")
            return f"</{name}> closes what isn't open, near: {mjml.splitlines()[line].strip()[:120]}"
    if opened:
        return f"<{opened[-1]}> is never closed."
    if stray := re.search(r"<(?![a-zA-Z/!])[^\n]{0,80}", mjml):
        return f"A '<' in text is written &lt;, near: {stray.group()}"
    return "Check the templates' tags and attributes."

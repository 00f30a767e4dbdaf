"""Escaping: a recipient's value becomes harmless for the place where it stands in the mail.

A value is data. Whatever it holds, it ends where its slot ends, it can't bring markup, a header line or a script URL
with it, and it can't turn around the text that follows it.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from jinja2 import Undefined

from mailer.model.compiled import Escape

_SPACES = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029), " ")
_NO_BIDI = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "")
_NO_CHARACTER = dict.fromkeys((*range(0xD800, 0xE000), 0xFFFE, 0xFFFF), "\ufffd")
_CLEAN = {**_SPACES, **_NO_BIDI, **_NO_CHARACTER}
_HTML = {
    **_CLEAN,
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord('"'): "&#34;",
    ord("'"): "&#39;",
}
SCHEME = re.compile(r"(?:https?://|mailto:|tel:)", re.IGNORECASE)
"""How the address of a link may begin."""

_HARMLESS_URL = re.compile(r"https?://[A-Za-z0-9\-._~/?=%#:@+,;]*")
_EDGES = "".join(map(chr, range(0x21)))
_URL_KEPT = "!#$%&'()*+,/:;=?@[]~"
"""ASCII that stays in a whole URL beside letters, digits and ``-._``: RFC 3986's reserved characters and ``%``."""


def escape(value: object, how: Escape) -> str:
    """A value as a text for its place. ``None`` and what is undefined become an empty text.

    * ``TEXT``, ``ATTRIBUTE``: HTML-escaped, quotation marks too; control characters and line breaks become spaces,
      bidirectional overrides and isolates (U+202A–202E, U+2066–2069) go.
    * ``URL``: passes only as ``http``, ``https``, ``mailto`` or ``tel`` (RFC 3986), else ``#``; then as ``ATTRIBUTE``.
    * ``URL_PART``: everything but RFC 3986's unreserved characters percent-encoded, as UTF-8.
    * ``HEADER``: one line without surrounding or doubled spaces, before RFC 2047.
    * ``PLAIN``: one line; nothing else has a meaning there.
    """
    if value is None or isinstance(value, Undefined):
        return ""
    text = value if isinstance(value, str) else str(value)
    if text.isascii() and text.isalnum() and how is not Escape.URL:
        return text
    match how:
        case Escape.TEXT | Escape.ATTRIBUTE:
            return text.translate(_HTML)
        case Escape.URL:
            return _url(text)
        case Escape.URL_PART:
            return quote(text, safe="", errors="replace")
        case Escape.HEADER:
            return " ".join(text.translate(_CLEAN).split())
        case Escape.PLAIN:
            return text.translate(_CLEAN)


def _url(text: str) -> str:
    if _HARMLESS_URL.fullmatch(text):
        return text
    trimmed = text.strip(_EDGES)
    if not trimmed:
        return ""
    if not SCHEME.match(trimmed):
        return "#"
    return "".join(_url_character(character) for character in trimmed).translate(_HTML)


def _url_character(character: str) -> str:
    if character.isalnum() or character in _URL_KEPT:
        return character
    if character.isascii() or ord(character) in _CLEAN or character.isspace():
        return quote(character, safe="", errors="replace")
    return character

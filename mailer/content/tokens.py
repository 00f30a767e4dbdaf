"""Tokens: how an expression travels through Markdown, MJML and CSS inlining unharmed.

An expression is taken out of the source before anything else looks at it, and an alphanumeric token stands in its
place: lxml percent-encodes ``{{ }}`` in a URL and mrml chokes on ``<``, but nothing touches lower-case letters and
digits. A token begins and ends so that no neighbour can grow onto it.
"""

from __future__ import annotations

import re

PATTERN = re.compile(r"zqx([0-9]{4})([0-9a-f]{8})xqz")
"""A token: its number and the issue's mark (which keeps a source's own text from being taken for a token)."""


def token(number: int, mark: str) -> str:
    """The token of an expression; ``mark`` is eight hexadecimal digits from the hash of the source."""
    return f"zqx{number:04d}{mark}xqz"

"""What people type into forms: how it arrives, and what a name may be. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from urllib.parse import parse_qsl

NAME_LENGTH = 100
"""Characters of a name; a longer one that is there already may stay."""

_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def read_fields(content_type: str, body: bytes, names: Collection[str]) -> dict[str, str] | None:
    """The fields of these names that a urlencoded body has; None for anything else, and where it has none of them."""
    if content_type.partition(";")[0].strip().lower() not in ("", "application/x-www-form-urlencoded"):
        return None
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        return None
    return {name: value for name, value in pairs if name in names} or None


def one_line(text: str) -> str:
    """A text with each run of blanks and line ends as one blank, and none around it."""
    return " ".join(text.split())


def wrong_name(value: str, before: str = "") -> str:
    """What is wrong with a name: ``length``, ``characters``, or nothing (empty). ``before``: the one that is there."""
    if len(value) > NAME_LENGTH and value != before:
        return "length"
    if any(unicodedata.category(char) in ("Cc", "Cs") or char in _REORDERING for char in value):
        return "characters"
    return ""

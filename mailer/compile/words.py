"""How many words a reader reads, and how long that takes."""

from __future__ import annotations

import re

from mailer.model.compiled import Choice, Pieces, Slot

WORDS_PER_MINUTE = 365
"""A newsletter is skimmed: faster than the 240 words a minute at which books are read."""

_URL = re.compile(r"\(?(?:https?://|mailto:)")


def count_words(pieces: Pieces) -> int:
    """Words of a text: what stands between blanks and has a letter or digit, URLs apart.

    A recipient's value counts as one word, a condition as its first branch.
    """
    return sum(1 for word in _flat(pieces).split() if any(map(str.isalnum, word)) and not _URL.match(word))


def reading_minutes(words: int) -> int:
    """Whole minutes, at least one."""
    return max(1, round(words / WORDS_PER_MINUTE))


def _flat(pieces: Pieces) -> str:
    parts: list[str] = []
    for piece in pieces:
        match piece:
            case str():
                parts.append(piece)
            case Slot():
                parts.append("x")
            case Choice():
                parts.append(_flat(piece.branches[0].pieces))
    return "".join(parts)

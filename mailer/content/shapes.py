"""What a block may look like in an issue file."""

from __future__ import annotations

from dataclasses import dataclass

LITERAL = frozenset({"code"})
"""Raw blocks in whose body nothing has a meaning, not even ``{{ }}``."""


@dataclass(frozen=True, slots=True)
class BlockShape:
    """A block's name and the attributes it must and may have.

    ``raw``: its body isn't Markdown and holds no blocks; it is kept as one text. Expressions work in it, except in the
    blocks of ``LITERAL``.
    """

    name: str
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    raw: bool = False

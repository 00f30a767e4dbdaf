"""What a block may look like in an issue file."""

from __future__ import annotations

from dataclasses import dataclass

LITERAL = frozenset({"code"})
"""Raw blocks in whose body nothing has a meaning, not even ``{{ }}``."""

NO_MARKDOWN = LITERAL | {"html"}
"""Raw blocks whose body isn't Markdown at all."""


@dataclass(frozen=True, slots=True)
class BlockShape:
    """A block's name and the attributes it must and may have.

    ``raw``: its body isn't Markdown and holds no blocks; it is kept as one text. Expressions work in it, except in the
    blocks of ``LITERAL``. ``empty``: nothing may stand in it.
    """

    name: str
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    raw: bool = False
    empty: bool = False

"""A parsed issue: front matter, a tree of nodes, and the expressions that its tokens stand for."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

from mailer.expressions.expression import Expression


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The issue's front matter (DESIGN §3). ``subject`` and ``preheader`` hold tokens; the other texts are plain.

    ``slug`` is the file's stem where the front matter gives none; ``sender`` is its ``from``.
    """

    title: str
    subject: str
    preheader: str
    author: str
    date: datetime.date
    language: str
    slug: str
    sender: str = ""
    reply_to: str = ""
    segment: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prose:
    """A run of Markdown between blocks, with tokens. ``line`` is its first line in the file."""

    markdown: str
    line: int


@dataclass(frozen=True, slots=True)
class Block:
    """``::: name key="value"`` … ``:::``. Attribute values may hold tokens; ``body`` is what stands inside."""

    name: str
    attributes: Mapping[str, str]
    body: tuple[Node, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Conditional:
    """``{% if %}`` … around blocks or paragraphs. A branch's condition is a token; None is the ``else``."""

    branches: tuple[tuple[str | None, tuple[Node, ...]], ...]
    line: int


Node = Prose | Block | Conditional


@dataclass(frozen=True, slots=True)
class Control:
    """An ``{% if %}``, ``{% elif %}``, ``{% else %}`` or ``{% endif %}`` inside a line."""

    keyword: str
    condition: Expression | None
    line: int


@dataclass(frozen=True, slots=True)
class Document:
    """A whole issue. ``tokens`` maps each token in the texts to what it stands for."""

    file: str
    front: FrontMatter
    nodes: tuple[Node, ...]
    tokens: Mapping[str, Expression | Control] = field(default_factory=dict)

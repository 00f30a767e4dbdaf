"""A block's opening line: ``::: name key="value"``, held against the block's shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mailer.content.balance import unbalanced
from mailer.content.draft import Draft
from mailer.content.links import ADDRESSES, check_address
from mailer.content.shapes import BlockShape
from mailer.content.tokens import PATTERN
from mailer.errors import nearest

COLONS = re.compile(r"\s*:{3,}(.*)\Z", re.DOTALL)
"""A line that opens a block (with a rest that isn't blank) or closes one (without)."""

WIDTH = "width"
"""An attribute that holds a number of pixels."""

_PIXELS = re.compile(r"[1-9][0-9]{0,3}")
_NAME = re.compile(r"[A-Za-z][\w-]*")
_BLANK = re.compile(r"\s*\Z")
_KEY = re.compile(r"\s*([^\s=\"']+)")
_VALUE = re.compile(r"\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)')(?=\s|\Z)", re.DOTALL)
_ESCAPED = re.compile(r"\\([\"'\\])")
_CURLY_QUOTES = re.compile("\\s*=\\s*[“”„‟‚‘’«»]")


@dataclass(frozen=True, slots=True)
class Opening:
    """A block's name and attributes; ``shape`` is None for a block that doesn't exist."""

    name: str
    attributes: Mapping[str, str]
    shape: BlockShape | None


def parse_opening(rest: str, line: int, blocks: Mapping[str, BlockShape], draft: Draft) -> Opening:
    """What stands after the colons, with tokens for its expressions; notes what is wrong with it."""
    found = _NAME.match(rest)
    name = found.group() if found else rest.split()[0]
    shape = blocks.get(name)
    if found is None or PATTERN.search(name):
        draft.problem("A block's name is missing after :::", line, 'Write ::: name key="value".')
        return Opening("", {}, None)
    attributes = _attributes(rest, found.end(), line, name, draft)
    if shape is None:
        draft.problem(f"There is no block '{name[:60]}'", line, nearest(name[:60].lower(), sorted(blocks)))
    else:
        _check(shape, attributes, line, draft)
    return Opening(name, attributes, shape)


def _attributes(rest: str, position: int, line: int, name: str, draft: Draft) -> dict[str, str]:
    attributes: dict[str, str] = {}
    while not _BLANK.match(rest, position):
        key = _KEY.match(rest, position)
        word = key.group(1) if key else ""
        value = _VALUE.match(rest, key.end()) if key else None
        if key is None or value is None:
            draft.problem(*_malformed(rest, position, word, key.end() if key else position, line))
            return attributes
        position = value.end()
        text = value.group(1) if value.group(1) is not None else value.group(2)
        if word in attributes:
            draft.problem(f"The block '{name[:60]}' has '{word[:60]}' twice", line, "Remove one of them.")
        attributes[word] = _ESCAPED.sub(r"\1", text)
        for problem in unbalanced(draft.controls(text), f"the attribute '{word[:60]}'"):
            draft.problem(*problem)
    return attributes


def _malformed(rest: str, position: int, word: str, end: int, line: int) -> tuple[str, int, str]:
    if _CURLY_QUOTES.match(rest, end):
        return (
            f"The value of '{word[:60]}' stands in typographic quotation marks",
            line,
            f'Use straight ones: {word[:60]}="…".',
        )
    shown = " ".join(PATTERN.sub("{{ … }}", rest[position:]).split())[:40]
    sample = word[:60] if re.fullmatch(r"[\w-]+", word) and not PATTERN.search(word) else "key"
    return (f"'{shown}' is no attribute", line, f'Write {sample}="value", its value in quotation marks.')


def _check(shape: BlockShape, attributes: Mapping[str, str], line: int, draft: Draft) -> None:
    allowed = sorted(shape.required | shape.optional)
    for key in attributes:
        if key not in allowed:
            shown = PATTERN.sub("{{ … }}", key)[:60]
            todo = nearest(shown.lower(), allowed) or "It takes none."
            draft.problem(f"The block '{shape.name}' has no attribute '{shown}'", line, todo)
        elif key in ADDRESSES and (attributes[key].strip() or key in shape.required):
            check_address(key, attributes[key], line, draft)
        elif key == WIDTH and not _PIXELS.fullmatch(attributes[key]):
            shown = PATTERN.sub("{{ … }}", attributes[key])[:60]
            draft.problem(f"'{shown}' is no {WIDTH}", line, f'Write a number of pixels: {WIDTH}="420".')
    for key in sorted(shape.required.difference(attributes)):
        draft.problem(f"The block '{shape.name}' needs the attribute '{key}'", line, f'Add {key}="…" to its line.')

"""What there is to say about a compiled issue (``report.json``): sizes, counts, and what a reader may miss."""

from __future__ import annotations

import re
from collections import Counter

from mailer.model.compiled import Choice, CompiledIssue, Pieces, Slot, slots_of

CLIPPED_AT = 102_000
"""Bytes of HTML beyond which Gmail cuts a message off."""

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"<a\b[^>]*?\shref=([\"'])(.*?)\1")
_IMAGE = re.compile(r"<img\b[^>]*>")
_ALT = re.compile(r"\salt=(?:\"\s*[^\s\"][^\"]*\"|'\s*[^\s'][^']*')")
_SRC = re.compile(r"\ssrc=([\"'])(.*?)\1")


def report(compiled: CompiledIssue) -> dict[str, object]:
    """Plain data. Sizes are in bytes of UTF-8, with slots written as ``{{ … }}`` and every branch counted."""
    html, text = _flat(compiled.html), _flat(compiled.text)
    visible = _COMMENT.sub("", html)
    slots = [slot for part in (compiled.subject, compiled.text, compiled.html) for slot in slots_of(part)]
    links = [found.group(2).replace("&amp;", "&") for found in _LINK.finditer(visible)]
    images = [found.group() for found in _IMAGE.finditer(visible)]
    size = len(html.encode())
    return {
        "issue": compiled.slug,
        "title": compiled.title,
        "subject": _flat(compiled.subject),
        "language": compiled.language,
        "digest": compiled.digest,
        "html_bytes": size,
        "clipped_by_gmail": size > CLIPPED_AT,
        "text_bytes": len(text.encode()),
        "word_count": compiled.word_count,
        "reading_minutes": compiled.reading_minutes,
        "slots": dict(sorted(Counter(slot.expression for slot in slots).items())),
        "links": list(dict.fromkeys(links)),
        "images": len(images),
        "images_without_alt": [_source(image) for image in images if not _ALT.search(image)],
        "longest_line": max(len(line.encode()) for line in html.split("\n")),
        "longest_text_line": max(len(line) for line in text.split("\n")),
    }


def _source(image: str) -> str:
    found = _SRC.search(image)
    return found.group(2) if found else ""


def _flat(pieces: Pieces) -> str:
    parts: list[str] = []
    for piece in pieces:
        match piece:
            case str():
                parts.append(piece)
            case Slot():
                parts.append(f"{{{{ {piece.expression} }}}}".replace('"', "'"))
            case Choice():
                parts += [_flat(branch.pieces) for branch in piece.branches]
                parts.append(_flat(piece.otherwise))
    return "".join(parts)

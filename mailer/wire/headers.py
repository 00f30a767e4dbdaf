"""Header fields as they stand on the wire (RFC 5322, RFC 2047): encoded, folded, and impossible to inject into.

Whatever text goes in, what comes out is printable ASCII in lines of at most 78 characters (a single address or URL may
make its line longer, never beyond 998), so a value can neither end its field nor begin another.
"""

from __future__ import annotations

import re
from base64 import b64encode

LINE = 78
"""Characters of a line, without its CRLF (RFC 5322 §2.1.1)."""

NAME_LIMIT = 70
"""Characters of a display name; a longer one is cut."""

_FOLD = "\r\n "
_WORD = 75  # RFC 2047 §2: an encoded-word may not be longer
_Q_FRAME = len("=?utf-8?q??=")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_Q_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q_READABLE = bytes(_Q_SAFE) + b" "
_Q = {byte: chr(byte) if byte in _Q_SAFE else "_" if byte == 0x20 else f"={byte:02X}" for byte in range(256)}


def clean(text: str) -> str:
    """The text in one line: each run of control characters and line separators is a space, none at the ends."""
    return _CONTROL.sub(" ", text).strip()


def field(name: str, text: str) -> bytes:
    """An unstructured field such as ``Subject``, with its CRLF."""
    return f"{name}: {unstructured(text, len(name) + 2)}\r\n".encode("ascii")


def unstructured(text: str, column: int) -> str:
    """Text for an unstructured field whose value begins at ``column``: as it is, or as encoded-words; folded."""
    text = clean(text)
    if not text:
        return ""
    if _PLAIN.fullmatch(text) and "=?" not in text:
        if column + len(text) <= LINE:
            return text
        folded = _fold(text, column)
        if folded is not None:
            return folded
    return encoded_words(text, column)


def encoded_words(text: str, column: int) -> str:
    """The whole text as encoded-words (RFC 2047), none longer than 75 characters, no character split between two.

    ``column`` is 50 at most, so that the first line has room for any character.
    """
    data = text.encode("utf-8", "replace")
    unreadable = len(data.translate(None, _Q_READABLE))
    base64 = unreadable * 3 > len(text)
    size = _base64_size(len(data)) if base64 else len(data) + 2 * unreadable
    if 0 < size <= min(_WORD, LINE - column) - _Q_FRAME:
        return _encoded_word(text, base64)  # one word: most names
    words: list[str] = []
    room = min(_WORD, LINE - column) - _Q_FRAME
    start = 0
    while start < len(text):
        end, used = start, 0
        while end < len(text):
            char = text[end].encode("utf-8", "replace")
            size = len(char) if base64 else sum(len(_Q[byte]) for byte in char)
            if (_base64_size(used + size) if base64 else used + size) > room:
                break
            used += size
            end += 1
        words.append(_encoded_word(text[start:end], base64))
        start = end
        room = _WORD - _Q_FRAME
    return _FOLD.join(words)


def mailbox(name: str, address: str, column: int) -> str:
    """``Name <address>`` for a field whose value begins at ``column``; the bare address where there is no name.

    The address is taken as it is: it must have been parsed.
    """
    shown = phrase(name, column)
    if not shown:
        return address
    width = len(shown) - shown.rfind("\n") - 1 + (0 if "\n" in shown else column)
    gap = " " if width + len(address) + 3 <= LINE else _FOLD
    return f"{shown}{gap}<{address}>"


def phrase(name: str, column: int) -> str:
    """A display name: plain where it may be, else quoted, else as encoded-words. Cut after ``NAME_LIMIT``."""
    name = clean(name)
    if len(name) > NAME_LIMIT:
        name = name[: NAME_LIMIT - 1].rstrip() + "…"
    if not name:
        return ""
    if "=?" not in name and column + len(name) <= LINE:
        if _ATOMS.fullmatch(name):
            return name
        if _PLAIN.fullmatch(name):
            quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
            if column + len(quoted) <= LINE:
                return quoted
    return encoded_words(name, column)


def _encoded_word(text: str, base64: bool) -> str:
    data = text.encode("utf-8", "replace")
    if base64:
        return f"=?utf-8?b?{b64encode(data).decode()}?="
    return f"=?utf-8?q?{''.join(_Q[byte] for byte in data)}?="


def _base64_size(octets: int) -> int:
    return (octets + 2) // 3 * 4


def _fold(text: str, column: int) -> str | None:
    """Plain text folded at its blanks; None where a word is too long for a line or blanks stand in a row."""
    lines, line, room = [], "", LINE - column
    for word in text.split(" "):
        if not word or len(word) >= LINE:
            return None
        if line and len(line) + 1 + len(word) > room:
            lines.append(line)
            line, room = word, LINE - 1
        else:
            line = f"{line} {word}" if line else word
    lines.append(line)
    return None if len(lines[0]) > LINE - column else _FOLD.join(lines)

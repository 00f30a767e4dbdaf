"""E-mail addresses where a mailer wrote them: in a report's field, in a line of prose, in a header."""

from __future__ import annotations

import re

NO_WORD = r"\s<>()\[\]\\,;:\"|：；，、。（）「」【】《》"
"""Characters that end a word in front of an address, in a character class."""

_LOCAL = rf"[^{NO_WORD}@\x00-\x1f`]{{1,128}}"
_DOMAIN = r"(?:[^\W_](?:[\w-]{0,62}[^\W_])?\.){1,12}[^\W_](?:[\w-]{0,62}[^\W_])?"
_QUOTED = r"\"[^\"\s@]{1,64}\""
# The look-behind lets a match begin only where a word begins, so each run of characters is tried once.
ADDRESS = re.compile(rf"(?<![^{NO_WORD}'`={{}}*])(?:{_QUOTED}|{_LOCAL})@{_DOMAIN}")
"""An address with a dotted domain, anywhere in a text."""

_IN_ANGLES = re.compile(r"<\s*([^<>\s]{1,320})\s*>")
_DISPLAY_NAME = re.compile(r"\"[^\"]{0,500}\"(?=\s{0,10}<)")
_TYPE = re.compile(
    r"\s*(?:rfc-?\s?822|utf-?8|x-local|unknown|smtp|dns|internet|x-unix|x400|system)\s*;\s*", re.IGNORECASE
)
_UTF8_ESCAPE = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_COMMENT = re.compile(r"\([^()]{0,500}\)")
# Chinese and Japanese words stand around an address without a blank.
_UNSPACED = re.compile(
    r"^[\u3040-\u30ff\u3400-\u9fff]{1,64}(?=[A-Za-z0-9])|(?<=[A-Za-z])[\u3040-\u30ff\u3400-\u9fff]{1,64}$"
)
_WORD = re.compile(r"[\w-]")
_NO_ADDRESS = re.compile(r"[\s<>,;|\"]|/\w+/")


def find_addresses(text: str) -> list[str]:
    """The addresses in a text, each once, in order; a bracket, quote or full stop around one is no part of it."""
    found = (trim(match[0]) for match in ADDRESS.finditer(text))
    return list(dict.fromkeys(address for address in found if address))


def trim(address: str) -> str:
    """Without what punctuation leaves at its ends; empty if nothing useful is left."""
    address = address.removeprefix("mailto:").lstrip("'*=&#").rstrip("'.-_*=")
    if address[:5].lower() == "smtp:":
        address = address[5:]
    address = _UNSPACED.sub("", address)
    local, _, domain = address.rpartition("@")
    return address if local and domain and domain[0] != "." else ""


def field_address(value: str) -> str:
    """The address in a field such as ``Final-Recipient``; empty where it holds a pipe, a path or a user's name.

    RFC 3464 §2.3.2 (``rfc822; name@host``), RFC 6533 §3 (``utf-8; …`` with ``\\x{…}``), RFC 3461 §4 (xtext).
    """
    value = value[:1000]
    kind = _TYPE.match(value)
    bare = value[kind.end() :] if kind else value
    bare = _UTF8_ESCAPE.sub(_from_hex, bare).strip()
    if "@" not in bare and "+40" in bare:
        bare = _XTEXT.sub(_from_hex, bare)
    if angled := _IN_ANGLES.search(bare):
        bare = angled[1]
    found = next(iter(find_addresses(bare)), "")
    bare = _COMMENT.sub("", bare).strip().strip("'\"<>")
    local, at, domain = bare.rpartition("@")
    # A host without a dot, an address literal, a domain that is none: in a report's field each is an address, and a
    # shorter one would be somebody else's.
    whole = bare if at and local and domain and not _NO_ADDRESS.search(bare) else ""
    if not found or found not in whole:
        return found or whole
    before, _, after = whole.partition(found)
    return whole if _WORD.match(before[-1:]) or _WORD.match(after) else found


def header_addresses(value: str) -> list[str]:
    """The addresses in ``To``, ``Delivered-To`` and the like; display names are left out."""
    found = []
    for piece in _DISPLAY_NAME.sub("", value[:20_000]).split(","):
        angled = [address for inside in _IN_ANGLES.findall(piece) if (address := field_address(inside))]
        found.extend(angled or find_addresses(piece))
    return list(dict.fromkeys(found))


def _from_hex(found: re.Match[str]) -> str:
    point = int(found[1], 16)
    return chr(point) if 0x20 < point < 0x110000 and not 0xD800 <= point < 0xE000 else ""

"""A recipient's links and the signed tokens in them.

A token says which subscriber and which send, and for what it may be used. It is sealed with HMAC-SHA256 in the manner
of SIV (RFC 5297): the tag over purpose and claims is also what masks the claims, so a token is opaque, reveals neither
address nor number, never changes and never expires. Only whoever has the secret key can make or read one.
"""

from __future__ import annotations

import binascii
import hmac
import re
from base64 import b32decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, get_args
from urllib.parse import quote

from mailer.errors import MailerError
from mailer.wire.mac import keyed

Link = Literal["unsubscribe", "preferences", "web_version", "share"]
LINKS: tuple[Link, ...] = get_args(Link)

_TAG = 16
_SHARE_TAG = 3
_TOKEN = re.compile(r"[A-Za-z0-9_-]{38}")
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_SHARE = re.compile(r"[a-z2-7]{13}")


class TokenError(MailerError):
    """A token in a link isn't one of ours: mistyped, cut off, made for something else, or made with another key."""


class Purpose(StrEnum):
    """What a token may be used for; one made for one purpose is refused for another."""

    UNSUBSCRIBE = "unsubscribe"
    PREFERENCES = "preferences"


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a token says. ``subscriber`` 0: a persona that isn't in the store; ``send`` is the send's key."""

    subscriber: int
    send: int


def make_token(secret: bytes, purpose: str, subscriber_id: int, send: int) -> str:
    """A token of 38 URL-safe, case-sensitive characters. The same input gives the same token."""
    claims = subscriber_id.to_bytes(6, "big") + send.to_bytes(6, "big")
    tag = _tag(secret, purpose, claims)
    return urlsafe_b64encode(tag + _mask(secret, tag, claims))[:38].decode("ascii")


def read_token(secret: bytes, purpose: str, token: str) -> TokenClaims:
    """The inverse. Raises ``TokenError``."""
    if not _TOKEN.fullmatch(token):
        raise _refused()
    data = urlsafe_b64decode(token + "==")
    tag = data[:_TAG]
    claims = _mask(secret, tag, data[_TAG:])
    if not hmac.compare_digest(tag, _tag(secret, purpose, claims)):
        raise _refused()
    if urlsafe_b64encode(data)[:38].decode("ascii") != token:
        raise _refused()  # the last character has bits to spare: one token, one spelling
    return TokenClaims(int.from_bytes(claims[:6], "big"), int.from_bytes(claims[6:], "big"))


def share_code(secret: bytes, subscriber_id: int) -> str:
    """The 13 characters (a–z, 2–7) by which a new subscriber says who recommended the newsletter."""
    number = subscriber_id.to_bytes(5, "big")
    tag = _tag(secret, "share", number)[:_SHARE_TAG]
    bits = int.from_bytes(tag + _mask(secret, tag, number), "big") << 1  # 8 octets, and a bit to fill up 13 characters
    return "".join([_BASE32[bits >> shift & 31] for shift in range(60, -1, -5)])


def read_share_code(secret: bytes, code: str) -> int:
    """The subscriber's id, whatever the code's case. Raises ``TokenError``."""
    code = code.strip().lower()
    if not _SHARE.fullmatch(code):
        raise _refused()
    try:
        data = b32decode(code.upper() + "===")
    except binascii.Error:
        raise _refused() from None
    tag = data[:_SHARE_TAG]
    number = _mask(secret, tag, data[_SHARE_TAG:])
    if not hmac.compare_digest(tag, _tag(secret, "share", number)[:_SHARE_TAG]):
        raise _refused()
    return int.from_bytes(number, "big")


@dataclass(frozen=True, slots=True)
class LinkMaker:
    """Makes the links of one send. ``base_url`` has no slash at its end; ``send`` is the send's key."""

    secret: bytes = field(repr=False)
    base_url: str
    web_version: str
    send: int

    @classmethod
    def of(cls, secret: bytes, base_url: str, slug: str, send: int) -> LinkMaker:
        """For an issue's slug."""
        return cls(secret, base_url, f"{base_url}/issues/{quote(slug, safe='')}", send)

    def link(self, name: Link, subscriber_id: int) -> str:
        """One link, as a full URL."""
        if name == "web_version":
            return self.web_version
        if name == "share":
            return f"{self.base_url}/subscribe?ref={share_code(self.secret, subscriber_id)}"
        return f"{self.base_url}/{name}/{make_token(self.secret, name, subscriber_id, self.send)}"

    def links(self, names: Iterable[Link], subscriber_id: int) -> dict[str, str]:
        """Several, by name."""
        return {name: self.link(name, subscriber_id) for name in names}


def _tag(secret: bytes, purpose: str, claims: bytes) -> bytes:
    return keyed(secret, f"mailer token {purpose}")(claims)[:_TAG]


def _mask(secret: bytes, tag: bytes, data: bytes) -> bytes:
    stream = keyed(secret, "mailer token mask")(tag)[: len(data)]
    return (int.from_bytes(stream, "big") ^ int.from_bytes(data, "big")).to_bytes(len(data), "big")


def _refused() -> TokenError:
    return TokenError(
        "This link isn't valid", todo="Copy the whole link from the newsletter, or use the one in a newer issue."
    )

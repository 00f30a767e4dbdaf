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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, get_args
from urllib.parse import quote

from mailer.errors import MailerError
from mailer.wire.mac import keyed

Link = Literal["unsubscribe", "preferences", "web_version", "share"]
LINKS: tuple[Link, ...] = get_args(Link)

_LABEL = "mailer token "
_MASK = f"{_LABEL}mask"
_TAG = 16
_SHARE_TAG = 3
_TOKEN = re.compile(r"[A-Za-z0-9_-]{38}")
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _BASE32 for second in _BASE32]
_SHARE = re.compile(r"[a-z2-7]{13}")


class TokenError(MailerError):
    """A token in a link isn't one of ours: mistyped, cut off, made for something else, or made with another key."""


class Purpose(StrEnum):
    """What a token may be used for; one made for one purpose is refused for another."""

    UNSUBSCRIBE = "unsubscribe"
    PREFERENCES = "preferences"
    CONFIRM = "confirm"


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a token says. ``subscriber`` 0: a persona that isn't in the store; ``send`` is the send's key."""

    subscriber: int
    send: int


def make_token(secret: bytes, purpose: str, subscriber_id: int, send: int) -> str:
    """A token of 38 URL-safe, case-sensitive characters. The same input gives the same token."""
    return _token_maker(secret, purpose, send)(subscriber_id)


def _token_maker(secret: bytes, purpose: str, send: int) -> Callable[[int], str]:
    tag_of, mask_of, tail = keyed(secret, f"{_LABEL}{purpose}"), keyed(secret, _MASK), send.to_bytes(6, "big")

    def make(subscriber_id: int) -> str:
        claims = subscriber_id.to_bytes(6, "big") + tail
        tag = tag_of(claims)[:_TAG]
        return urlsafe_b64encode(tag + _masked(mask_of(tag), claims))[:38].decode("ascii")

    return make


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


@dataclass(frozen=True, slots=True)
class ConfirmClaims:
    """What the token in a confirmation mail says: the request's number, and the Unix second in which it was made."""

    number: int
    asked_at: int


def make_confirm_token(secret: bytes, number: int, asked_at: float) -> str:
    """A token such as ``make_token`` makes."""
    return make_token(secret, Purpose.CONFIRM, number, int(asked_at))


def read_confirm_token(secret: bytes, token: str) -> ConfirmClaims:
    """The inverse. Raises ``TokenError``."""
    claims = read_token(secret, Purpose.CONFIRM, token)
    return ConfirmClaims(claims.subscriber, claims.send)


def share_code(secret: bytes, subscriber_id: int) -> str:
    """The 13 characters (a–z, 2–7) by which a new subscriber says who recommended the newsletter."""
    return _share_coder(secret)(subscriber_id)


def _share_coder(secret: bytes) -> Callable[[int], str]:
    tag_of, mask_of = keyed(secret, f"{_LABEL}share"), keyed(secret, _MASK)

    def code(subscriber_id: int) -> str:
        number = subscriber_id.to_bytes(5, "big")
        tag = tag_of(number)[:_SHARE_TAG]
        # 8 octets, and a bit to fill up 13 characters: six pairs and one
        bits = int.from_bytes(tag + _masked(mask_of(tag), number), "big") << 1
        return "".join([_PAIRS[bits >> shift & 1023] for shift in range(55, 0, -10)]) + _BASE32[bits & 31]

    return code


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
class Shape:
    """What all links of a name look like: how they begin, and how many letters, digits, ``-`` and ``_`` follow."""

    start: str
    length: int


@dataclass(frozen=True, slots=True)
class LinkMaker:
    """Makes the links of one send. ``shapes`` says what they look like, by name."""

    shapes: Mapping[Link, Shape]
    _makers: Mapping[Link, Callable[[int], str]] = field(repr=False)

    @classmethod
    def of(cls, secret: bytes, base_url: str, slug: str, send: int) -> LinkMaker:
        """For an issue's slug. ``base_url`` has no slash at its end; ``send`` is the send's key."""
        tails: dict[Link, Callable[[int], str]] = {
            "unsubscribe": _token_maker(secret, Purpose.UNSUBSCRIBE, send),
            "preferences": _token_maker(secret, Purpose.PREFERENCES, send),
            "share": _share_coder(secret),
            "web_version": lambda _: "",
        }
        starts: dict[Link, str] = {
            "unsubscribe": f"{base_url}/unsubscribe/",
            "preferences": f"{base_url}/preferences/",
            "share": f"{base_url}/subscribe?ref=",
            "web_version": f"{base_url}/issues/{quote(slug, safe='')}",
        }
        shapes = {name: Shape(starts[name], len(tails[name](0))) for name in LINKS}
        return cls(shapes, {name: _maker(starts[name], tails[name]) for name in LINKS})

    def link(self, name: Link, subscriber_id: int) -> str:
        """One link, as a full URL."""
        return self._makers[name](subscriber_id)

    def links(self, names: Iterable[Link], subscriber_id: int) -> dict[str, str]:
        """Several, by name."""
        makers = self._makers
        return {name: makers[name](subscriber_id) for name in names}


def _maker(start: str, tail: Callable[[int], str]) -> Callable[[int], str]:
    return lambda subscriber_id: start + tail(subscriber_id)


def _tag(secret: bytes, purpose: str, claims: bytes) -> bytes:
    return keyed(secret, f"{_LABEL}{purpose}")(claims)[:_TAG]


def _mask(secret: bytes, tag: bytes, data: bytes) -> bytes:
    return _masked(keyed(secret, _MASK)(tag), data)


def _masked(stream: bytes, data: bytes) -> bytes:
    size = len(data)
    return (int.from_bytes(stream[:size], "big") ^ int.from_bytes(data, "big")).to_bytes(size, "big")


def _refused() -> TokenError:
    return TokenError(
        "This link isn't valid", todo="Copy the whole link from the newsletter, or use the one in a newer issue."
    )

"""The signed return path: whose message a report is about, told by the address that the report was sent to (VERP).

``bounces+12.345.<tag>@domain`` is the envelope sender of message 345 of send 12. The tag is an HMAC-SHA256 over both
numbers, cut to 80 bits, in hexadecimal, since mail servers may change the case of a local part. Both numbers can be
read, as they can in ``Message-ID``; only whoever has the secret key can make a tag. So a report to such an address
comes from somebody who was handed the message.

With a ``u`` before the numbers it is the address to which a mail means "unsubscribe me" (RFC 2369 §3.2).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import quote

from mailer.wire.mac import keyed

MAX_LOCAL: Final = 24
"""Octets of the return path's own local part. A local part has 64 (RFC 5321 §4.5.3.1.1): the others are ``+``, ``u``,
16 digits for both numbers, their dots and the tag."""

LABEL: Final = "mailer return path"
_TAG: Final = 10
_MAX_ADDRESS: Final = 1000

# Whatever stands around the token doesn't matter, since its tag proves it: BATV's ``prvs=…=`` and ``btv1==…==``, SRS's
# ``SRS0=…=…=domain=``, a mailing list's own VERP, a "+" that became "+2B" (RFC 3461 §4, xtext).
_TOKEN = re.compile(
    r"(?<![0-9a-z])(?:2b)?(?P<leave>u?)(?P<claims>[0-9]{1,10}\.[0-9]{1,10})\.(?P<tag>[0-9a-f]{20})(?![0-9a-z])"
)


class Verp(NamedTuple):
    """What an address says, proven. ``send`` is the send's key. ``leave``: it is the address for unsubscribing."""

    send: int
    position: int
    leave: bool = False


def make_verp(secret: bytes, local: str, send: int, position: int) -> str:
    """The local part of a message's envelope sender. ``local``: ``MAX_LOCAL`` octets at most; ``send``: its key."""
    return f"{local}+{_signed(keyed(secret, LABEL), f'{send}.{position}')}"


@dataclass(frozen=True, slots=True)
class ReturnPaths:
    """Makes the signed addresses of one send's messages."""

    _code: Callable[[bytes], bytes] = field(repr=False)
    _send: str
    _sender: str
    _uri: str
    _domain: str

    @classmethod
    def of(cls, secret: bytes, local: str, domain: str, send: int) -> ReturnPaths:
        """``local`` as for ``make_verp``; ``domain`` in ASCII."""
        # RFC 6068 §2: what a mailto URI takes as it is, in a local part.
        uri = quote(local, safe="!$'*+,;:.-_~")
        return cls(keyed(secret, LABEL), f"{send}.", f"{local}+", f"mailto:{uri}+u", f"@{domain}")

    def make(self, position: int) -> tuple[str, str]:
        """A message's envelope sender, and the ``mailto:`` URI that unsubscribes its recipient."""
        signed = _signed(self._code, f"{self._send}{position}") + self._domain
        return self._sender + signed, f"{self._uri}{signed}?subject=unsubscribe"


def find_verp(secret: bytes, address: str) -> Verp | None:
    """What a signed address says, in whatever case, and whatever other systems have put around the token.

    None where there is no token in it, or none of ours.
    """
    for found in _TOKEN.finditer(address[:_MAX_ADDRESS].lower()):
        claims = found["claims"]
        if hmac.compare_digest(f"{claims}.{found['tag']}", _signed(keyed(secret, LABEL), claims)):
            send, _, position = claims.partition(".")
            return Verp(int(send), int(position), bool(found["leave"]))
    return None


def read_verp(secret: bytes, address: str) -> tuple[int, int] | None:
    """Send key and position of a signed return path; None for any other address."""
    found = find_verp(secret, address)
    return None if found is None or found.leave else (found.send, found.position)


def _signed(code: Callable[[bytes], bytes], claims: str) -> str:
    return f"{claims}.{code(claims.encode())[:_TAG].hex()}"

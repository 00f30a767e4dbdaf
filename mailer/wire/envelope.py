"""What goes to a relay."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message for one recipient, ready to go out untouched.

    Addresses are as SMTP sends them. ``message`` has CRLF line ends only, ends with one, holds no line that begins with
    a dot (so there is no stuffing to do) and not the final dot. ``smtputf8``: it needs that extension (RFC 6531).
    """

    sender: str
    recipient: str
    message: bytes
    smtputf8: bool = False

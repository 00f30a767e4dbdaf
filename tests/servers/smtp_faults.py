"""What the judging SMTP server can be told to do wrong, and what it records."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Literal

Phase = Literal["connect", "ehlo", "starttls", "auth", "rset", "mail", "rcpt", "data", "body", "dot", "quit", "reply"]

_MESSAGE_ID = re.compile(rb"^message-id:\s*(<[^>\r\n]*>)", re.IGNORECASE | re.MULTILINE)


@dataclass(slots=True)
class Fault:
    """What goes wrong in a phase, ``times`` times (None: always), for recipients that contain ``to``.

    ``reply``: said instead of the usual reply (text: CRLF is added; bytes: as they are; None: the usual one; empty:
    none, and silence from then on). ``delay``: seconds before it. ``drop``: the connection is closed after it, or reset
    where nothing is said. ``record``: at the dot, the message counts as accepted although the reply says something else
    or never comes. Phase ``body`` strikes when the first bytes of a message arrive, phase ``reply`` once the dot has
    been answered; both have no usual reply. ``stop_reading``: the server takes no more bytes from then on.
    """

    phase: Phase
    reply: str | bytes | None = None
    to: str = ""
    times: int | None = None
    delay: float = 0.0
    drop: bool = False
    record: bool = False
    stop_reading: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message that was accepted. ``content`` ends with CRLF and holds no stuffed dots; ``time`` in Unix seconds."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    options: str
    session: int
    tls: bool
    login: str
    time: float

    @property
    def message_id(self) -> str:
        found = _MESSAGE_ID.search(self.content)
        return found[1].decode() if found else ""

    def log_line(self) -> str:
        """One line of JSON."""
        return json.dumps(
            {
                "recipient": self.recipients[0],
                "message_id": self.message_id,
                "sha256": hashlib.sha256(self.content).hexdigest(),
                "size": len(self.content),
                "sender": self.sender,
                "session": self.session,
                "time": self.time,
            }
        )


def violations_of(message: Accepted) -> list[str]:
    """What a message does that no message may do."""
    content, to = message.content, ", ".join(message.recipients)
    found = []
    if content.count(b"\n") != content.count(b"\r\n") or content.count(b"\r") != content.count(b"\r\n"):
        found.append(f"a bare CR or LF in the message to {to}")
    if max(map(len, content.split(b"\r\n"))) > 998:
        found.append(f"a line of more than 998 bytes in the message to {to}")
    if not content.isascii() and "SMTPUTF8" not in message.options:
        found.append(f"8-bit bytes in the message to {to}")
    if not content.strip():
        found.append(f"an empty message to {to}")
    return found

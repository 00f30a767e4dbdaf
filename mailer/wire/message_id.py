"""``Message-ID``: stable for a send and a position, so that a message sent again is the same message."""

from __future__ import annotations

import hmac
import re

from mailer.model.ledger import SendId
from mailer.wire.mac import keyed

_OURS = re.compile(r"<?(?P<send>[A-Za-z0-9_-]{1,100})\.(?P<position>[0-9]{1,10})\.(?P<tag>[0-9a-f]{20})@[^\s<>@]+>?")
_NO_ATEXT = re.compile(r"[^A-Za-z0-9_-]")


def make_message_id(secret: bytes, send: SendId, position: int, domain: str) -> str:
    """``<send.position.tag@domain>``; the tag is an HMAC-SHA256 cut to 80 bits. ``domain`` is in ASCII."""
    name = _NO_ATEXT.sub("-", send)[:100]
    return f"<{name}.{position}.{_tag(secret, name, position)}@{domain}>"


def split_message_id(text: str) -> tuple[SendId, int] | None:
    """Send and position of an id that looks like ours; unproven, see ``own_message``. None for any other."""
    found = _OURS.fullmatch(text.strip())
    return (SendId(found["send"]), int(found["position"])) if found else None


def own_message(secret: bytes, text: str) -> tuple[SendId, int] | None:
    """Likewise, of an id that was made with this secret."""
    found = _OURS.fullmatch(text.strip())
    if found is None:
        return None
    name, position = found["send"], int(found["position"])
    return (SendId(name), position) if hmac.compare_digest(found["tag"], _tag(secret, name, position)) else None


def _tag(secret: bytes, name: str, position: int) -> str:
    return keyed(secret, "mailer message-id")(f"{name}.{position}".encode())[:10].hex()

"""A message to one person that belongs to no send, such as the one that a subscription is confirmed by."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Final
from zoneinfo import ZoneInfo

from mailer.model.address import Address
from mailer.model.ledger import SendId
from mailer.wire import headers
from mailer.wire.addresses import own_address, own_mailbox, wire_address
from mailer.wire.dkim import DkimKey, signing
from mailer.wire.envelope import Envelope
from mailer.wire.mac import keyed
from mailer.wire.message_id import make_message_id
from mailer.wire.quoted import encode_chunk

SERIES: Final = SendId("confirmation")
"""In the place of a send's id in ``Message-ID``. No send has it: theirs end in a number."""


@dataclass(frozen=True, slots=True)
class Letterhead:
    """Who writes. ``sender`` and ``reply_to`` as ``Name <address>`` (the latter may be empty); ``return_path``: the
    envelope sender, without a token (empty: the address in ``sender``). What comes back to it proves nothing, and so
    changes nothing; ``dkim`` who signs, if anyone does."""

    sender: str
    reply_to: str
    return_path: str
    timezone: str
    secret: bytes = field(repr=False)
    dkim: DkimKey | None = None


def make_letter(head: Letterhead, number: int, to: str, subject: str, text: str, html: str, date: float) -> Envelope:
    """The message. ``number`` makes ``Message-ID`` its own; ``date`` in Unix seconds.

    It says of itself that nobody has written it (RFC 3834 §5), so that no automatic reply comes back. Raises
    ``AddressError`` for an address that can't be sent to, ``CompileError`` for a sender that can't stand in a message.
    """
    name, sender = own_mailbox(head.sender, "from")
    address = wire_address(to)
    envelope_sender = own_address(head.return_path, "return_path") if head.return_path else sender
    boundary = "=_" + keyed(head.secret, "mailer boundary")(f"{SERIES} {number}".encode())[:12].hex()
    fields = _fields(head, number, name, sender, address, subject, date, boundary)
    body = b"".join(
        (
            *(part for kind, content in (("plain", text), ("html", html)) for part in _part(boundary, kind, content)),
            f"--{boundary}--\r\n".encode("ascii"),
        )
    )
    if head.dkim is not None:
        fields = signing(head.dkim, date, ()).field(fields, [body]) + fields
    return Envelope(envelope_sender.wire, address.wire, fields + b"\r\n" + body, address.needs_smtputf8)


def _fields(
    head: Letterhead, number: int, name: str, sender: Address, to: Address, subject: str, date: float, boundary: str
) -> bytes:
    moment = format_datetime(datetime.fromtimestamp(date, ZoneInfo(head.timezone)))
    fields = [
        f"From: {headers.mailbox(name, sender.wire, 6)}\r\n",
        f"To: {to.wire}\r\n",
        f"Message-ID: {make_message_id(head.secret, SERIES, number, sender.ascii_domain)}\r\n",
        f"Date: {moment}\r\n",
    ]
    if head.reply_to:
        reply_name, reply_to = own_mailbox(head.reply_to, "reply_to")
        fields.append(f"Reply-To: {headers.mailbox(reply_name, reply_to.wire, 10)}\r\n")
    fields += [
        "Auto-Submitted: auto-generated\r\n",
        "MIME-Version: 1.0\r\n",
        f'Content-Type: multipart/alternative;\r\n boundary="{boundary}"\r\n',
    ]
    return "".join(fields).encode() + headers.field("Subject", subject)


def _part(boundary: str, kind: str, content: str) -> tuple[bytes, bytes]:
    top = f"--{boundary}\r\nContent-Type: text/{kind}; charset=utf-8\r\n"
    top += "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    return top.encode("ascii"), encode_chunk(content.rstrip("\n") + "\n", 0)[0] + b"\r\n"

"""A compiled issue, frozen for one send: all that is the same for everyone is bytes already.

MIME is compiled, not only HTML. ``freeze`` runs once per send and worker; ``Frozen.assemble`` runs for each recipient
and does nothing but evaluate the slots, encode their values and join.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Final
from zoneinfo import ZoneInfo

import idna

from mailer.errors import CompileError
from mailer.expressions.locale import Locale
from mailer.model.address import Address
from mailer.model.compiled import CompiledIssue
from mailer.model.ledger import Recipient, SendId, SendKind
from mailer.wire import headers
from mailer.wire.addresses import ascii_url, own_address, own_mailbox, unquoted, wire_address
from mailer.wire.dkim import DkimKey, Signing, signing, static_chunks
from mailer.wire.envelope import Envelope
from mailer.wire.links import Link, LinkMaker
from mailer.wire.mac import keyed
from mailer.wire.message_id import make_message_id
from mailer.wire.pieces import Fill, Preparer, Program, Scope, links_named, splice
from mailer.wire.verp import MAX_LOCAL, ReturnPaths

TEST_PREFIX: Final = "[Test] "

_LIST_ID = re.compile(r"(?P<name>[^<>]*?)\s*<(?P<id>[^<>\s]+)>|(?P<bare>[^<>\s]+)")
_TOKEN = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class SendFacts:
    """What a message says about the send it belongs to.

    ``key`` is the send's number in the store; ``date`` in Unix seconds; ``list_id`` as ``Name <id>`` or an id alone
    (RFC 2919); ``return_path`` the envelope sender, to which each recipient's token is added (empty: the address in
    ``From``, as it is); ``feedback_sender`` the last part of ``Feedback-ID``, the publication's domain; ``dkim`` who
    signs, if anyone does.
    """

    send: SendId
    key: int
    date: float
    kind: SendKind
    list_id: str
    base_url: str
    secret: bytes = field(repr=False)
    return_path: str = ""
    feedback_sender: str = ""
    dkim: DkimKey | None = None


@dataclass(frozen=True, slots=True)
class Frozen:
    """One send's message, ready to be made for anyone in it."""

    _facts: SendFacts
    _sender: str
    _return_paths: ReturnPaths | None
    _domain: str
    _links: LinkMaker
    _named: tuple[Link, ...]
    _top: bytes
    _subject: Callable[[Scope], str] | None
    _rest: bytes
    _opening: bytes
    _text: Program
    _between: bytes
    _html: Program
    _end: bytes
    _signing: Signing | None

    def assemble(self, recipient: Recipient) -> Envelope:
        """The message for one recipient.

        Raises ``AddressError`` for an address that can't be sent to, and what an expression raises for this
        subscriber: nobody else is touched by either.
        """
        facts, subscriber = self._facts, recipient.subscriber
        address = wire_address(recipient.email)
        links = self._links.links(self._named, subscriber.id)
        unsubscribe = links.get("unsubscribe") or self._links.link("unsubscribe", subscriber.id)
        scope: Scope = {"subscriber": subscriber, "links": links}
        name = f"{subscriber.first_name} {subscriber.last_name}"
        sender, by_mail = self._sender, ""
        if self._return_paths is not None:
            sender, mailto = self._return_paths.make(recipient.position)
            # After https, which one click needs (RFC 8058); others take the first that they can use (RFC 2369 §2).
            by_mail = f",\r\n <{mailto}>"
        out = [
            self._top,
            (
                f"To: {headers.mailbox(name, address.wire, 4)}\r\n"
                f"Message-ID: {make_message_id(facts.secret, facts.send, recipient.position, self._domain)}\r\n"
                f"List-Unsubscribe: <{unsubscribe}>{by_mail}\r\n"
            ).encode(),
        ]
        if self._subject is not None:
            out.append(headers.field("Subject", _prefix(facts) + self._subject(scope)))
        out.append(self._rest)
        head = len(out)
        out += (b"\r\n", self._opening)
        made: dict[Fill, bytes] = {}
        splice(self._text, scope, out, made)
        out.append(self._between)
        splice(self._html, scope, out, made)
        out.append(self._end)
        if self._signing is not None:
            out.insert(0, self._signing.field(b"".join(out[:head]), out[head + 1 :]))
        return Envelope(sender, address.wire, b"".join(out), address.needs_smtputf8)


def freeze(compiled: CompiledIssue, facts: SendFacts) -> Frozen:
    """Encodes once whatever is the same for every recipient of a send.

    Raises ``CompileError`` where sender, reply address or base URL can't stand in a message.
    """
    name, sender = own_mailbox(compiled.sender, "from")
    links = LinkMaker.of(facts.secret, ascii_url(facts.base_url), compiled.slug, facts.key)
    prepare = Preparer(Locale(compiled.language, compiled.country, compiled.timezone), links.shapes)
    subject = prepare.text(compiled.subject)
    boundary = "=_" + keyed(facts.secret, "mailer boundary")(facts.send.encode())[:12].hex()
    part = "Content-Type: text/{}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    rest = _static_fields(compiled, facts, boundary)
    text, html = prepare.body(compiled.text), prepare.body(compiled.html)
    if isinstance(subject, str):
        rest = headers.field("Subject", _prefix(facts) + subject) + rest
    return Frozen(
        facts,
        sender.wire,
        _return_paths(facts) if facts.return_path else None,
        sender.ascii_domain,
        links,
        links_named(compiled.subject, compiled.text, compiled.html),
        f"From: {headers.mailbox(name, sender.wire, 6)}\r\n".encode(),
        None if isinstance(subject, str) else subject,
        rest,
        f"--{boundary}\r\n{part.format('plain')}".encode(),
        text,
        f"\r\n--{boundary}\r\n{part.format('html')}".encode(),
        html,
        f"\r\n--{boundary}--\r\n".encode(),
        None if facts.dkim is None else _signing(facts.dkim, facts.date, sender, text + html),
    )


def _signing(key: DkimKey, date: float, sender: Address, body: Program) -> Signing:
    if not key.covers(sender.ascii_domain):
        what = f"'{sender.text}' isn't of {key.domain}, the domain that signs, so DMARC would count it as unsigned"
        todo = f"Send from an address at {key.domain} or below it, or change [dkim]."
        raise CompileError(what, where="from", todo=todo)
    return signing(key, date, static_chunks(body))


def _static_fields(compiled: CompiledIssue, facts: SendFacts, boundary: str) -> bytes:
    date = datetime.fromtimestamp(facts.date, ZoneInfo(compiled.timezone))
    fields = [f"Date: {format_datetime(date)}\r\n"]
    if compiled.reply_to:
        name, address = own_mailbox(compiled.reply_to, "reply_to")
        fields.append(f"Reply-To: {headers.mailbox(name, address.wire, 10)}\r\n")
    if facts.list_id:
        fields.append(_list_id(facts.list_id))
    feedback = (facts.send, compiled.slug, facts.kind.value, facts.feedback_sender)
    feedback_id = ":".join(_TOKEN.sub("-", part)[:60] for part in feedback)
    fields += [
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
        f"Feedback-ID: {feedback_id}\r\n",
        "MIME-Version: 1.0\r\n",
        f'Content-Type: multipart/alternative;\r\n boundary="{boundary}"\r\n',
    ]
    return "".join(fields).encode("ascii")


def _list_id(text: str) -> str:
    found = _LIST_ID.fullmatch(headers.clean(text))
    try:
        if not found:
            raise UnicodeError("it has no id of its own")
        bare = found["id"] or found["bare"]
        list_id = bare if bare.isascii() else idna.encode(bare, uts46=True).decode()
    except UnicodeError as error:
        todo = "It looks like 'Name <list.example.com>'."
        raise CompileError(f"'{text}' is no List-Id: {error}", where="list_id", todo=todo) from None
    name = headers.phrase(unquoted(found["name"] or ""), 9)
    return f"List-Id: {name}\r\n <{list_id}>\r\n" if name else f"List-Id: <{list_id}>\r\n"


def _prefix(facts: SendFacts) -> str:
    return TEST_PREFIX if facts.kind is SendKind.TEST else ""


def _return_paths(facts: SendFacts) -> ReturnPaths:
    address = own_address(facts.return_path, "return_path")
    if len(address.local) > MAX_LOCAL:
        what = f"'{facts.return_path}' leaves no room for a recipient's token"
        raise CompileError(what, where="return_path", todo=f"Take at most {MAX_LOCAL} characters before the @.")
    return ReturnPaths.of(facts.secret, address.local, address.ascii_domain, facts.key)

"""One SMTP session with a relay, one recipient a transaction (RFC 5321, RFC 2920).

Connecting is in ``connect.py``; from then on the bytes are ours. The order of things is the guarantee:

* The body goes out without its final dot; until ``dot`` the relay delivers nothing, whatever happens.
* A message that was announced has its commands sent with the dot before it (RFC 2920 §3.1 allows that): one round trip
  a message where there would be two. With RSET between, in case the dot is refused and the relay keeps what it knows.
* Replies are paired with commands by counting. A reply too many, one that is no SMTP, 421, a lost connection, a timeout
  or a cancelled wait end the session for good: nobody can ever read the answer to someone else's question.
* A refusal that was seen is the answer, even if the relay closes the session right after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from mailer.delivery.blame import Phase
from mailer.delivery.condition import Signal, signal_of
from mailer.errors import RelayError
from mailer.model.ledger import Reply
from mailer.service.ports import DotNotSent, Refused, SessionEnded, Unanswered
from mailer.smtp.session import NoAnswer, Session
from mailer.wire.envelope import Envelope
from mailer.wire.replies import ProtocolError

NO_SMTPUTF8 = Reply(
    0,
    "5.6.7",
    "the address has letters that only an internationalised relay can carry, and this one offers no SMTPUTF8",
)


PROMPT = 1.0
"""Seconds within which a relay must have answered the last dot for another message to be announced with the next one:
it would wait for the answer, while another connection might carry it at once."""

_PHASES: Mapping[str, Phase] = {"RCPT": "rcpt", "DATA": "data"}
"""Commands that come after a recipient was named."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait in each phase, from RFC 5321 §4.5.3.2; ``connect`` is for each step of setting a session up."""

    connect: float = 30.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0
    dot: float = 600.0
    quit: float = 2.0


class _Phase(Enum):
    READY = auto()  # between two transactions
    STALE = auto()  # as READY, but a refused transaction is still open: RSET must come first
    BUSY = auto()  # in the middle of offering or of a dot
    OFFERED = auto()  # all is out but the dot
    ANNOUNCED = auto()  # between two transactions, and the commands of the second are out


class SmtpConnection:
    """A session that is connected, encrypted and logged in as its relay's settings ask for.

    ``extensions`` are the relay's EHLO keywords in lower case with their parameters. ``offered`` counts transactions.
    """

    def __init__(
        self, transport: asyncio.Transport, extensions: Mapping[str, str], where: str, timeouts: Timeouts
    ) -> None:
        self._timeouts, self.where = timeouts, where
        self._pipelining = "pipelining" in extensions
        self._utf8 = "smtputf8" in extensions and "8bitmime" in extensions
        self._sized = "size" in extensions
        self._phase = _Phase.READY
        self._session = Session(transport, where)
        self._loop = asyncio.get_running_loop()
        self.offered = 0
        self._lent_until = self._lent_offers = 0.0
        self._may_announce = self._is_prompt = False
        self._is_answered = False
        self._announced: Envelope | None = None
        self._commands_announced = b""
        transport.set_protocol(self._session)

    @property
    def usable(self) -> bool:
        """Whether another transaction may begin."""
        return self._phase in (_Phase.READY, _Phase.STALE) and self._session.quiet

    @property
    def turned_away(self) -> RelayError | None:
        """Why the relay closed the session in the middle of its first message, for a reason of its own: that is as if
        it hadn't let us in. None: it didn't. A session that ends after some messages is only replaced."""
        why = self._session.broken
        if self.offered > 1 or not isinstance(why, SessionEnded):
            return None
        return why if signal_of(why.reply, why.phase) is Signal.NOTHING else None

    @property
    def unanswered(self) -> bool:
        """Whether the relay ended the session without an answer to what was announced."""
        return self._phase is _Phase.ANNOUNCED and not self._session.alive

    def lend(self, until: float, offers: int, *, may_announce: bool = False) -> None:
        """Says how long, by the loop's clock, and up to how many transactions in all ``again`` may allow another, and
        whether it may be announced."""
        self._lent_until, self._lent_offers, self._may_announce = until, offers, may_announce

    def again(self) -> bool:
        """See ``mailer.service.ports.Connection``."""
        if self._phase is _Phase.ANNOUNCED:
            return self._session.alive
        return self._is_lent and self.usable

    @property
    def may_announce(self) -> bool:
        """See ``mailer.service.ports.Connection``. Never to a relay that is slow to answer: see ``PROMPT``."""
        return self._may_announce and self._is_prompt and self._pipelining and self._is_lent

    def announce(self, envelope: Envelope) -> bool:
        """See ``mailer.service.ports.Connection``."""
        if self._phase is not _Phase.OFFERED or not self.may_announce or (envelope.smtputf8 and not self._utf8):
            return False
        try:
            mail, rcpt = self._commands(envelope)
        except RelayError:
            return False
        self._announced, self._commands_announced = envelope, b"RSET\r\n" + mail + rcpt + b"DATA\r\n"
        return True

    async def offer(self, envelope: Envelope) -> Refused | None:
        """MAIL, RCPT, DATA and the body without its final dot; see ``mailer.service.ports.Connection``."""
        if self._phase not in (_Phase.READY, _Phase.STALE) and (
            self._phase is not _Phase.ANNOUNCED or envelope is not self._announced
        ):
            raise RelayError("the session is in the middle of another message", where=self.where)
        if envelope.smtputf8 and not self._utf8:
            return Refused("local", NO_SMTPUTF8)
        mail = rcpt = b""
        if self._phase is not _Phase.ANNOUNCED:  # else they are out
            mail, rcpt = self._commands(envelope)
            self.offered += 1
        before, self._phase = self._phase, _Phase.BUSY
        self._announced, self._is_answered = None, False
        try:
            refused = await (self._pipelined if self._pipelining else self._one_by_one)(mail, rcpt, before)
            if refused is None:
                self._session.send(envelope.message, 0)
                await self._session.drain(self._timeouts.block)
        except BaseException as error:
            self.drop()
            if isinstance(error, RelayError) and not self._is_answered and self.offered > 1:
                self._phase = before
                raise Unanswered(error.what, where=self.where) from error
            raise
        self._phase = _Phase.OFFERED if refused is None else _Phase.STALE
        return refused

    async def dot(self) -> Reply:
        """The final dot and its reply; see ``mailer.service.ports.Connection``. 421 is a reply: nothing was taken."""
        if self._phase is not _Phase.OFFERED:
            raise DotNotSent("no message waits for its dot", where=self.where)
        try:
            self._session.check()
        except RelayError as error:
            raise DotNotSent(error.what, where=self.where) from None
        self._phase = _Phase.BUSY
        try:
            if self._announced is not None:
                self._session.send(b".\r\n" + self._commands_announced, 5)
                self.offered += 1
            else:
                self._session.send(b".\r\n", 1)
            sent_at = self._loop.time()
            reply = await self._session.reply(self._timeouts.dot, "the final dot")
            self._is_prompt = self._loop.time() - sent_at < PROMPT
            if reply.code < 400 and not 200 <= reply.code < 300:
                raise self._confused("the final dot", reply)
            if reply.code == 421:
                self._session.ended(reply, "dot")
        except BaseException:
            self.drop()
            raise
        if self._announced is not None:
            self._phase = _Phase.ANNOUNCED
        else:  # after a refusal Postfix, for one, keeps the transaction open
            self._phase = _Phase.READY if reply.code < 400 else _Phase.STALE
        return reply

    def drop(self) -> None:
        """Closes it at once, without a dot; what is still unsent is thrown away."""
        if self._phase is _Phase.ANNOUNCED and self._session.alive:
            self._phase = _Phase.BUSY  # it isn't the relay that ends it
        self._session.abort("the session was dropped")

    async def quit(self) -> None:
        """Says QUIT, waits a moment for the answer, and closes. Never raises and never hangs."""
        try:
            if self.usable:
                self._phase = _Phase.BUSY
                self._session.send(b"QUIT\r\n", 1)
                await self._session.reply(self._timeouts.quit, "QUIT")
        except RelayError:
            return  # it is closed, which is what was asked for
        finally:
            self.drop()
            await self._session.closed.wait()

    # ------------------------------------------------------------------------------------------------------------------

    @property
    def _is_lent(self) -> bool:
        return self.offered < self._lent_offers and self._loop.time() < self._lent_until

    def _commands(self, envelope: Envelope) -> tuple[bytes, bytes]:
        options = f" SIZE={len(envelope.message)}" if self._sized else ""
        options += " BODY=8BITMIME SMTPUTF8" if envelope.smtputf8 else ""
        mail = f"MAIL FROM:<{envelope.sender}>{options}\r\n"
        rcpt = f"RCPT TO:<{envelope.recipient}>\r\n"
        try:
            coded = mail.encode("utf-8" if envelope.smtputf8 else "ascii"), rcpt.encode("utf-8")
        except UnicodeEncodeError:
            raise RelayError("the sender's address isn't ASCII", where=self.where) from None
        if any(command.count(b"\n") != 1 or command.count(b"\r") != 1 for command in coded):
            raise RelayError("an address holds a line break", where=self.where)
        return coded

    async def _pipelined(self, mail: bytes, rcpt: bytes, before: _Phase) -> Refused | None:
        """All commands in one write, if they aren't out; each reply is read, in order, before anything is concluded."""
        resets = before is not _Phase.READY
        if before is not _Phase.ANNOUNCED:
            self._session.send((b"RSET\r\n" if resets else b"") + mail + rcpt + b"DATA\r\n", 3 + resets)
        await self._session.gather(3 + resets, self._timeouts.data)
        if resets:
            await self._reset()
        refused = await self._answer_to_mail()
        try:
            rcpt_refused = _refusal("rcpt", await self._answer(self._timeouts.rcpt, "RCPT"))
            refused = refused or rcpt_refused
            data = await self._answer(self._timeouts.data, "DATA")
            if refused is None:
                return self._data(data)
            if data.code == 354 and rcpt_refused:
                await self._lone_dot()
            elif data.code < 400:
                self.drop()  # somebody may be about to get an empty message
        except (NoAnswer, ProtocolError):
            raise  # a reply may be missing or be one too many: whose refusal it was is no longer beyond doubt
        except RelayError:
            if refused is None:
                raise
            self.drop()
        return refused

    async def _one_by_one(self, mail: bytes, rcpt: bytes, before: _Phase) -> Refused | None:
        if before is _Phase.STALE:
            self._session.send(b"RSET\r\n", 1)
            await self._reset()
        self._session.send(mail, 1)
        refused = await self._answer_to_mail()
        if refused is None:
            self._session.send(rcpt, 1)
            refused = _refusal("rcpt", await self._answer(self._timeouts.rcpt, "RCPT"))
        if refused is None:
            self._session.send(b"DATA\r\n", 1)
            return self._data(await self._answer(self._timeouts.data, "DATA"))
        return refused

    async def _answer_to_mail(self) -> Refused | None:
        reply = await self._answer(self._timeouts.mail, "MAIL")
        self._is_answered = True
        return _refusal("mail", reply)

    async def _lone_dot(self) -> None:
        """DATA was let through although nobody is to get anything (RFC 2920 §3.1): an empty message ends it."""
        self._session.send(b".\r\n", 1)
        await self._answer(self._timeouts.data, "an empty message")

    async def _reset(self) -> None:
        reply = await self._answer(self._timeouts.mail, "RSET")
        if not 200 <= reply.code < 300:
            raise RelayError(f"the relay refuses RSET: {reply.code} {reply.text}", where=self.where)

    async def _answer(self, timeout: float, command: str) -> Reply:  # noqa: ASYNC109
        """A reply to a command; 421 raises."""
        reply = await self._session.reply(timeout, command)
        if reply.code == 421:
            raise self._session.ended(reply, _PHASES.get(command, "mail"))
        if 300 <= reply.code < 400 and command != "DATA":
            raise self._confused(command, reply)
        return reply

    def _data(self, reply: Reply) -> Refused | None:
        if reply.code == 354:
            return None
        if reply.code < 400:
            raise self._confused("DATA", reply)
        return Refused("data", reply)

    def _confused(self, command: str, reply: Reply) -> ProtocolError:
        return ProtocolError(f"the relay answered {command} with {reply.code} {reply.text}", where=self.where)


def _refusal(phase: Literal["mail", "rcpt"], reply: Reply) -> Refused | None:
    return Refused(phase, reply) if reply.code >= 400 else None

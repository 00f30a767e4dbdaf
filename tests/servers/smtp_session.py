"""The judging SMTP server's side of one session."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tests.servers.smtp_faults import Accepted, Fault, Phase, violations_of
from tests.servers.smtp_login import converse

if TYPE_CHECKING:
    from tests.servers.smtp import SmtpServer

_PATH = re.compile(r"(?:FROM|TO):\s*<([^>]*)>(.*)", re.IGNORECASE)


class Session(asyncio.Protocol):
    """One client."""

    def __init__(self, server: SmtpServer) -> None:
        self.server = server
        self.number = 0
        self.transport: asyncio.Transport | None = None
        self.upgrade: asyncio.Task[None] | None = None
        self.closed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._scanned = 0
        self._unsent = b""
        self._collecting = False
        self._in_data = self._held = self._tls = False
        self._user = ""
        self._answer_to: Callable[[str], None] | None = None
        self._forget()

    def _forget(self) -> None:
        self._sender: str | None = None
        self._options = ""
        self._recipients: list[str] = []

    # --- the connection -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._tls = transport.get_extra_info("sslcontext") is not None
        if self.number:  # STARTTLS
            return
        server = self.server
        server.connections += 1
        self.number = server.connections
        crowded = server.max_connections is not None and server.open >= server.max_connections
        server.sessions.add(self)
        if crowded:
            self._say("421 4.7.0 too many connections")
            transport.close()
        else:
            self._answer("connect", "220 judge.example ESMTP")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._in_data:
            self.server.broken_off += 1
        self._gone()

    def _gone(self) -> None:
        self.server.sessions.discard(self)
        self.closed.set()

    def drop(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._in_data and not self._buffer:
            self._answer("body", "", recipients=self._recipients)
        self._buffer += data
        self._collecting = True
        self._work()
        self._collecting = False
        self._flush()

    def _work(self) -> None:
        while self._buffer and not self._held:
            if not (self._take_body() if self._in_data else self._take_command()):
                return

    # --- replies ------------------------------------------------------------------------------------------------------

    def _answer(
        self,
        phase: Phase,
        usual: str,
        then: Callable[[str], None] | None = None,
        *,
        recipients: Sequence[str] = (),
        record: Callable[[], None] | None = None,
    ) -> None:
        """Says ``usual`` or what a fault says instead; ``then`` gets what was said, ``record`` runs before a 2xx."""
        fault = self.server.struck(phase, recipients)
        if fault is None:
            self._conclude(usual, usual, then, record)
        elif fault.delay:
            self._held = True
            self._loop.call_later(fault.delay, self._carry_out, fault, usual, then, record)
        else:
            self._carry_out(fault, usual, then, record)

    def _carry_out(
        self, fault: Fault, usual: str, then: Callable[[str], None] | None, record: Callable[[], None] | None
    ) -> None:
        was_held, self._held = self._held, False
        if fault.stop_reading and self.transport is not None:
            self.transport.pause_reading()
        said = fault.reply if fault.reply is not None else "" if fault.drop else usual
        if record is not None and fault.record:
            record()
            record = None
        self._conclude(said, said if isinstance(said, str) else "", then, record)
        if fault.drop:
            self._held = True
            self._flush()
            if self.transport is not None:
                self.transport.close() if said else self.transport.abort()  # what was said still goes out
        elif fault.reply is not None and not said:
            self._held = True
        elif was_held:
            self._work()

    def _conclude(
        self, said: str | bytes, text: str, then: Callable[[str], None] | None, record: Callable[[], None] | None
    ) -> None:
        if record is not None and text.startswith("2"):
            record()
        if said:
            self._say(said)
        if then is not None:
            then(text)

    def _say(self, reply: str | bytes) -> None:
        self._unsent += reply if isinstance(reply, bytes) else reply.encode() + b"\r\n"
        if not self._collecting:
            self._flush()

    def _flush(self) -> None:
        """Replies to commands that came together go out together, as those of real servers do."""
        data, self._unsent = self._unsent, b""
        if not data or self.transport is None or self.transport.is_closing():
            return
        if not self.server.split_replies:
            self.transport.write(data)
            return
        for byte in data:
            self.transport.write(bytes([byte]))

    # --- commands -----------------------------------------------------------------------------------------------------

    def _take_command(self) -> bool:
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > 4096:
                self._violation("a command line of more than 4096 bytes")
                self.drop()
            return False
        raw = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        line = raw.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
        if not raw.endswith(b"\r\n"):
            self._violation(f"a command that ends in a bare LF: {line}")
        self.server.commands.append(line)
        if self._answer_to is not None:
            answer, self._answer_to = self._answer_to, None
            answer(line)
            return True
        verb, _, rest = line.partition(" ")
        verb = verb.upper()
        if self._buffer and (not self.server.pipelining or verb in ("DATA", "EHLO", "STARTTLS", "AUTH", "QUIT")):
            self._violation(f"something came after {verb} before its reply")
        handle = getattr(self, f"_on_{verb.lower()}", None)
        if handle is None:
            self._say("500 5.5.1 what?")
        else:
            handle(rest)
        return True

    def _on_ehlo(self, rest: str) -> None:
        self._forget()
        offers = ["judge.example", *self.server.offers(self._tls)]
        lines = [f"250{'-' if n < len(offers) - 1 else ' '}{offer}" for n, offer in enumerate(offers)]
        self._answer("ehlo", "\r\n".join(lines))

    def _on_helo(self, rest: str) -> None:
        self._forget()
        self._say("250 judge.example")

    def _on_starttls(self, rest: str) -> None:
        self._answer("starttls", "220 2.0.0 go ahead", self._start_tls)

    def _start_tls(self, said: str) -> None:
        if said.startswith("220"):
            self._flush()
            self._held = True
            self.upgrade = self._loop.create_task(self._upgrade())

    async def _upgrade(self) -> None:
        assert self.transport is not None
        try:
            upgraded = await self._loop.start_tls(self.transport, self, self.server.context(), server_side=True)
        except (OSError, ssl.SSLError, asyncio.CancelledError):
            self.drop()
            self._gone()
            return
        finally:
            self.upgrade = None
        if upgraded is not None:
            self.transport, self._tls, self._held = upgraded, True, False
            self._forget()
            self._work()

    def _on_auth(self, rest: str) -> None:
        converse(rest, self._say, self._ask, self._log_in)

    def _ask(self, prompt: str, then: Callable[[str], None]) -> None:
        self._say(prompt)
        self._answer_to = then

    def _log_in(self, user: str, word: str) -> None:
        if self.server.login != (user, word):
            self._say("535 5.7.8 authentication failed")
            return
        self._user = user
        self._answer("auth", "235 2.7.0 welcome")

    def _on_mail(self, rest: str) -> None:
        found = _PATH.fullmatch(rest)
        if found is None:
            self._say("501 5.5.4 syntax")
        elif self.server.login and not self._user:
            self._say("530 5.7.0 authentication required")
        elif self._sender is not None:
            self._violation("MAIL within a transaction")
            self._say("503 5.5.1 nested MAIL")
        elif self.server.size and _declared(found[2]) > self.server.size:
            self._say("552 5.3.4 too big")
        else:
            self._options = found[2].strip()
            self._answer("mail", "250 2.1.0 ok", lambda said: self._begin(found[1], said))

    def _begin(self, sender: str, said: str) -> None:
        if said.startswith("2"):
            self._sender = sender

    def _on_rcpt(self, rest: str) -> None:
        found = _PATH.fullmatch(rest)
        if found is None:
            self._say("501 5.5.4 syntax")
        elif self._sender is None:
            self._say("503 5.5.1 MAIL first")
        else:
            self._answer("rcpt", "250 2.1.5 ok", lambda said: self._add(found[1], said), recipients=[found[1]])

    def _add(self, recipient: str, said: str) -> None:
        if said.startswith("2"):
            self._recipients.append(recipient)

    def _on_data(self, rest: str) -> None:
        usual = "354 go ahead" if self._recipients else "554 5.5.1 no valid recipients"
        self._answer("data", usual, self._open_data, recipients=self._recipients)

    def _open_data(self, said: str) -> None:
        self._in_data = said.startswith("354")

    def _on_rset(self, rest: str) -> None:
        self._forget()
        self._answer("rset", "250 2.0.0 ok")

    def _on_noop(self, rest: str) -> None:
        self._say("250 2.0.0 ok")

    def _on_quit(self, rest: str) -> None:
        self._answer("quit", "221 2.0.0 bye", self._end)

    def _end(self, said: str) -> None:
        self._flush()
        if said and self.transport is not None:
            self.transport.close()

    # --- the message --------------------------------------------------------------------------------------------------

    def _take_body(self) -> bool:
        empty = self._buffer.startswith(b".\r\n")
        end = -2 if empty else self._buffer.find(b"\r\n.\r\n", max(self._scanned - 4, 0))
        if end == -1:
            self._scanned = len(self._buffer)
            return False
        content = bytes(self._buffer[: end + 2])
        del self._buffer[: end + 5]
        self._scanned, self._in_data = 0, False
        if content.startswith(b".") or b"\r\n." in content:
            content = re.sub(rb"(?m)^\.", b"", content)
        if not self._recipients:
            if content:
                self._violation("a message for nobody that isn't empty")
            self._forget()
            self._say("554 5.5.1 no valid recipients")
            return True
        message = Accepted(
            self._sender or "",
            tuple(self._recipients),
            content,
            self._options,
            self.number,
            self._tls,
            self._user,
            time.time(),
        )
        if self.server.strict:
            self.server.violations += violations_of(message)
        recipients = self._recipients
        self._forget()
        self._answer(
            "dot",
            f"250 2.0.0 accepted as {self.server.accepted + 1}",
            lambda said: self._answer("reply", "", recipients=recipients),
            recipients=recipients,
            record=lambda: self.server.record(message),
        )
        return True

    def _violation(self, what: str) -> None:
        self.server.violations.append(what)


def _declared(options: str) -> int:
    """The SIZE that a MAIL command declares (RFC 1870)."""
    found = re.search(r"\bSIZE=(\d+)", options, re.IGNORECASE)
    return int(found[1]) if found else 0

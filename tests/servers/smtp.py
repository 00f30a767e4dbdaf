"""A judging SMTP server: it records what it accepts before it says so, and misbehaves exactly as told.

    async with SmtpServer(faults=[Fault("rcpt", "550 5.1.1 no such user", to="lost@")]) as server:
        ... server.port, server.messages, server.commands, server.violations

It is an asyncio protocol of its own, so that it is cheap enough to take tens of thousands of messages, and so that it
judges our client by other code than ours. As a process, ``python -m tests.servers.smtp --port 0 --log FILE`` prints its
port and writes one JSON line per accepted message, before it answers the dot.

The certificates beside it are for a hundred years: ``authority.pem`` signed ``localhost.pem`` (localhost, 127.0.0.1)
and ``other.example.pem``; each holds certificate and key.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.servers.smtp_faults import Accepted, Fault, Phase
from tests.servers.smtp_session import Session

CERTIFICATES = Path(__file__).parent / "certificates"
AUTHORITY = CERTIFICATES / "authority.pem"


@dataclass
class SmtpServer:
    """The server and what it has seen. ``faults`` may be changed while it runs.

    ``commands`` holds every command line of every session, ``violations`` what a client did against the RFCs (messages
    are looked into only when ``strict``). ``connections`` counts sessions so far, ``open`` those of now; ``broken_off``
    messages whose dot never came. With ``keep`` false messages are counted and logged, not kept.
    """

    faults: list[Fault] = field(default_factory=list)
    pipelining: bool = True
    smtputf8: bool = True
    size: int | None = 50_000_000
    starttls: bool = False
    tls: bool = False
    certificate: str = "localhost"
    login: tuple[str, str] | None = None
    max_connections: int | None = None
    split_replies: bool = False
    strict: bool = True
    keep: bool = True
    log: Path | None = None
    port: int = 0

    messages: list[Accepted] = field(default_factory=list, init=False)
    accepted: int = field(default=0, init=False)
    commands: list[str] = field(default_factory=list, init=False)
    violations: list[str] = field(default_factory=list, init=False)
    connections: int = field(default=0, init=False)
    broken_off: int = field(default=0, init=False)
    sessions: set[Session] = field(default_factory=set, init=False, repr=False)
    _log_file: int | None = field(default=None, init=False)

    @property
    def open(self) -> int:
        return len(self.sessions)

    @property
    def recipients(self) -> list[str]:
        """Whom the accepted messages went to, in order."""
        return [recipient for message in self.messages for recipient in message.recipients]

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATES / f"{self.certificate}.pem")
        return context

    def offers(self, encrypted: bool) -> list[str]:
        """The EHLO keywords."""
        offered = {
            "PIPELINING": self.pipelining,
            f"SIZE {self.size}": self.size is not None,
            "STARTTLS": self.starttls and not encrypted,
            "AUTH PLAIN LOGIN": self.login is not None and (encrypted or not self.starttls),
            "8BITMIME": self.smtputf8,
            "SMTPUTF8": self.smtputf8,
            "ENHANCEDSTATUSCODES": True,
        }
        return [keyword for keyword, on in offered.items() if on]

    def struck(self, phase: Phase, recipients: Sequence[str] = ()) -> Fault | None:
        """The first fault that applies now; it is used up by being asked for."""
        for fault in self.faults:
            if fault.phase == phase and fault.times != 0 and (not fault.to or any(fault.to in r for r in recipients)):
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

    def record(self, message: Accepted) -> None:
        self.accepted += 1
        if self._log_file is not None:
            os.write(self._log_file, message.log_line().encode() + b"\n")
        if self.keep:
            self.messages.append(message)

    async def start(self) -> int:
        loop = asyncio.get_running_loop()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._log_file = os.open(self.log, flags, 0o644) if self.log else None
        context = self.context() if self.tls else None
        self._listener = await loop.create_server(lambda: Session(self), "127.0.0.1", self.port, ssl=context)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self.port

    async def stop(self) -> None:
        self._listener.close()
        for session in list(self.sessions):
            session.drop()
        for session in list(self.sessions):
            if session.upgrade is not None:
                session.upgrade.cancel()
            await session.closed.wait()
        await self._listener.wait_closed()
        if self._log_file is not None:
            os.close(self._log_file)

    async def __aenter__(self) -> SmtpServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


async def serve(server: SmtpServer) -> None:
    """Runs until the process is ended."""
    print(await server.start(), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.servers.smtp", description="A judging SMTP server.")
    parser.add_argument("--port", type=int, default=0, help="0: any free one; the port is the first line printed")
    parser.add_argument("--log", type=Path, help="one JSON line per accepted message, written before it is answered")
    parser.add_argument("--no-pipelining", action="store_true")
    parser.add_argument("--max-connections", type=int)
    parser.add_argument("--fault", action="append", default=[], help='JSON such as {"phase": "dot", "delay": 1}')
    given = parser.parse_args()
    faults = [Fault(**json.loads(text)) for text in given.fault]
    server = SmtpServer(
        faults,
        pipelining=not given.no_pipelining,
        max_connections=given.max_connections,
        strict=False,
        keep=False,
        log=given.log,
        port=given.port,
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(server))


if __name__ == "__main__":
    main()

"""The capture: an SMTP server that delivers nothing and files each message, for trying things out.

Messages are at ``<directory>/<send>/<position>.eml``, bytes exactly as received; those that aren't ours at
``<directory>/<date>/<hash>.eml``. A message that comes twice is filed twice (``7.eml``, ``7-2.eml``).

So that a trial also meets what happens in life, three domains always misbehave, and so do their subdomains:

=====================  ============================================================================================
``refused.example``    550 5.1.1, no such mailbox
``full.example``       452 4.2.2, mailbox full
``greylisted.example`` 451 4.7.1 at the first attempt for an address, then 250
=====================  ============================================================================================
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from aiosmtpd.smtp import SMTP, Envelope, Session

from mailer.wire.message_id import split_message_id

MAX_SIZE = 32 * 1024 * 1024
"""Bytes of the largest message that is taken."""

_MESSAGE_ID = re.compile(rb"^message-id:\s*(<[^<>\s]+>)", re.IGNORECASE | re.MULTILINE)


class Capture:
    """Listens on 127.0.0.1 while it is entered (``async with``) or between ``start`` and ``stop``.

    ``port`` 0 takes any free one. ``filed`` counts messages.
    """

    def __init__(self, directory: Path, port: int = 0) -> None:
        self._directory, self._port = directory, port
        self._server: asyncio.Server | None = None
        self._sessions: set[_CaptureSession] = set()
        self._greeted: set[str] = set()
        self.filed = 0

    async def start(self) -> int:
        """Gives the port. Raises ``OSError`` when it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _CaptureSession(self, self._sessions), "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self._port

    async def stop(self) -> None:
        """Closes it and all sessions with it."""
        if self._server is not None:
            self._server.close()
            ending = [task for session in list(self._sessions) for task in session.end()]
            if ending:
                await asyncio.wait(ending)
            await self._server.wait_closed()
            self._server = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    async def __aenter__(self) -> Capture:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # --- aiosmtpd's hooks ---------------------------------------------------------------------------------------------

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Offers PIPELINING: aiosmtpd reads commands one by one from a buffer, so they may come together."""
        session.host_name = hostname
        return [responses[0], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", *responses[1:]]

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Takes the recipient, unless its domain misbehaves."""
        match _misbehaving(address):
            case "refused.example":
                return "550 5.1.1 No such mailbox here"
            case "full.example":
                return "452 4.2.2 Mailbox full"
            case "greylisted.example" if address not in self._greeted:
                self._greeted.add(address)
                return "451 4.7.1 Greylisted, please come again"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Recipient ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Files the message, then says so."""
        try:
            path = self._file(envelope.original_content or b"")
        except OSError as error:
            return f"452 4.3.1 The message can't be filed: {error.strerror}"
        self.filed += 1
        return f"250 2.0.0 Filed as {path.relative_to(self._directory).as_posix()}"

    def _file(self, content: bytes) -> Path:
        folder, name = _place(content)
        directory = self._directory / folder
        directory.mkdir(parents=True, exist_ok=True)
        draft = directory / f".{name}.{os.getpid()}.{self.filed}.part"
        draft.write_bytes(content)
        path, copy = directory / f"{name}.eml", 1
        while path.exists():
            copy += 1
            path = directory / f"{name}-{copy}.eml"
        return draft.rename(path)


class _CaptureSession(SMTP):
    """aiosmtpd's session, known to the capture so that it can be closed with it."""

    line_length_limit = 64 * 1024  # also the size of its read buffer: a small one makes large messages slow

    def __init__(self, capture: Capture, sessions: set[_CaptureSession]) -> None:
        super().__init__(
            capture,
            data_size_limit=MAX_SIZE,
            enable_SMTPUTF8=True,
            hostname="localhost",
            ident="mailer capture: nothing is delivered",
            timeout=3600,
            auth_exclude_mechanism=("LOGIN", "PLAIN"),
            loop=asyncio.get_running_loop(),
        )
        self._all = sessions

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._all.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._all.discard(self)

    def end(self) -> list[asyncio.Task[None]]:
        """Closes it at once; gives what there is to wait for."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()
        return [self._handler_coroutine] if self._handler_coroutine is not None else []


def _misbehaving(address: str) -> str:
    """The one of the three domains that an address belongs to, else an empty text."""
    domain = address.rpartition("@")[2].lower()
    for name in ("refused.example", "full.example", "greylisted.example"):
        if domain == name or domain.endswith(f".{name}"):
            return name
    return ""


def _place(content: bytes) -> tuple[str, str]:
    """Folder and name for a message."""
    found = _MESSAGE_ID.search(content.partition(b"\r\n\r\n")[0])
    ours = split_message_id(found[1].decode("ascii", "replace")) if found else None
    if ours:
        return ours[0], str(ours[1])
    return datetime.now(UTC).date().isoformat(), hashlib.sha256(content).hexdigest()[:16]

"""Puts the failpoints into the real program, from outside: production code knows nothing of them.

Two places suffice. A transaction is named after the store's method that runs it; ``Database.write`` passes its points.
What goes over the wire to a relay is told by its bytes, between our SMTP session and its transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

import mailer.smtp.connect
from mailer.queue.arq_queue import ArqQueue
from mailer.store.database import SQLITE, Database
from mailer.store.ledger import SqlLedger
from mailer.store.sends import SqlSends
from mailer.store.suppressions import SqlSuppressions
from mailer.store.workers import SqlWorkers
from tests.faults.failpoints import passed, turns

_NAMED: tuple[tuple[type, str, str], ...] = (
    (SqlLedger, "claim", "claim"),
    (SqlLedger, "reap", "reap"),
    (SqlWorkers, "register", "register"),
    (SqlWorkers, "beat", "beat"),
    (SqlWorkers, "retire", "retire"),
    (SqlSends, "finish", "finish"),
    (SqlSends, "create", "create"),
    (SqlSends, "pause", "pause"),
    (SqlSends, "resume", "resume"),
    (SqlSends, "cancel", "cancel"),
    (SqlSends, "resolve", "resolve"),
    (SqlSuppressions, "add", "suppress"),
)
"""Class, method, and what its transactions are called."""

_VERBS = (b"EHLO", b"HELO", b"MAIL", b"RCPT", b"DATA", b"RSET", b"QUIT", b"NOOP")

_thread = threading.local()


def instrument() -> None:
    """To be called once, before anything is opened."""
    for owner, method, name in _NAMED:
        _name(owner, method, functools.partial(_always, name))
    _name(SqlLedger, "write", _written)
    _pass_in_transactions()
    _pass_in_enqueue()
    _tap_the_wire()


def _always(name: str, _named: dict[str, Any]) -> list[str]:
    return [name]


def _written(named: dict[str, Any]) -> list[str]:
    """A group's transaction is as many things as there are in it."""
    parts = (("outcomes", "outcome"), ("releases", "release"), ("dots", "dot"))
    return [name for part, name in parts if named.get(part)]


def _name(owner: Any, method: str, names: Callable[[dict[str, Any]], Sequence[str]]) -> None:
    real = getattr(owner, method)

    @functools.wraps(real)
    def call(self: object, *arguments: Any, **named: Any) -> Any:
        before = getattr(_thread, "names", ())
        _thread.names = names(named)
        try:
            return real(self, *arguments, **named)
        finally:
            _thread.names = before

    setattr(owner, method, call)


def _pass_in_transactions() -> None:
    real = Database.write

    @contextmanager
    def write(self: Database) -> Iterator[Connection]:
        names = getattr(_thread, "names", ())
        if self.dialect == SQLITE:
            turns.add(self._turn)
        with real(self) as connection:
            yield connection
            for name in names:
                passed(f"{name}.before-commit")
        for name in names:
            passed(f"{name}.committed")

    Database.write = write  # type: ignore[method-assign]


def _pass_in_enqueue() -> None:
    real = ArqQueue.enqueue

    async def enqueue(self: ArqQueue, batches: Sequence[Any]) -> None:
        if batches:
            passed("enqueue.begun")
        await real(self, batches)
        if batches:
            passed("enqueue.done")

    ArqQueue.enqueue = enqueue  # type: ignore[method-assign]


def _tap_the_wire() -> None:
    module: Any = mailer.smtp.connect
    real = module.SmtpConnection

    def tapped(transport: Any, *arguments: Any, **named: Any) -> Any:
        return real(_Wire(transport), *arguments, **named)

    module.SmtpConnection = tapped


class _Wire:
    """A transport that looks at what our session writes to a relay."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.dot_out = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        self._transport.set_protocol(_Replies(protocol, self))

    def write(self, data: bytes) -> None:
        if data.startswith(b".\r\n"):
            self.dot_out = True
            self._send(data[:3], "dot.written")
            if data[3:]:  # of a message that is announced
                self._send(data[3:], "mail.written")
        elif data[:4].upper() in (b"MAIL", b"RSET"):
            self._send(data, "mail.written")
        elif data[:4].upper() in _VERBS:
            self._transport.write(data)
        else:
            self._send(data[: len(data) // 2], "body.begun")
            self._send(data[len(data) // 2 :], "body.out")

    def _send(self, data: bytes, point: str) -> None:
        """Gives the bytes to the system at once, past the event loop (uvloop keeps them for a moment): from then on
        they leave even if the process dies. Passes the point if the system took them all."""
        taken = 0
        if not self._transport.is_closing() and self._transport.get_write_buffer_size() == 0:
            with contextlib.suppress(OSError):
                taken = os.write(self._transport.get_extra_info("socket").fileno(), data)
        if taken == len(data):
            passed(point)
        else:
            self._transport.write(data[taken:])


class _Replies(asyncio.Protocol):
    """Looks at what a relay says, before our session sees it."""

    def __init__(self, protocol: asyncio.Protocol, wire: _Wire) -> None:
        self._protocol, self._wire = protocol, wire

    def data_received(self, data: bytes) -> None:
        if self._wire.dot_out:
            self._wire.dot_out = False
            passed("reply.read")
        self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

"""How the web process speaks HTTP: uvicorn on httptools, with a bound on what isn't a body.

httptools takes a fraction of the time that h11 takes, but knows no method beyond a list of its own, and no bounds.
"""

from __future__ import annotations

import asyncio

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 64 * 1024
"""Bytes of a request line with its headers, and likewise of what stands between two pieces of a body or after it."""


_USUAL = (b"GET ", b"HEAD ", b"POST ")


class BoundedHttp(HttpToolsProtocol):
    """httptools itself takes heads and trailers without end, and keeps them: more than ``MAX_HEAD`` bytes are 400.

    What comes in one piece from the socket is looked at whole, so it may be one such piece more. A connection on which
    something unusual begins is handed to h11 from there on: another method then gets the answer that its path has for
    it, and a request that would rather speak another protocol keeps its body, which httptools would take for the next
    request. Where such a wish is seen too late for that, it is 400.
    """

    _between = True  # no request has begun, or the last one has come whole
    _since = 0  # bytes since the last piece of a body, or since the request began

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._socket = transport
        super().connection_made(_Joined(transport, self.loop))

    def data_received(self, data: bytes) -> None:
        idle = self._between and (self.cycle is None or self.cycle.response_complete)
        if idle and (not data.startswith(_USUAL) or b"\nupgrade:" in data.lower()):
            self._hand_over(data)
            return
        self._since += len(data)
        super().data_received(data)
        if self._since > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        self._between, self._since = False, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"upgrade":
            raise ValueError("no other protocol is spoken here")
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._since = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._between = True
        super().on_message_complete()

    def _hand_over(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        other = H11Protocol(self.config, self.server_state, self.app_state)
        other.connection_made(self._socket)
        self._socket.set_protocol(other)
        other.data_received(data)


class _Joined(asyncio.Transport):
    """Sends what is written in one turn of the loop together: uvicorn writes an answer's head and body apart, and each
    would be a system call and a packet of its own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._written: list[bytes | bytearray | memoryview] = []
        self.is_closing, self.get_extra_info = transport.is_closing, transport.get_extra_info  # type: ignore[method-assign]
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading  # type: ignore[method-assign]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._written:
            self._loop.call_soon(self._send)
        self._written.append(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        written = b"".join(self._written)
        self._written.clear()
        if written and not self._transport.is_closing():  # whoever asked may have gone since
            self._transport.write(written)


def server_config(app: ASGIApp) -> uvicorn.Config:
    """For ``uvicorn.Server``: no log but ours, nothing said of the server, no proxy believed but by us."""
    return uvicorn.Config(
        app,
        http=BoundedHttp,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # see mailer.web.client_address
    )

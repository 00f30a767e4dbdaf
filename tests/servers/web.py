"""The web process's app on a real uvicorn, in a thread, on a port of this machine."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp

from mailer.web.http import server_config


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Gives the base URL, without a slash at its end."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(server_config(app))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def ask(
    url: str, method: str = "GET", body: bytes | None = None, content_type: str = "", **more: str | list[str]
) -> Answer:
    """One request, without cookies, following nothing. ``more`` headers with ``_`` for ``-``; a list is several."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    headers = [("Content-Type", content_type)] if content_type else []
    for name, values in more.items():
        headers += [(name.replace("_", "-"), one) for one in ([values] if isinstance(values, str) else values)]
    if body is not None:
        headers.append(("Content-Length", str(len(body))))
    try:
        connection.putrequest(method, f"{parts.path}?{parts.query}" if parts.query else parts.path)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read().decode())
    finally:
        connection.close()

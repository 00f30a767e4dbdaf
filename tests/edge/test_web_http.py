"""HTTP as the web process speaks it, over a real socket: what is bounded, what is refused, what goes together."""

from __future__ import annotations

import logging
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from mailer.web.app import create_app
from mailer.web.http import MAX_HEAD
from tests.servers.web import ask, serving

SEEN: list[bytes] = []


async def told(request: Request) -> Response:
    """Says back what it was told."""
    body = await request.body()
    SEEN.append(body)
    return PlainTextResponse(f"{request.url.path} {len(body)}\n")


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with serving(create_app("B", "de", {}, [Route("/told/{name}", told, methods=["POST"])])) as url:
        yield url


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


def connected(base: str) -> socket.socket:
    parts = urlsplit(base)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10)


def answer_to(base: str, *pieces: bytes) -> bytes:
    """All that is answered until the server closes the connection."""
    with closing(connected(base)) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except ConnectionError:
            pass  # refused before all of it was sent
        return _read(connection)


def _read(connection: socket.socket) -> bytes:
    found = b""
    try:
        while piece := connection.recv(65_536):
            found += piece
    except ConnectionResetError:
        pass  # it was closed with something unread: what had come before counts
    return found


def _one_answer(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as answers:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = answers.readline()
            assert line, "the connection was closed"
            head += line
        return head + answers.read(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))


def _endless(connection: socket.socket, piece: bytes) -> tuple[int, bytes]:
    """Sends pieces until the connection is closed or ten times what may be was taken; how much, and what was answered.
    Each piece is looked at before the next one comes."""
    sent, answer = 0, b""
    connection.settimeout(0.01)
    while sent < 10 * MAX_HEAD:
        try:
            sent += connection.send(piece)
            answer += (read := connection.recv(65_536))
        except TimeoutError:
            continue
        except ConnectionError:
            break
        if not read:
            break
    return sent, answer


HEAD = b"POST /told/x HTTP/1.1\r\nHost: b.example\r\n"


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        (b"POST /told/", b"x" * 8000),
        (HEAD + b"X-Long: ", b"y" * 8000),
        (HEAD, b"X-Many: y\r\n" * 800),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"X-Trailer: y\r\n" * 600),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"e" * 8000),
    ],
    ids=["path", "header", "headers", "trailers", "chunk extension"],
)
def test_endless(base: str, beginning: bytes, piece: bytes) -> None:
    """A request line, a header, headers, trailers or a chunk's extension without end are refused with 400 after some
    ten thousand bytes, and no request comes of it; the next one is answered."""
    with closing(connected(base)) as connection:
        connection.sendall(beginning)
        sent, answer = _endless(connection, piece)
    assert sent < 4 * MAX_HEAD
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert SEEN == []
    assert ask(f"{base}/told/y", "POST", b"ab").text == "/told/y 2\n"


def test_long_head(base: str) -> None:
    """A long head is answered as long as it is within the bound, in however many pieces it comes."""
    field = b"X-Long: " + b"y" * (MAX_HEAD - 1000) + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab"
    whole = HEAD + field
    with closing(connected(base)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(whole), 1000):
            connection.sendall(whole[at : at + 1000])
            time.sleep(0.001)  # so that not all of it is read at once
        answer = _read(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"/told/x 2\n")


def test_many_chunks(base: str) -> None:
    """A body in very small chunks is taken, although their frames are more bytes than a head may have."""
    chunks = b"1\r\nx\r\n" * 20_000
    answer = answer_to(base, HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert answer.endswith(b"/told/x 20000\n")


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: +2\r\n",
        b"Content-Length: -2\r\n",
        b"Content-Length : 2\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Content-Length: 2\r\nX: a\0b\r\n",
    ],
)
def test_ambiguous(base: str, fields: bytes) -> None:
    """Where a proxy in front could see another end of the request than we do, it is 400 and nobody hears of it."""
    answer = answer_to(base, HEAD + fields + b"\r\nab\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert SEEN == []


def test_no_http(base: str) -> None:
    """What isn't HTTP is answered with 400."""
    assert answer_to(base, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("method", [b"BREW", b"PROPFIND", b"PUT"])
def test_other_methods(base: str, method: bytes) -> None:
    """A method that the path doesn't know is 405, also one that nobody knows."""
    answer = answer_to(base, method + b" /told/x HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"POST" in answer


def test_pipelined(base: str) -> None:
    """Requests that are sent before the answers to those before them are answered in their order."""
    one = b"POST /told/%d HTTP/1.1\r\nHost: b.example\r\nContent-Length: %d\r\n\r\n%s"
    requests = b"".join(one % (n, n, b"x" * n) for n in range(1, 6))
    with closing(connected(base)) as connection, connection.makefile("rb") as answers:
        connection.sendall(requests)
        found = []
        while len(found) < 5:
            line = answers.readline()
            if line.startswith(b"/told/"):
                found.append(line)
    assert found == [b"/told/%d %d\n" % (n, n) for n in range(1, 6)]


def test_continue(base: str) -> None:
    """A client that asks first whether it may send its body is told so, and then answered (RFC 9110 §10.1.1)."""
    with closing(connected(base)) as connection:
        connection.sendall(HEAD + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ab")
        assert _one_answer(connection).endswith(b"/told/x 2\n")


@pytest.mark.parametrize("kept_alive", [False, True])
@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_no_upgrade(base: str, protocol: bytes, kept_alive: bool) -> None:
    """A request that would rather speak another protocol (curl's with --http2, say) is answered in this one, body and
    all, on a new connection and on one that is kept."""
    plain, wish = b"Content-Length: 2\r\n\r\nab", b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n"
    with closing(connected(base)) as connection:
        for fields in [b"", wish, b"", wish][not kept_alive :]:
            connection.sendall(HEAD + fields + plain)
            assert _one_answer(connection).endswith(b"/told/x 2\n")


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_upgrade_in_pieces(base: str, protocol: bytes) -> None:
    """However such a request comes, its body is never taken for the next request."""
    smuggled = b"POST /told/smuggled HTTP/1.1\r\nHost: b.example\r\nContent-Length: 0\r\n\r\n"
    pieces = [HEAD, b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\nContent-Length: %d\r\n\r\n" % len(smuggled)]
    with closing(connected(base)) as connection:
        connection.sendall(HEAD + b"Content-Length: 0\r\n\r\n" + pieces[0])  # the second one begins behind the first
        connection.sendall(pieces[1] + smuggled)
        connection.sendall(HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
        assert b"smuggled" not in _read(connection)


def test_client_gone(base: str, caplog: pytest.LogCaptureFixture) -> None:
    """A client that doesn't wait for its answer costs nobody anything, and isn't worth a line in the log."""
    for _ in range(20):
        with closing(connected(base)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST at once
            connection.sendall(HEAD + b"Content-Length: 2\r\n\r\nab")
    assert ask(f"{base}/told/y", "POST", b"ab").status == 200
    assert [one.getMessage() for one in caplog.records if one.levelno > logging.INFO] == []


def test_answer_in_one_piece(base: str) -> None:
    """An answer's head and body come together, in one packet where they fit in one."""
    with closing(connected(base)) as connection:
        for _ in range(5):
            connection.sendall(HEAD + b"Content-Length: 2\r\n\r\nab")
            assert connection.recv(65_536).endswith(b"/told/x 2\n")

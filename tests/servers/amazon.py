"""Amazon SNS's host as our side sees it: a real HTTPS server, which says what it was asked for."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from mailer.web.fetch import fetch

CERTIFICATES = Path(__file__).parent / "certificates"


class Amazon:
    """``answers``: status, headers and body by path; a path that isn't there is 404. ``asked``: what came, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.base = ""

    def fetch(self, url: str) -> bytes:
        """The web process's own ``fetch``, with the host's name resolved to this server."""
        parts = urlsplit(url)
        return fetch(f"{self.base}{parts.path}{'?' if parts.query else ''}{parts.query}")


@contextmanager
def amazon(trust: Callable[[str, str], None]) -> Iterator[Amazon]:
    """The server. ``trust`` sets an environment variable, so that its certificate's authority is known."""
    trust("SSL_CERT_FILE", str(CERTIFICATES / "authority.pem"))
    made = Amazon()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            status, headers, body = made.answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """A test's output is pytest's."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "localhost.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    made.base = f"https://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

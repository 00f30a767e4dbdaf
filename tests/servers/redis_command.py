"""Says something to the embedded Redis of a data directory, past every client of ours."""

from __future__ import annotations

import socket
from pathlib import Path

from mailer.queue.socket_dir import SOCKET_NAME, socket_dir


def command(data_dir: Path, *words: str) -> bytes:
    """Says one command to a data directory's server; gives the raw first answer (RESP)."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(socket_dir(data_dir) / SOCKET_NAME))
        client.sendall((" ".join(words) + "\r\n").encode())
        return client.recv(65536)

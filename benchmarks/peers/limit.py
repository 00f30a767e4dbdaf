"""The limit: our own frozen message spliced for each recipient and written to a socket, and nothing else.

No ledger, no queue, no event loop. One poll loop over blocking sockets; a message's dot and the next MAIL, RCPT and
DATA go out together (RFC 2920), so a message costs one round trip. Nobody could tell afterwards who got it.

    python -m benchmarks.peers.limit FOLDER PORT COUNT CONNECTIONS
"""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.letter import PEOPLE, assembler, read_issue, recipient
from mailer.wire.envelope import Envelope

_DONE = (b"250", b"250", b"250", b"354")
"""The replies to the dot, MAIL, RCPT, DATA."""


class _Session:
    """A connection, and the message whose body is to go out next."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._heard = b""
        self._expect((b"220",))
        self.socket.sendall(b"EHLO bench.example.com\r\n")
        self._expect((b"250",))
        self.next: Envelope | None = None

    def send(self, upcoming: Envelope | None) -> None:
        """The body and dot of the message that was announced, and the commands of the upcoming one."""
        out = [] if self.next is None else [self.next.message, b".\r\n"]
        if upcoming is not None:
            names = upcoming.sender.encode(), upcoming.recipient.encode()
            out.append(b"MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n" % names)
        self._awaited = (_DONE[:1] if self.next else ()) + (_DONE[1:] if upcoming else ())
        self.next = upcoming
        gone = self.socket.sendmsg(out) if out else 0
        if gone < sum(map(len, out)):
            self.socket.sendall(b"".join(out)[gone:])

    def answered(self) -> bool:
        """After something came in: whether all replies are there. Raises ``RuntimeError`` for a refusal."""
        self._heard += self.socket.recv(65536)
        lines = self._heard.split(b"\r\n")
        if len(lines) <= len(self._awaited):
            return False
        self._take(lines, self._awaited)
        return True

    def _expect(self, codes: tuple[bytes, ...]) -> None:
        """Waits for replies of one code each, of which the last may have several lines."""
        while not (self._heard.endswith(b"\r\n") and self._heard.splitlines()[-1][3:4] == b" "):
            self._heard += self.socket.recv(65536)
        self._take([self._heard.splitlines()[-1], b""], codes)

    def _take(self, lines: list[bytes], codes: tuple[bytes, ...]) -> None:
        if tuple(line[:3] for line in lines[:-1]) != codes:
            raise RuntimeError(f"the sink said {self._heard!r}")
        self._heard = b""


def run(folder: Path, port: int, count: int, connections: int) -> None:
    """Sends ``count`` messages over so many connections."""
    people = [recipient(number) for number in range(1, PEOPLE + 1)]
    assemble = assembler(read_issue(folder))
    envelopes: Iterator[Envelope] = (assemble(people[number % PEOPLE]) for number in range(count))
    sessions = {session.socket.fileno(): session for session in (_Session(port) for _ in range(connections))}
    poll = select.poll()
    for number, session in sessions.items():
        poll.register(number, select.POLLIN)
        session.send(next(envelopes, None))
    busy = {number for number, session in sessions.items() if session.next is not None}
    while busy:
        for number, _ in poll.poll():
            session = sessions[number]
            if not session.answered():
                continue
            if session.next is None:
                busy.discard(number)
                poll.unregister(number)
            else:
                session.send(next(envelopes, None))
    for session in sessions.values():
        session.socket.sendall(b"QUIT\r\n")
        session.socket.close()


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))

"""SMTP replies (RFC 5321 §4.2) out of a stream of bytes, whatever the pieces it comes in. No I/O."""

from __future__ import annotations

import re
from functools import lru_cache

from mailer.errors import RelayError
from mailer.model.ledger import Reply

MAX_LINE = 4096
"""Bytes of a reply line; RFC 5321 §4.5.3.1.5 allows 512, some relays write more."""

MAX_LINES = 200
"""Lines of one reply."""

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s+|$)")
_SINGLE = re.compile(rb"[2-5][0-9]{2} [^\r]{0,200}\r")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\s]+")


class ProtocolError(RelayError):
    """A relay said something that isn't SMTP, or spoke when nobody had asked."""


class ReplyParser:
    """Collects bytes and gives whole replies. After a ``ProtocolError`` it must not be used again."""

    __slots__ = ("_buffer", "_code", "_lines")

    def __init__(self) -> None:
        self._buffer = b""
        self._code = b""
        self._lines: list[bytes] = []

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that are complete with these bytes. Raises ``ProtocolError``."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        replies = []
        for line in lines:
            reply = _single(line) if not self._lines else None
            reply = reply or self._take(line.removesuffix(b"\r"))
            if reply is not None:
                replies.append(reply)
        if len(self._buffer) > MAX_LINE:
            raise ProtocolError(f"the relay's reply has a line of more than {MAX_LINE} bytes")
        return replies

    def _take(self, line: bytes) -> Reply | None:
        if len(line) > MAX_LINE:
            raise ProtocolError(f"the relay's reply has a line of more than {MAX_LINE} bytes")
        found = _LINE.fullmatch(line)
        if not found:
            raise ProtocolError(f"the relay's reply is no SMTP: {_shown(line)}")
        code, more, text = found[1], found[2] == b"-", found[3] or b""
        if self._lines and code != self._code:
            raise ProtocolError(f"the relay's reply changes its code from {self._code.decode()} to {code.decode()}")
        self._code = code
        self._lines.append(text)
        if len(self._lines) > MAX_LINES:
            raise ProtocolError(f"the relay's reply has more than {MAX_LINES} lines")
        if more:
            return None
        reply = make_reply(int(code), [text.decode("utf-8", "replace") for text in self._lines])
        self._lines = []
        return reply


@lru_cache(maxsize=256)
def _single(line: bytes) -> Reply | None:
    """The reply of one whole line of the usual kind: most are the same for every message of a session."""
    return make_reply(int(line[:3]), [line[4:-1].decode("utf-8", "replace")]) if _SINGLE.fullmatch(line) else None


def make_reply(code: int, lines: list[str]) -> Reply:
    """A reply from its lines without their codes: the enhanced status (RFC 2034) is taken off, the text joined."""
    status = ""
    texts = []
    for line in lines:
        found = _STATUS.match(line)
        if found and found[1][0] == str(code)[0]:
            status = status or found[1]
            line = line[found.end() :]
        texts.append(_CONTROL.sub(" ", line).strip())
    return Reply(code, status, " ".join(text for text in texts if text))


def _shown(line: bytes) -> str:
    return repr(line[:80].decode("utf-8", "replace"))

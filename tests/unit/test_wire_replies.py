"""The parser of SMTP replies."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.errors import RelayError
from mailer.model.ledger import Reply
from mailer.wire.replies import MAX_LINE, MAX_LINES, ProtocolError, ReplyParser

CASES = [
    (b"250 ok\r\n", [Reply(250, "", "ok")]),
    (b"250\r\n", [Reply(250, "", "")]),
    (b"250 \r\n", [Reply(250, "", "")]),
    (b"354 go\n", [Reply(354, "", "go")]),
    (b"250 2.1.5 Recipient ok\r\n", [Reply(250, "2.1.5", "Recipient ok")]),
    (b"550 5.1.1\r\n", [Reply(550, "5.1.1", "")]),
    (b"550 4.1.1 odd class\r\n", [Reply(550, "", "4.1.1 odd class")]),
    (b"550 5.1.1234 no status\r\n", [Reply(550, "", "5.1.1234 no status")]),
    (b"550-5.7.1 first\r\n550-5.7.1 second\r\n550 5.7.1 third\r\n", [Reply(550, "5.7.1", "first second third")]),
    (b"250-a\r\n250-\r\n250 b\r\n", [Reply(250, "", "a b")]),
    (b"250 a\r\n451 4.7.1 b\r\n354 c\r\n", [Reply(250, "", "a"), Reply(451, "4.7.1", "b"), Reply(354, "", "c")]),
    (b"550 \xff\xfe gr\xc3\xbcn\x07\t!\r\n", [Reply(550, "", "\ufffd\ufffd grün !")]),
    (b"", []),
    (b"250-unfinished\r\n250 still", []),
]


@pytest.mark.parametrize(("stream", "replies"), CASES)
def test_replies(stream: bytes, replies: list[Reply]) -> None:
    """A stream gives the same replies whole and a byte at a time."""
    assert ReplyParser().feed(stream) == replies
    parser = ReplyParser()
    assert [reply for byte in stream for reply in parser.feed(bytes([byte]))] == replies


@pytest.mark.parametrize(
    "stream",
    [
        b"\r\n",
        b"hello\r\n",
        b"25 ok\r\n",
        b"2500 ok\r\n",
        b"150 ok\r\n",
        b"650 ok\r\n",
        b"250ok\r\n",
        b" 250 ok\r\n",
        b"250-a\r\n251 b\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\xd9\xb2\xd9\xb5\xd9\xa0 ok\r\n",
        b"x" * (MAX_LINE + 1),
        b"250 " + b"x" * MAX_LINE + b"\r\n",
        b"250-x\r\n" * (MAX_LINES + 1),
    ],
)
def test_garbage(stream: bytes) -> None:
    """What is no SMTP, or too much of it, raises ProtocolError, whole and a byte at a time."""
    with pytest.raises(ProtocolError):
        ReplyParser().feed(stream)
    with pytest.raises(RelayError):
        _feed_slowly(stream)


def _feed_slowly(stream: bytes) -> None:
    parser = ReplyParser()
    for byte in stream:
        parser.feed(bytes([byte]))


@settings(max_examples=100)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_any_bytes_in_any_pieces(stream: bytes, cuts: list[int]) -> None:
    """Any bytes give replies or a ProtocolError, the same in whatever pieces they come."""

    def run(pieces: list[bytes]) -> list[Reply] | None:
        parser = ReplyParser()
        try:
            return [reply for piece in pieces for reply in parser.feed(piece)]
        except ProtocolError:
            return None

    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    assert run([stream]) == run([stream[a:b] for a, b in pairwise(edges)])

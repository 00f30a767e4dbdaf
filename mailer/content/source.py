"""An issue file's bytes as clean lines."""

from __future__ import annotations

import re

from mailer.errors import ContentError, Problem

_INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")
"""Control characters and separators that editors paste unseen; they break XML, headers or lines further on."""


def read_source(text: str | bytes, file: str) -> str:
    """The text with ``\\n`` line ends, without byte order mark and control characters; lines keep their numbers.

    Raises ``ContentError`` for what isn't UTF-8, with the line of the first wrong byte.
    """
    if isinstance(text, bytes):
        text = _decode(text, file)
    else:
        _encodable(text, file)
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return _INVISIBLE.sub(" ", text)


def _decode(data: bytes, file: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _not_utf8(file, 1, "It is UTF-16. Save it as UTF-8.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        raise _not_utf8(file, before.count(b"\n") + 1, "Save it as UTF-8.") from None


def _encodable(text: str, file: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        before = text[: error.start].replace("\r\n", "\n").replace("\r", "\n")
        raise _not_utf8(file, before.count("\n") + 1, "Save it as UTF-8.") from None


def _not_utf8(file: str, line: int, todo: str) -> ContentError:
    return ContentError([Problem("The file isn't UTF-8 text", file, line, todo)])

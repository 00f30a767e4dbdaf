"""A file of mails joined as an mbox (RFC 4155)."""

from __future__ import annotations

MAX_MAILS = 1000


def split_mbox(data: bytes) -> list[bytes]:
    """The mails of an mbox; one mail that only begins with a ``From`` line stays one."""
    if not data.startswith(b"From "):
        return [data]
    mails: list[list[bytes]] = []
    blank = True
    lines = data.splitlines(keepends=True)
    for line, following in zip(lines, [*lines[1:], b""], strict=True):
        if blank and line.startswith(b"From ") and (not mails or begins_mail(line, following)):
            mails.append([])
        mails[-1].append(line)
        blank = not line.strip()
    return [b"".join(mail) for mail in mails[:MAX_MAILS]]


def begins_mail(line: bytes, following: bytes) -> bool:
    """Whether a line in the middle of an mbox, after a blank one, is the ``From`` line of the next mail."""
    name, colon, _ = following.partition(b":")
    dated = len(line.split()) > 5 and line.count(b":") > 1
    return dated and bool(colon) and name.replace(b"-", b"").isalnum()

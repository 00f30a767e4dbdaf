"""A Maildir (https://cr.yp.to/proto/maildir.html): what is in ``new``, and in ``cur`` without the flag S, is unread.

Servers and mail programs move mails from ``new`` to ``cur`` as soon as somebody opens the folder, unread as they are.
A mail that was read goes to ``cur`` with the flag S. Whoever delivers, or reads it as well, isn't disturbed.
"""

from __future__ import annotations

from pathlib import Path

from mailer.errors import MailboxError

_FLAGS = ":2,"
_SEEN = "S"
_TRASHED = "T"


def unread_mails(maildir: Path) -> list[Path]:
    """The files of unread mails that nobody has thrown away, the oldest first. Raises ``MailboxError``."""
    new, cur = maildir / "new", maildir / "cur"
    try:
        if not new.is_dir() or not cur.is_dir():
            todo = "It must be a folder with the folders 'new' and 'cur' in it."
            raise MailboxError("this is no Maildir", where=str(maildir), todo=todo)
        # In this order: what another program moves meanwhile is listed twice rather than never.
        found = [*new.iterdir(), *(path for path in cur.iterdir() if not {_SEEN, _TRASHED} & set(_split(path.name)[1]))]
    except OSError as error:
        raise MailboxError(f"can't be read: {error.strerror}", where=str(maildir)) from None
    # A name begins with the seconds of its delivery.
    return sorted((path for path in found if not path.name.startswith(".")), key=lambda path: path.name)


def read_mail(path: Path, most: int) -> bytes | None:
    """Up to ``most`` bytes of a mail. None: another reader has moved it. Raises ``MailboxError``."""
    try:
        with path.open("rb") as file:
            return file.read(most)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MailboxError(f"can't be read: {error.strerror}", where=str(path)) from None


def mark_read(path: Path) -> None:
    """Gives a mail the flag S, in ``cur``; one that another reader has moved is left. Raises ``MailboxError``."""
    try:
        path.rename(path.parent.parent / "cur" / _seen(path.name))
    except FileNotFoundError:
        return
    except OSError as error:
        raise MailboxError(f"can't be marked as read: {error.strerror}", where=str(path)) from None


def _seen(name: str) -> str:
    """The name with S among its flags, which stand in ASCII order; all else in it stays."""
    unique, flags, more = _split(name)
    return f"{unique}{_FLAGS}{''.join(sorted({*flags, _SEEN}))}{more}"


def _split(name: str) -> tuple[str, str, str]:
    """A name's unique part, its flags, and what programs keep behind a comma after these."""
    unique, found, info = name.rpartition(_FLAGS)
    if not found:
        return name, "", ""
    flags, comma, more = info.partition(",")
    return unique, flags, comma + more

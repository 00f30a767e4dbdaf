"""A Maildir (https://cr.yp.to/proto/maildir.html): what is in ``new`` hasn't been read.

A mail that was read goes to ``cur`` with the flag S. Whoever delivers, or reads it as well, isn't disturbed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mailer.errors import MailboxError


def new_mails(maildir: Path) -> Iterator[Path]:
    """The files of unread mails, the oldest first. Raises ``MailboxError``."""
    if not (maildir / "new").is_dir() or not (maildir / "cur").is_dir():
        raise MailboxError(
            "this is no Maildir", where=str(maildir), todo="It must be a folder with the folders 'new' and 'cur' in it."
        )
    # A name begins with the seconds of its delivery.
    yield from sorted(path for path in (maildir / "new").iterdir() if not path.name.startswith("."))


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
    """Moves a mail from ``new`` to ``cur``; one that another reader has moved is left. Raises ``MailboxError``."""
    try:
        path.rename(path.parent.parent / "cur" / f"{path.name}:2,S")
    except FileNotFoundError:
        return
    except OSError as error:
        raise MailboxError(f"can't be moved to 'cur': {error.strerror}", where=str(path)) from None

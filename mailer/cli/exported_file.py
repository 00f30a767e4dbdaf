"""The file that an ``export`` writes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import IO

from mailer.cli.output import err, plural
from mailer.errors import MailerError


def write_file(file: str, write: Callable[[IO[str]], int], what: str) -> None:
    """Has ``write`` fill a file, and says how many of ``what`` it wrote. ``-`` is stdout, and nothing is said.

    Raises ``MailerError``: it can't be written.
    """
    if file == "-":
        write(sys.stdout)
        return
    try:
        with open(file, "w", encoding="utf-8", newline="", opener=_private) as target:
            count = write(target)
    except OSError as error:
        raise MailerError(f"can't be written: {error.strerror}", where=file) from None
    err.print(f"{plural(count, what)} written to {file}.", markup=False)


def _private(path: str, flags: int) -> int:
    """People's addresses are for the owner's eyes only."""
    return os.open(path, flags, 0o600)

"""Where the embedded server's unix socket lies: a folder that only its owner may enter, with a path short enough."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from mailer.errors import QueueError

SOCKET_NAME = "redis.sock"

LONGEST = 100
"""Bytes of a socket's path that every system takes (Linux has room for 107, macOS for 103)."""


def socket_dir(data_dir: Path) -> Path:
    """The folder for a data directory's socket, by rule: every process finds the same one. Makes nothing.

    Inside the data directory; where that path is too long, in the temporary directory under a name that is a hash.
    """
    inside = data_dir.resolve() / "redis"
    if len(os.fsencode(inside / SOCKET_NAME)) <= LONGEST:
        return inside
    digest = hashlib.sha256(os.fsencode(inside)).hexdigest()[:16]
    name = f"mailer-{os.getuid()}-{digest}"
    outside = Path(tempfile.gettempdir()).resolve() / name
    return outside if len(os.fsencode(outside / SOCKET_NAME)) <= LONGEST else Path("/tmp") / name  # noqa: S108


def ensure_private(folder: Path) -> None:
    """Makes a folder of mode 0700. Raises ``QueueError`` if it can't, or if it is somebody else's.

    In a temporary directory anyone may have made it before us: whoever owns it could read what we queue.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise QueueError(
                "the folder for the embedded Redis belongs to somebody else", where=str(folder), todo="Remove it."
            )
        if stat.S_IMODE(found.st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError as error:
        raise QueueError(
            f"can't make the folder for the embedded Redis: {error.strerror}",
            where=str(folder),
            todo="Check the rights and the space there, or set [store] data to another folder.",
        ) from None

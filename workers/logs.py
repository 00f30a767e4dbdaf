"""The log of a process that runs for long: one line an event, in logfmt, on stderr, and no e-mail address in it.

In an address's place stands ``addr:`` with a keyed hash, and the domain: the same person is the same word in the logs
of all processes that have the same key, and nobody without the key can find out who it is.
"""

from __future__ import annotations

import logging
import re
import secrets
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from mailer.model.address import stored_address
from mailer.wire.mac import keyed

# A quotation mark begins no address, but may stand in one: Python's own quotes around a text are none of its letters.
_LOCAL = r"""(?:"[^"\r\n]{1,64}"|[^\s<>"'()\[\]{},;:=@*][^\s<>"()\[\]{},;:=@*]{0,254})"""
_ADDRESS = re.compile(rf"""(?P<local>{_LOCAL})(?P<at>@|%40)(?P<domain>[^\s<>"'()\[\]{{}},;:=@*%&?/#\\]+)""")
_HASH = 10


class Logfmt(logging.Formatter):
    """``time=… level=info pid=… from=workers.run msg="…"``; a traceback is one field, its lines joined by ``\\n``.

    ``hide`` is what becomes of a text that may have addresses in it.
    """

    def __init__(self, hide: Callable[[str], str]) -> None:
        super().__init__()
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6]
        line = (
            f"time={time}Z level={record.levelname.lower()} pid={record.process} from={record.name}"
            f" msg={_quoted(self._hide(record.getMessage()))}"
        )
        if record.exc_info:
            line += f" error={_quoted(self._hide(self.formatException(record.exc_info)))}"
        return line


def address_hider(key: bytes) -> Callable[[str], str]:
    """What replaces each address in a text: ``anna@example.com`` → ``addr:4ec1a7b2d0@example.com``.

    However an address is written, in capitals or with a domain in punycode, it becomes the same word.
    """
    mac = keyed(key, "mailer log address")

    def replaced(found: re.Match[str]) -> str:
        tag = mac(_key(found["local"], found["domain"]).encode("utf-8", "replace")).hex()[:_HASH]
        return f"addr:{tag}{found['at']}{found['domain']}"

    return lambda text: _ADDRESS.sub(replaced, text) if "@" in text or "%40" in text else text


def shown(text: str) -> str:
    """The text as it is: for ``--log-addresses``."""
    return text


def log_to_stderr(key: bytes | None = None, *, addresses: bool = False, level: int = logging.INFO) -> None:
    """Sends what is logged in this process to stderr: ours from ``level`` on, of libraries what is amiss.

    (arq says two lines for each job, aiosmtpd one for each command of each session.) ``key`` is the publication's
    secret; without one (no settings were read yet), the hashes are this process's own. ``addresses``: shown as they
    are.
    """
    # What no line has in it isn't asked for either: this halves the time of a line
    # (https://docs.python.org/3/howto/logging.html#optimization). asyncio's tasks: from Python 3.12 on.
    logging._srcfile = None
    logging.logThreads = logging.logMultiprocessing = False
    vars(logging)["logAsyncioTasks"] = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Logfmt(shown if addresses else address_hider(key or secrets.token_bytes(16))))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("mailer", "workers", "uvicorn"):
        logging.getLogger(name).setLevel(level)
    arq = logging.getLogger("arq")  # its command line has given it a handler of its own
    arq.handlers.clear()
    arq.setLevel(logging.WARNING)


def _key(local: str, domain: str) -> str:
    try:
        return stored_address(f"{local}@{domain.rstrip('.')}").key
    except UnicodeError:  # no such domain
        return f"{local}@{domain}".casefold()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "\\n")
    return f'"{escaped}"'

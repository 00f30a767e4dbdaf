"""The worker's log: one line an event, in logfmt, on stderr, and no e-mail address in it."""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime

_ADDRESS = re.compile(r"""([^\s<>"'()\[\]{},;:=@*])[^\s<>"'()\[\]{},;:=@]*@([^\s<>"'()\[\]{},;:=@]+)""")


class Logfmt(logging.Formatter):
    """``time=… level=info pid=… from=workers.run msg="…"``; a traceback is one field, its lines joined by ``\\n``."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fields = [f"time={time}", f"level={record.levelname.lower()}", f"pid={record.process}", f"from={record.name}"]
        fields.append(f"msg={_quoted(record.getMessage())}")
        if record.exc_info:
            fields.append(f"error={_quoted(self.formatException(record.exc_info))}")
        return without_addresses(" ".join(fields))


def without_addresses(text: str) -> str:
    """The text with the local part of each e-mail address cut to its first letter."""
    return _ADDRESS.sub(r"\1***@\2", text)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Sends what is logged in this process to stderr: ours from ``level`` on, of libraries what is amiss.

    (arq says two lines for each job, aiosmtpd one for each command of each session.)
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Logfmt())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("mailer", "workers"):
        logging.getLogger(name).setLevel(level)
    arq = logging.getLogger("arq")  # its command line has given it a handler of its own
    arq.handlers.clear()
    arq.setLevel(logging.WARNING)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "\\n")
    return f'"{escaped}"'

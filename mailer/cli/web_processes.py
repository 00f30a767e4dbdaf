"""``mailer web --processes N``: one socket, on which several web processes listen.

Whichever of them is idle takes the next connection. What they must know of one another is in Redis (limits) and in a
folder that they share (counters).
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile

from mailer.cli.processes import Child, supervise
from mailer.cli.workforce import config_arguments, log_arguments
from mailer.config import Loaded, ensure_data_dir
from mailer.errors import ConfigError
from mailer.web.metrics import TOGETHER

log = logging.getLogger(__name__)

BACKLOG = 2048
"""Connections that may wait to be taken."""


def listen(host: str, port: int, fd: int | None) -> socket.socket:
    """The socket on which the web listens: of its own, or one that is open already. Raises ``ConfigError``."""
    try:
        if fd is not None:
            found = socket.socket(fileno=fd)
            if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise OSError("it doesn't listen")
            return found
        places = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # Of a name with several addresses (localhost) the one that proxies are most often told.
        family, _, _, _, place = min(places, key=lambda one: one[0] != socket.AF_INET)
        found = socket.create_server(place[:2], family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        if fd is not None:
            raise ConfigError(f"--fd {fd} is no listening socket: {why}") from error
        raise ConfigError(
            f"the web process can't listen on {host} port {port}: {why}",
            todo="Take another --host or --port.",
        ) from error
    log.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
    return found


def serve_together(loaded: Loaded, listening: socket.socket, processes: int, *, log_addresses: bool) -> int:
    """Runs so many web processes until a signal; gives the exit status."""
    number = listening.fileno()
    arguments = ("-m", "mailer", "web", "--fd", str(number), *config_arguments(loaded), *log_arguments(log_addresses))
    # Not where others tidy up: a process that is started again needs the folder.
    with tempfile.TemporaryDirectory(prefix="web-counters-", dir=ensure_data_dir(loaded)) as counters:
        os.environ[TOGETHER] = counters
        return supervise([Child(f"web {n + 1}", arguments, (number,)) for n in range(processes)])

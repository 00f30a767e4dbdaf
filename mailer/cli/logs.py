"""Logs of processes that run for long: one line each, to stderr."""

from __future__ import annotations

import logging
import sys


def log_to_stderr(level: int = logging.INFO) -> None:
    """Sends all logs to stderr; libraries say only what is amiss."""
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    for name in ("mailer", "workers", "uvicorn"):
        logging.getLogger(name).setLevel(level)

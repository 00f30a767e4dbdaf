"""``python -m workers [--config FILE] [--log-addresses]``: one worker process."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mailer.config import load_settings, secret_key
from mailer.errors import MailerError
from workers.compose import batches_at_once, open_runtime
from workers.logs import log_to_stderr
from workers.run import run_worker


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one worker until it is told to leave; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workers", description="One worker process.")
    parser.add_argument("--config", type=Path, help="default: ./mailer.toml, else MAILER_CONFIG")
    parser.add_argument("--log-addresses", action="store_true", help="show e-mail addresses in the log")
    given = parser.parse_args(arguments)
    try:
        loaded = load_settings(given.config, os.environ)
        log_to_stderr(secret_key(loaded), addresses=given.log_addresses)
        return run_worker(loaded, open_runtime, batches_at_once(loaded.settings))
    except MailerError as error:
        print(f"mailer: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

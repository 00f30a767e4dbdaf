"""Opens the database for a command, and asks people before it does what can't be undone."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from mailer.cli.output import err
from mailer.config import Loaded, ensure_data_dir, inactive_keys
from mailer.service.deliver import LEASE
from mailer.service.ports import Store
from mailer.store import open_store


@contextmanager
def opened(loaded: Loaded) -> Iterator[Store]:
    """The store, for as long as a command needs it; makes SQLite's file when it isn't there. Raises ``StoreError``."""
    is_sqlite = loaded.store_url.startswith("sqlite:")
    if is_sqlite:
        ensure_data_dir(loaded)
    store = open_store(loaded.store_url, create=is_sqlite)
    try:
        yield store
    finally:
        store.close()


def workers_alive(store: Store) -> int:
    """How many workers have given a sign of life within their lease."""
    return store.workers.alive(time.time(), LEASE)


def warn_of_inactive(loaded: Loaded) -> None:
    """Says once which keys are set that this version doesn't act upon."""
    if keys := inactive_keys(loaded):
        err.print(f"[yellow]Set, but not acted upon in this version:[/] {', '.join(keys)}")


def confirm(question: str, *, yes: bool) -> None:
    """Goes on after a yes, or with ``--yes``. Misuse where there is nobody to ask; ``Abort`` after a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask at: use --yes to go on without a question.")
    click.confirm(question, abort=True, err=True)

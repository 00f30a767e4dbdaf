"""Opens the database for a command, and asks people before it does what can't be undone."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from mailer.cli.output import err
from mailer.config import Loaded, ensure_data_dir, inactive_keys
from mailer.errors import StoreError
from mailer.model.ledger import SendId, Status
from mailer.service.heart import LEASE
from mailer.service.ports import Store
from mailer.store import open_store


@contextmanager
def opened(loaded: Loaded, *, must_exist: bool = False) -> Iterator[Store]:
    """The store, for as long as a command needs it. Raises ``StoreError``.

    SQLite's file is made when it isn't there, and that is said; with ``must_exist`` it is an error, for commands that
    have nothing to do in a new database: there, somebody stands in the wrong folder.
    """
    missing = missing_file(loaded)
    if missing is not None:
        if must_exist:
            raise StoreError(
                f"there is no database yet in {missing.parent}",
                todo="'mailer subscribers import FILE.csv' makes one; 'mailer --config FILE …' looks elsewhere.",
            )
        ensure_data_dir(loaded)
    store = open_store(loaded.store_url, create=loaded.store_url.startswith("sqlite:"))
    if missing is not None:
        err.print(f"New database in {missing.parent}.", style="dim", markup=False)
    try:
        yield store
    finally:
        store.close()


def missing_file(loaded: Loaded) -> Path | None:
    """SQLite's file, when it isn't there."""
    path = Path(loaded.store_url.removeprefix("sqlite:///").partition("?")[0])
    return path if loaded.store_url.startswith("sqlite:") and not path.exists() else None


def workers_alive(store: Store) -> int:
    """How many workers have given a sign of life within their lease."""
    return store.workers.alive(time.time(), LEASE)


def figures(store: Store, send: SendId) -> Status:
    """A send in figures, now. Raises ``SendError``. Without a worker that lives it has no pace, whatever it had."""
    status = store.sends.status(send, time.time())
    return status if workers_alive(store) else replace(status, rate_per_second=0.0)


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

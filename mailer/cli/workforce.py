"""Somebody to do the work while a command waits for it.

Workers that run already do it. Where nothing is configured and nothing runs, the command starts the embedded Redis and
one worker of its own, for as long as it waits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.text import Text

from mailer.cli.edges import workers_alive
from mailer.cli.output import err
from mailer.cli.processes import Child, running
from mailer.cli.progress import AT_REST
from mailer.config import Loaded, ensure_data_dir
from mailer.model.ledger import SendId
from mailer.queue.embedded import EmbeddedRedis
from mailer.service.ports import Store

LOG_NAME = "worker.log"

EVERY = 2.0
"""Seconds between two looks whether a worker is alive."""


def config_arguments(loaded: Loaded) -> tuple[str, ...]:
    """What makes a child process read the same configuration."""
    return ("--config", str(loaded.path)) if loaded.path else ()


def worker_child(
    loaded: Loaded, name: str = "worker", log: Path | None = None, *, log_addresses: bool = False
) -> Child:
    """A worker process; its log goes to ``log``, else to our stderr."""
    worker = ("-m", "workers", *config_arguments(loaded), *log_arguments(log_addresses))
    return Child(name, ("-m", "mailer.cli.logged", str(log), *worker) if log else worker)


def log_arguments(log_addresses: bool) -> tuple[str, ...]:
    """What makes a child process show addresses in its log, where ours does."""
    return ("--log-addresses",) if log_addresses else ()


class Workforce:
    """Whoever works while a command waits. ``log`` is that of our own worker, None while there is none."""

    def __init__(self, loaded: Loaded, store: Store, send: SendId, stack: ExitStack, *, log_addresses: bool) -> None:
        self._loaded, self._store, self._send, self._stack = loaded, store, send, stack
        self._log_addresses = log_addresses
        self._looked_at = float("-inf")
        self.log: Path | None = None

    def see_to_it(self) -> None:
        """To be called while waiting: when nobody works, it starts a worker. Raises ``QueueError``."""
        if self.log or time.monotonic() - self._looked_at < EVERY:
            return
        first, self._looked_at = self._looked_at == float("-inf"), time.monotonic()
        if workers_alive(self._store):
            return
        if not self._loaded.settings.redis.url:
            self._start()
        elif first:
            err.print("[yellow]No worker is running.[/] Start one: [bold]mailer worker[/]. Waiting for it …")

    def _start(self) -> None:
        sends = self._store.sends.all()
        others = [f"{one.id} ({one.state})" for one in sends if one.state not in AT_REST and one.id != self._send]
        if others:
            err.print(f"The same worker sends what else is unfinished: {', '.join(others)}.", style="yellow")
        engine = EmbeddedRedis(ensure_data_dir(self._loaded))
        engine.start()
        self._stack.callback(engine.stop)
        self.log = log = self._loaded.data_dir / LOG_NAME
        err.print(Text(f"No worker is running: started one for as long as this takes. Its log: {log}", "dim"))
        child = worker_child(self._loaded, log=log, log_addresses=self._log_addresses)
        self._stack.enter_context(running([child]))


@contextmanager
def workforce(loaded: Loaded, store: Store, send: SendId, *, log_addresses: bool = False) -> Iterator[Workforce]:
    """Somebody who delivers ``send`` for as long as a block of code runs. Raises ``QueueError``."""
    with ExitStack() as stack:
        force = Workforce(loaded, store, send, stack, log_addresses=log_addresses)
        force.see_to_it()
        yield force

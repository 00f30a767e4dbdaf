"""Somebody to do the work while a command waits for it.

Workers that run already do it. Where nothing is configured and nothing runs, the command starts the embedded Redis and
one worker of its own, for as long as it waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.text import Text

from mailer.cli.edges import workers_alive
from mailer.cli.output import err
from mailer.cli.processes import Child, running
from mailer.config import Loaded, ensure_data_dir
from mailer.queue.embedded import EmbeddedRedis
from mailer.service.ports import Store

LOG_NAME = "worker.log"

EVERY = 2.0
"""Seconds between two looks whether a worker is alive."""


def config_arguments(loaded: Loaded) -> tuple[str, ...]:
    """What makes a child process read the same configuration."""
    return ("--config", str(loaded.path)) if loaded.path else ()


def worker_child(loaded: Loaded, name: str = "worker", log: Path | None = None) -> Child:
    """A worker process; its log goes to ``log``, else to our stderr."""
    worker = ("-m", "workers", *config_arguments(loaded))
    return Child(name, ("-m", "mailer.cli.logged", str(log), *worker) if log else worker)


@contextmanager
def workforce(loaded: Loaded, store: Store, workers: int = 1) -> Iterator[Callable[[], None]]:
    """Gives a function to be called while waiting: it sees to it that somebody works. Raises ``QueueError``."""
    with ExitStack() as stack:
        ours = False
        looked_at = float("-inf")

        def see_to_it() -> None:
            nonlocal ours, looked_at
            if ours or time.monotonic() - looked_at < EVERY:
                return
            first, looked_at = looked_at == float("-inf"), time.monotonic()
            if workers_alive(store):
                return
            if loaded.settings.redis.url:
                if first:
                    err.print("[yellow]No worker is running.[/] Start one: [bold]mailer worker[/]. Waiting for it …")
                return
            ours = True
            engine = EmbeddedRedis(ensure_data_dir(loaded))
            engine.start()
            stack.callback(engine.stop)
            log = loaded.data_dir / LOG_NAME
            err.print(Text(f"No worker is running: started one for as long as this takes. Its log: {log}", "dim"))
            stack.enter_context(running([worker_child(loaded, f"worker {n + 1}", log) for n in range(workers)]))

        see_to_it()
        yield see_to_it

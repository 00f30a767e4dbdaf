"""A worker process of ours with a delivery of the tests' own, so that jobs and signals are tested without SQL and SMTP.

What is unfinished is a folder of files (in place of the ledger), what happened a file of lines:

    python -m tests.servers.fake_worker FOLDER [REDIS_URL]            as ``mailer worker`` runs
    FAKE_FOLDER=… arq tests.servers.fake_worker.WorkerSettings

A send's id says how its delivery behaves: ``sleep-0.2`` takes so long, ``turns-3`` asks for so many more turns,
``dot-2`` takes so long and can't be hurried by ``drain``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from mailer.config import load_settings
from mailer.model.ledger import Batch, SendId
from mailer.queue.arq_queue import connect
from workers.logs import log_to_stderr
from workers.plain import settings_class
from workers.run import run_worker
from workers.runtime import Runtime

AT_ONCE = 4


class Folder:
    """The files that tests and worker share."""

    def __init__(self, path: Path) -> None:
        self.path, self.todo, self.log = path, path / "todo", path / "events"
        self.todo.mkdir(exist_ok=True)

    def add(self, batches: list[Batch]) -> None:
        """Makes these unfinished."""
        for batch in batches:
            (self.todo / f"{batch.send}:{batch.first}:{batch.last}").touch()

    def unfinished(self) -> list[Batch]:
        """What nobody has delivered."""
        names = [path.name.rsplit(":", 2) for path in sorted(self.todo.iterdir())]
        return [Batch(SendId(send), int(first), int(last), "0.0") for send, first, last in names]

    def say(self, *words: object) -> None:
        """Adds a line, with the process id before it."""
        with self.log.open("a") as file:
            file.write(" ".join(map(str, (os.getpid(), *words))) + "\n")

    def said(self, *words: object) -> list[int]:
        """The process ids of the lines that begin with these words."""
        wanted = [str(word) for word in words]
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [int(line.split()[0]) for line in lines if line.split()[1 : len(wanted) + 1] == wanted]


class FakeDelivery:
    """In place of ``Deliverer``."""

    def __init__(self, folder: Folder) -> None:
        self._folder, self._draining = folder, asyncio.Event()
        self._turns: dict[SendId, int] = {}
        self._dots: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._folder.say("started")

    async def deliver(self, send: SendId, first: int, last: int) -> bool:
        if self._draining.is_set():
            return False
        self._folder.say("begin", send, first)
        kind, _, value = send.partition("-")
        if kind == "turns":
            self._turns[send] = self._turns.get(send, 0) + 1
            if self._turns[send] <= int(value):
                return True
        if kind == "dot":
            dot = asyncio.create_task(asyncio.sleep(float(value)))
            self._dots.add(dot)
            await dot
        if kind == "sleep":
            try:
                await asyncio.wait_for(self._draining.wait(), float(value))
            except TimeoutError:
                pass
            else:
                return False
        (self._folder.todo / f"{send}:{first}:{last}").unlink(missing_ok=True)
        self._folder.say("end", send, first)
        return False

    def drain(self) -> None:
        self._draining.set()

    async def close(self) -> None:
        if self._dots:
            await asyncio.wait(self._dots)
        self._folder.say("closed")


def opener(folder: Folder):
    """``open_runtime`` with the fake."""

    async def open_fake(loaded: object, redis_url: str) -> Runtime:
        queue = connect(redis_url)

        async def reconcile() -> None:
            folder.say("reconcile")
            await queue.enqueue(folder.unfinished())

        async def confirm(number: int) -> None:
            folder.say("confirm", number)

        return Runtime(FakeDelivery(folder), reconcile, confirm, at_once=AT_ONCE, close_last=[queue.close])

    return open_fake


def load(folder: Path, redis_url: str):
    """Settings whose data directory is ``folder/data``."""
    environ = {"MAILER_STORE__DATA": str(folder / "data"), "MAILER_REDIS__URL": redis_url}
    return load_settings(None, environ if redis_url else {"MAILER_STORE__DATA": str(folder / "data")})


def __getattr__(name: str) -> object:
    if name != "WorkerSettings":
        raise AttributeError(name)
    path = Path(os.environ["FAKE_FOLDER"])
    return settings_class(load(path, os.environ.get("FAKE_REDIS", "")), opener(Folder(path)), AT_ONCE)


if __name__ == "__main__":
    log_to_stderr()
    where = Path(sys.argv[1])
    sys.exit(run_worker(load(where, sys.argv[2] if len(sys.argv) > 2 else ""), opener(Folder(where)), AT_ONCE))

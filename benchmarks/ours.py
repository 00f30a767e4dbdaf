"""Our own send, through the command line, as a publisher does it; measured from outside."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu import Process, Usage, cpu_seconds, name, peak_memory, tree
from benchmarks.letter import BASE_URL, SENDER
from benchmarks.measure import Sample
from benchmarks.postgres import Postgres
from benchmarks.progress import Progress
from benchmarks.sink import Sink
from mailer.model.ledger import Send, SendState
from mailer.service.heart import LEASE
from mailer.service.ports import Store
from mailer.store import migrate, open_store

LOOK_EVERY = 0.05
"""Seconds between two looks at the send's row while it is queued. On PostgreSQL, a look counts as part of our CPU."""

LOOK_LATER = 0.25
"""The same while it is delivered."""


@dataclass(frozen=True, slots=True)
class Setup:
    """A publication's folder. ``database`` is its name on ``server``; without a server it is a SQLite file."""

    home: Path
    processes: int
    server: Postgres | None = None
    database: str = ""

    @property
    def bytes_on_disk(self) -> int:
        """Of the database, with SQLite's journal."""
        if self.server is not None:
            return self.server.size(self.database)
        return sum(path.stat().st_size for path in self.home.glob("mailer.db*"))

    @property
    def store_url(self) -> str:
        return self.server.url(self.database) if self.server else f"sqlite:///{self.home / 'mailer.db'}"

    @property
    def worker_log(self) -> str:
        """Its last lines."""
        return (self.home / "worker.log").read_text()[-3000:]

    def mailer(self, *arguments: str) -> str:
        """Runs a command to its end; gives its stdout."""
        command = [sys.executable, "-m", "mailer", *arguments]
        return subprocess.run(command, cwd=self.home, stdout=subprocess.PIPE, text=True, check=True).stdout


@dataclass(frozen=True, slots=True)
class Sent:
    """One send from the call of ``mailer send`` until the ledger says it is finished. Seconds, bytes.

    The sample's ``seconds`` begin when the ledger is written, and so leave out the queueing; its ``cpu`` has the parts
    ``queue`` (the command itself), ``workers``, ``redis``, ``postgres``. ``queue_seconds`` is how long the command
    took. ``worker_memory`` and ``queue_memory`` are the greatest resident sets of a worker and of the command.
    ``database`` is what the send has added on disk.
    """

    send: str
    counts: dict[str, int]
    sample: Sample
    queue_seconds: float
    worker_memory: int
    queue_memory: int
    database: int


def set_up(setup: Setup, sink: Sink, connections: int) -> None:
    """Writes the configuration and makes the schema. ``connections``: of all workers together."""
    if setup.server is not None:
        setup.server.create(setup.database)
    (setup.home / "mailer.toml").write_text(
        f'[publication]\nname = "Bench"\nfrom = "{SENDER}"\nlanguage = "de"\nbase_url = "{BASE_URL}"\n'
        f'[store]\nurl = "{setup.store_url}"\n'
        f'[[relays]]\nhost = "127.0.0.1"\nport = {sink.port}\nsecurity = "none"\nconnections = {connections}\n'
    )
    migrate(setup.store_url)


def send_issue(setup: Setup, issue: Path, sink: Sink, size: int, progress: Progress) -> Sent:
    """Sends to everyone who is imported. ``size``: bytes of a message, by which progress is told.

    Raises ``RuntimeError`` when the send doesn't finish.
    """
    on_disk = setup.bytes_on_disk
    with closing(open_store(setup.store_url)) as store:
        audience = store.subscribers.count()
        with ready_workers(setup, store) as workers:
            before, received, sink_cpu = cpu_of(workers.pid, setup.server), sink.received, sink.cpu
            with Process(
                [sys.executable, "-m", "mailer", "send", str(issue.resolve()), "--yes"],
                setup.home,
                setup.home / "send.log",
            ) as command:
                watched = _Watched(command, workers, store)
                while (done := watched.look()) is None:
                    progress.at((sink.received - received) / size)
                    time.sleep(LOOK_EVERY if watched.usage is None else LOOK_LATER)
            after = cpu_of(workers.pid, setup.server)
            send, usage = done
            if send.finished_at is None:
                raise RuntimeError(f"{send.id} is {send.state}: {send.reason}\n{setup.worker_log}")
            received, sink_cpu = sink.received - received, sink.cpu - sink_cpu
            counts = {state.value: count for state, count in store.sends.status(send.id, time.time()).counts.items()}
            worker_memory = max(peak_memory(one) for one in tree(workers.pid) if not _is_redis(one))
    cpu = {"queue": usage.cpu} | {part: after[part] - before[part] for part in before}
    return Sent(
        send.id,
        counts,
        Sample(audience, send.finished_at - watched.queued_at, cpu, sink_cpu, received),
        usage.seconds,
        worker_memory,
        watched.queue_memory,
        setup.bytes_on_disk - on_disk,
    )


@dataclass(slots=True)
class _Watched:
    """A send that is being made and delivered. ``queued_at``: when its ledger was seen first, in Unix seconds."""

    command: Process
    workers: subprocess.Popen[bytes]
    store: Store
    usage: Usage | None = None
    queued_at: float = 0.0
    queue_memory: int = 0

    def look(self) -> tuple[Send, Usage] | None:
        """The send, and what the command took, once the command has ended and the send no longer runs."""
        if self.workers.poll() is not None:
            raise RuntimeError("the workers have ended")
        if self.usage is None:
            self.queue_memory = max(self.queue_memory, peak_memory(self.command.pid))
            self.usage = self.command.poll()
        for send in self.store.sends.all():
            self.queued_at = self.queued_at or time.time()
            if self.usage is not None and send.state is not SendState.RUNNING:
                return send, self.usage
        return None


@contextmanager
def ready_workers(setup: Setup, store: Store) -> Iterator[subprocess.Popen[bytes]]:
    """Worker processes that are ready; gives the process above them all. Raises ``RuntimeError``."""
    command = [sys.executable, "-m", "mailer", "worker", "--processes", str(setup.processes)]
    with (
        (setup.home / "worker.log").open("wb") as log,
        subprocess.Popen(command, cwd=setup.home, stdin=subprocess.DEVNULL, stderr=log) as process,
    ):
        try:
            until = time.monotonic() + 60
            while store.workers.alive(time.time(), LEASE) < setup.processes:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"the workers don't start:\n{setup.worker_log}")
                time.sleep(LOOK_EVERY)
            time.sleep(1)  # what a worker does once, after its start
            yield process
        finally:
            process.terminate()


def cpu_of(workers: int, server: Postgres | None) -> dict[str, float]:
    """Seconds of CPU so far, by part; of every process that has ended too."""
    redis, ours = 0.0, 0.0
    for pid in tree(workers):
        if _is_redis(pid):
            redis += cpu_seconds(pid)
        else:
            ours += cpu_seconds(pid)
    sums = {"workers": ours, "redis": redis}
    if server is not None:
        sums["postgres"] = sum(map(cpu_seconds, tree(server.pid)))
    return sums


def _is_redis(pid: int) -> bool:
    return name(pid).startswith(("redis", "valkey"))

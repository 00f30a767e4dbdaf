"""What a worker needs goes away in the middle of a send, and comes back: it waits, quietly, and goes on."""

from __future__ import annotations

import resource
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.faults.ground import Ground, all_at_once
from tests.faults.publication import Publication
from tests.servers.postgres import PostgresServer
from tests.servers.redis_process import RedisProcess

pytest_plugins = ("tests.servers.postgres", "tests.faults.fixtures")
pytestmark = pytest.mark.timeout(300)  # leases take their time, and a machine may be slow

SLOW = {"phase": "mail", "delay": 0.05}
PEOPLE = 200

WATCHED = 5.0
"""Seconds for which a waiting worker is watched."""

BUSY = 0.5
"""The share of one CPU that a waiting worker stays below, by far."""


Outage = Callable[[int], AbstractContextManager[None]]
"""Given the worker's pid."""


def survives(publication: Publication, outage: Outage, *, still: bool) -> None:
    """``still``: whether the worker has to stand still while it lasts, since no dot could be recorded."""
    name = publication.home.name
    send = publication.create(name)
    worker = publication.worker()
    publication.wait_accepted(send, 20)
    with outage(worker):
        time.sleep(1.5)
        before, used = len(publication.accepted(send)), publication.cpu(worker)
        time.sleep(WATCHED)
        busy = (publication.cpu(worker) - used) / WATCHED
        meanwhile = len(publication.accepted(send)) - before
    assert publication.nursery.status(worker) is None, f"{name}: the worker died\n{publication.logs()}"
    assert busy < BUSY or not still, f"{name}: the waiting worker used {busy:.0%} of a CPU\n{publication.logs()}"
    assert not (still and meanwhile), f"{name}: {meanwhile} dots couldn't be recorded\n{publication.logs()}"
    assert publication.finished(send, 60), f"{name}: {publication.states(send)}\n{publication.logs()}"
    assert publication.nursery.status(worker) is None, f"{name}: the worker died\n{publication.logs()}"
    assert publication.judge(send, 0).breaches == (), f"{name}\n{publication.logs()}"
    assert publication.states(send) == {"sent": PEOPLE}, name


@contextmanager
def locked(database: Path, worker: int) -> Iterator[None]:
    """Another process has SQLite's lock."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=20)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def full_disk(database: Path, worker: int) -> Iterator[None]:
    """No file of the worker can grow: what it writes to SQLite's WAL fails in the middle, as on a full disk.

    (A file system that is really full takes privileges to set up; SQLite's answer is the same but for its words.)
    """
    size = database.with_name("mailer.db-wal").stat().st_size
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    yield
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def no_redis(redis: RedisProcess, worker: int) -> Iterator[None]:
    """Redis is killed, and starts anew, empty."""
    redis.kill()
    yield
    redis.start()


@contextmanager
def crashed(postgres: PostgresServer, how: signal.Signals, worker: int) -> Iterator[None]:
    """PostgreSQL crashes, and recovers."""
    postgres.stop(how)
    yield
    postgres.start()


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    redis = RedisProcess()
    yield redis
    redis.destroy()


def test_outages(ground: Ground, redis: RedisProcess) -> None:
    """Redis gone, SQLite locked, its disk full: the worker lives, sends nothing that can't be recorded, doesn't spin,
    goes on by itself, and nobody is in doubt."""
    relay = ground.relay(SLOW)
    gone = ground.publication("redis", relay, PEOPLE, redis_url=redis.url)
    lock = ground.publication("locked", relay, PEOPLE)
    full = ground.publication("full", relay, PEOPLE)
    all_at_once(
        [
            partial(survives, gone, partial(no_redis, redis), still=False),
            partial(survives, lock, partial(locked, lock.home / "mailer.db"), still=True),
            partial(survives, full, partial(full_disk, full.home / "mailer.db"), still=True),
        ]
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGQUIT])
def test_postgresql_crashes(ground: Ground, postgres: PostgresServer, how: signal.Signals) -> None:
    """A PostgreSQL that crashes, its postmaster killed or its backends, and recovers: likewise."""
    publication = ground.publication("postgresql", ground.relay(SLOW), PEOPLE, store="postgresql")
    survives(publication, partial(crashed, postgres, how), still=True)


def test_relay_gone(ground: Ground) -> None:
    """A relay that is killed and comes back: the dots in its hands are in doubt, everybody else has it once."""
    relay = ground.relay({"phase": "dot", "delay": 0.05})
    publication = ground.publication("relay", relay, PEOPLE)
    send = publication.create("relay")
    worker = publication.worker()
    publication.wait_accepted(send, 20)
    relay.stop()
    time.sleep(1.5)
    used = publication.cpu(worker)
    time.sleep(WATCHED)
    busy = (publication.cpu(worker) - used) / WATCHED
    assert busy < BUSY, f"the waiting worker used {busy:.0%} of a CPU\n{publication.logs()}"
    relay.start()
    assert publication.finished(send, 90), f"{publication.states(send)}\n{publication.logs()}"
    verdict = publication.judge(send, publication.connections)
    assert verdict.breaches == (), publication.logs()

"""Worker processes, real ones with a real Redis, and a delivery of the tests' own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailer.model.ledger import Batch, SendId
from mailer.queue.arq_queue import connect
from mailer.queue.embedded import EmbeddedRedis
from tests.servers.fake_worker import AT_ONCE, Folder
from tests.servers.redis_command import command as redis_command
from tests.servers.waiting import gone, until
from workers.settings import JOB_LIMIT

pytest_plugins = ("tests.servers.redis",)

ROOT = Path(__file__).parents[2]
Start = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a worker: ``launch(redis_url, arq=False)``; its stderr goes to the file ``stderr``."""
    started: list[subprocess.Popen[bytes]] = []

    def start(redis_url: str = "", *, arq: bool = False) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.servers.fake_worker", str(tmp_path), redis_url]
        if arq:
            command = [sys.executable, "-m", "arq", "tests.servers.fake_worker.WorkerSettings"]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "FAKE_FOLDER": str(tmp_path), "FAKE_REDIS": redis_url}
        with (tmp_path / "stderr").open("ab") as stderr:
            started.append(subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=stderr))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture(params=["mailer", "arq"])
def start(
    request: pytest.FixtureRequest, launch: Callable[..., subprocess.Popen[bytes]], own_redis: EmbeddedRedis
) -> Start:
    """Starts a worker in either way, on this test's own Redis."""
    return lambda: launch(own_redis.url, arq=request.param == "arq")


def batches(send: str, count: int) -> list[Batch]:
    return [Batch(SendId(send), 1 + 10 * number, 10 + 10 * number, "0.0") for number in range(count)]


def log_of(folder: Folder) -> str:
    return (folder.path / "stderr").read_text()


def ready(folder: Folder, workers: int = 1) -> bool:
    return until(lambda: len(folder.said("started")) >= workers)


async def test_jobs_are_delivered(folder: Folder, start: Start) -> None:
    """What is unfinished when a worker starts is queued by its reconciler and delivered, each batch once."""
    folder.add(batches("sleep-0.05", 12))
    start()
    assert until(lambda: not folder.unfinished())
    assert len(folder.said("end")) == 12


async def test_confirmations(folder: Folder, start: Start, own_redis: EmbeddedRedis) -> None:
    """A mail that answers a sign-up is a job for any worker, also while it delivers."""
    folder.add(batches("sleep-2", 1))
    start()
    assert until(lambda: folder.said("begin"))
    queue = connect(own_redis.url)
    await queue.enqueue_confirmations([41, 42])
    await queue.close()
    assert until(lambda: len(folder.said("confirm")) == 2)
    assert until(lambda: not folder.unfinished())


async def test_more_turns(folder: Folder, start: Start, own_redis: EmbeddedRedis) -> None:
    """A batch with work left after its turn goes on at once, and nothing of it is kept in Redis when it is done."""
    folder.add(batches("turns-6", 1))
    start()
    assert until(lambda: not folder.unfinished())
    assert len(folder.said("begin", "turns-6")) == 7
    assert until(lambda: b"deliver:" not in redis_command(folder.path, "KEYS", "arq:*"))


async def test_flushall(folder: Folder, start: Start) -> None:
    """FLUSHALL in the middle of a send loses nothing: the reconciler finds what is unfinished."""
    folder.add(batches("sleep-0.3", 20))
    start()
    assert until(lambda: folder.said("end"))
    redis_command(folder.path, "FLUSHALL")
    assert until(lambda: not folder.unfinished())


async def test_redis_restarts(
    folder: Folder, launch: Callable[..., subprocess.Popen[bytes]], own_redis: EmbeddedRedis
) -> None:
    """A Redis that dies and comes back empty in the middle of a send costs neither work nor the worker."""
    folder.add(batches("sleep-0.3", 20))
    worker = launch(own_redis.url)
    assert until(lambda: folder.said("end"))
    own_redis.stop()
    own_redis.start()
    assert until(lambda: not folder.unfinished())
    assert worker.poll() is None
    assert folder.said("started") == [worker.pid]


async def test_redis_restarts_under_arq(
    folder: Folder, launch: Callable[..., subprocess.Popen[bytes]], own_redis: EmbeddedRedis
) -> None:
    """arq's own command may end with a lost Redis: then all in flight was awaited, and its next start goes on."""
    folder.add(batches("sleep-0.3", 20))
    worker = launch(own_redis.url, arq=True)
    assert until(lambda: folder.said("end"))
    own_redis.stop()
    own_redis.start()
    assert until(lambda: not folder.unfinished() or worker.poll() is not None)
    if worker.poll() is not None:
        assert folder.said("closed") == [worker.pid]
        launch(own_redis.url, arq=True)
    assert until(lambda: not folder.unfinished())


async def test_redis_away(
    folder: Folder, launch: Callable[..., subprocess.Popen[bytes]], own_redis: EmbeddedRedis
) -> None:
    """While Redis is away, deliveries under way go on and the log has one line; when it is back, so is the worker."""
    worker = launch(own_redis.url)
    assert ready(folder)
    folder.add(batches("dot-6", 1))
    assert until(lambda: folder.said("begin", "dot-6"))
    own_redis.stop()
    assert until(lambda: folder.said("end", "dot-6"))
    assert until(lambda: "Redis is away" in log_of(folder))
    own_redis.start()
    assert until(lambda: "Redis is back" in log_of(folder), 60)
    folder.add(batches("sleep-0.1", 3))
    assert until(lambda: not folder.unfinished())
    assert log_of(folder).count("Redis is away") == 1
    assert worker.poll() is None


async def test_sigterm_drains(folder: Folder, start: Start) -> None:
    """SIGTERM: a dot in flight is awaited, nothing new begins, exit status 0."""
    worker = start()
    assert ready(folder)
    folder.add([*batches("dot-1.5", 2), *batches("sleep-30", 8)])
    assert until(lambda: len(folder.said("begin")) >= AT_ONCE)
    begun = len(folder.said("begin"))
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert len(folder.said("end", "dot-1.5")) == len(folder.said("begin", "dot-1.5")) > 0
    assert not folder.said("end", "sleep-30")
    assert len(folder.said("begin")) == begun
    assert folder.said("closed") == [worker.pid]
    assert "Traceback" not in log_of(folder)


async def test_drained_jobs_are_others(folder: Folder, start: Start) -> None:
    """What a draining worker gives up another one takes at once, without waiting for arq's timeouts."""
    first = start()
    assert ready(folder)
    folder.add(batches("sleep-300", 2))
    assert until(lambda: len(folder.said("begin")) == 2)
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 0
    second = start()
    assert until(lambda: folder.said("begin").count(second.pid) == 2, seconds=JOB_LIMIT)


async def test_second_sigterm(folder: Folder, start: Start) -> None:
    """A second SIGTERM ends the process at once with status 1, whatever is in flight."""
    worker = start()
    assert ready(folder)
    folder.add(batches("dot-300", 1))
    assert until(lambda: folder.said("begin", "dot-300"))
    worker.send_signal(signal.SIGTERM)
    assert until(lambda: "draining" in log_of(folder))
    assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 1


async def test_sigterm_without_redis(folder: Folder, start: Start, own_redis: EmbeddedRedis) -> None:
    """A worker can leave in peace while Redis is away: the dot in flight is awaited, exit status 0."""
    worker = start()
    assert ready(folder)
    folder.add(batches("dot-3", 1))
    assert until(lambda: folder.said("begin", "dot-3"))
    own_redis.stop()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(40) == 0
    assert folder.said("end", "dot-3")
    assert folder.said("closed")


async def test_reconciler_isnt_starved(folder: Folder, start: Start) -> None:
    """While every place is taken by slow deliveries and more wait, the reconciler goes on."""
    folder.add(batches("sleep-30", 200))
    start()
    assert until(lambda: len(folder.said("begin")) == AT_ONCE)
    rounds = len(folder.said("reconcile"))
    assert until(lambda: len(folder.said("reconcile")) > rounds, 15)
    assert len(folder.said("begin")) == AT_ONCE


async def test_small_sends_first(folder: Folder, start: Start) -> None:
    """A test-send that comes while a long newsletter waits in the queue is the next to be delivered."""
    folder.add(batches("sleep-0.5", 120))
    start()
    assert until(lambda: folder.said("end"))
    folder.add(batches("turns-0", 1))
    assert until(lambda: folder.said("end", "turns-0"), 15)
    assert len(folder.unfinished()) > 0


async def test_embedded_is_shared_and_replaced(folder: Folder, launch: Callable[..., subprocess.Popen[bytes]]) -> None:
    """Without [redis] url, workers share one embedded Redis; when its owner is killed, another starts the next."""
    owner = launch()
    assert ready(folder)
    other = launch()
    assert ready(folder, 2)
    pid = int(re.findall(rb"process_id:(\d+)", redis_command(folder.path / "data", "INFO", "server"))[0])
    owner.kill()
    assert until(lambda: gone(pid))
    folder.add(batches("sleep-0.1", 3))
    assert until(lambda: not folder.unfinished(), 60)
    assert set(folder.said("end")) == {other.pid}
    other.send_signal(signal.SIGTERM)
    assert other.wait(60) == 0
    assert not EmbeddedRedis(folder.path / "data").running()

"""The two ways to start a worker, as they are: SQLite, embedded Redis and capture, nothing configured."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer.queue.embedded import EmbeddedRedis
from mailer.store import open_store
from tests.servers.waiting import until

ROOT = Path(__file__).parents[2]
WAYS = {"mailer": ["-m", "workers"], "arq": ["-m", "arq", "workers.main.WorkerSettings"]}


def environ(**more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAILER_")}
    return {**own, "PYTHONPATH": str(ROOT), **more}


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> list[str]:
    return [sys.executable, *WAYS[request.param]]


@pytest.fixture
def worker(way: list[str], tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker in ``tmp_path``, its stderr in a file."""
    with (tmp_path / "stderr").open("wb") as stderr:
        process = subprocess.Popen(way, cwd=tmp_path, env=environ(), stderr=stderr)
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()


def test_starts_and_leaves(worker: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """It is alive in SQL while it runs; SIGTERM ends it with status 0, and neither it nor its Redis is left."""
    log = tmp_path / "stderr"
    assert until(lambda: "worker ready" in log.read_text(), 60)
    store = open_store(f"sqlite:///{tmp_path / 'mailer-data' / 'mailer.db'}")
    assert store.workers.alive(time.time(), 20) == 1
    assert EmbeddedRedis(tmp_path / "mailer-data").running()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert store.workers.alive(time.time(), 20) == 0
    store.close()
    assert until(lambda: not EmbeddedRedis(tmp_path / "mailer-data").running())
    assert "Traceback" not in log.read_text()


def test_says_that_mail_is_captured(worker: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Without a relay, the log says loudly where mail goes."""
    assert until(lambda: "no relay is configured" in (tmp_path / "stderr").read_text(), 60)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"MAILER_REDIS__URL": "http://localhost"}, "MAILER_REDIS__URL"),
        ({"MAILER_REDIS__URL": "redis://127.0.0.1:1/x"}, "[redis] url"),
        ({"MAILER_STORE__URL": "mysql://localhost/x"}, "MAILER_STORE__URL"),
    ],
)
def test_wrong_settings(way: list[str], tmp_path: Path, more: dict[str, str], said: str) -> None:
    """Wrong settings end it with one line and status 1, without a traceback."""
    done = subprocess.run(
        way, cwd=tmp_path, env=environ(**more), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("mailer: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_import_reads_nothing(tmp_path: Path) -> None:
    """Importing workers.main reads no configuration and starts nothing."""
    done = subprocess.run(
        [sys.executable, "-c", "import workers.main, sys; print('arq' in sys.modules)"],
        cwd=tmp_path,
        env=environ(MAILER_REDIS__URL="http://wrong"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
    assert list(tmp_path.iterdir()) == []


def test_health_check(worker: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """``arq --check`` finds a live worker of this host, and none once it has left and its sign has faded."""
    check = [sys.executable, *WAYS["arq"], "--check"]
    assert until(lambda: "worker ready" in (tmp_path / "stderr").read_text(), 60)
    assert until(
        lambda: subprocess.run(check, cwd=tmp_path, env=environ(), capture_output=True, check=False).returncode == 0, 30
    )

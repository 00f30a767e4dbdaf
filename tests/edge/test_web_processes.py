"""``mailer web --processes N`` and ``--fd``: real processes on one socket."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailer.store import migrate
from tests.servers.waiting import until
from tests.servers.web import ask

pytest_plugins = ("tests.servers.redis",)

FORMS_AT_ONCE = 20
"""``mailer.cli.web.FORMS``."""


@pytest.fixture
def config(tmp_path: Path, redis_url: str) -> Path:
    """A publication's settings, with a store and a Redis."""
    migrate(f"sqlite:///{tmp_path / 'mailer-data' / 'mailer.db'}")
    found = tmp_path / "mailer.toml"
    found.write_text(f'[publication]\nname = "B"\nbase_url = "https://b.example"\n[redis]\nurl = "{redis_url}"\n')
    return found


@contextmanager
def web(
    config: Path,
    *arguments: str,
    descriptors: tuple[int, ...] = (),
    blocks: int | None = None,
    **variables: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """``mailer web`` until it is told to end; it ends within half a minute, whatever it was doing. Its log: web.log.
    Its temporary files: tmp. ``blocks``: of 512 bytes, that a file of its may have at
    most. ``variables``: of its environment."""
    command = [sys.executable, "-m", "mailer", "web", "--config", str(config), *arguments]
    if blocks is not None:
        command = ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", *command]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAILER_")}
    (config.parent / "tmp").mkdir(exist_ok=True)
    environment |= {"TMPDIR": str(config.parent / "tmp"), **variables}
    with (config.parent / "web.log").open("ab") as log:
        process = subprocess.Popen(command, stderr=log, env=environment, pass_fds=descriptors)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def pids(config: Path) -> Counter[int]:
    """Who has logged answered requests, and how many."""
    lines = (config.parent / "web.log").read_text().splitlines()
    return Counter(
        int(found[1]) for line in lines if (found := re.search(r"pid=(\d+) from=mailer.web.access_log", line))
    )


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(base: str) -> bool:
    try:
        return ask(f"{base}/healthz").status == 200
    except OSError:
        return False


def test_together(config: Path, port: int) -> None:
    """Several processes answer on one port; they refuse a client together after as many forms as one alone would, and
    any of them tells the requests of all, counted in files without holes. Killed, one starts again; told to end, all
    end and leave nothing."""
    base = f"http://127.0.0.1:{port}"
    with web(config, "--port", str(port), "--processes", "2") as process, ThreadPoolExecutor(8) as threads:
        assert until(lambda: process.poll() is not None or answers(base), 60)

        def post(number: int) -> int:
            return ask(f"{base}/preferences/{number}", "POST", b"").status

        told = 0
        while len(pids(config)) < 2:
            assert told < 2000, "one process answers everything"
            statuses = Counter(threads.map(lambda n: ask(f"{base}/preferences/{n}").status, range(50)))
            assert statuses == {404: 50}
            told += 50
        statuses = Counter(threads.map(post, range(FORMS_AT_ONCE + 10)))
        assert statuses[429] == 10
        figures = ask(f"{base}/metrics").text
        assert (
            f'mailer_web_requests_total{{method="GET",route="/preferences/{{token}}",status="404"}} {told}.0' in figures
        )
        assert 'route="/preferences/{token}",status="429"} 10.0' in figures
        counters = [one.stat() for one in (config.parent / "mailer-data").glob("web-*/counter_*.db")]
        assert [one.st_blocks * 512 >= one.st_size > 0 for one in counters] == [True, True]
        killed = max(pids(config))
        os.kill(killed, signal.SIGKILL)
        known = set(pids(config))

        def somebody_new() -> bool:
            ask(f"{base}/preferences/x")
            return not set(pids(config)) <= known

        assert until(somebody_new, 60)
    assert process.returncode == 0
    assert list((config.parent / "tmp").iterdir()) == list((config.parent / "mailer-data").glob("web-*")) == []


def test_descriptor(config: Path) -> None:
    """A socket that is open already is taken, as systemd passes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        with web(config, "--fd", str(number), descriptors=(number,)) as process:
            base = f"http://127.0.0.1:{listener.getsockname()[1]}"
            assert until(lambda: process.poll() is not None or answers(base), 60)
            assert process.poll() is None


def test_no_socket(config: Path, port: int) -> None:
    """What is no listening socket, and a port that is taken, is said in one line with the way out; status 1, no
    traceback."""
    with (config.parent / "plain").open("wb") as plain, socket.create_server(("127.0.0.1", port)):
        number = plain.fileno()
        with web(config, "--fd", str(number), descriptors=(number,)) as process:
            assert process.wait(60) == 1
        with web(config, "--port", str(port), "--processes", "2") as process:
            assert process.wait(60) == 1
    written = (config.parent / "web.log").read_text()
    assert f"--fd {number} is no listening socket" in written
    assert f"can't listen on 127.0.0.1 port {port}" in written
    assert "Take another --host or --port" in written
    assert "Traceback" not in written


def test_no_counters(config: Path, port: int, tmp_path: Path) -> None:
    """A folder without room for counters is told in a line with its variable's name; status 1, nothing stays there."""
    full = tmp_path / "full"
    full.mkdir()
    with web(config, "--port", str(port), blocks=100, PROMETHEUS_MULTIPROC_DIR=str(full)) as process:
        assert process.wait(60) == 1
    written = (config.parent / "web.log").read_text()
    assert f"PROMETHEUS_MULTIPROC_DIR: the web's requests can't be counted in '{full}'" in written
    assert "Traceback" not in written
    assert list(full.iterdir()) == []


def test_told_to_end_while_it_starts(config: Path, port: int) -> None:
    """SIGTERM in the moment in which the socket is open and nobody serves it yet isn't lost."""
    log = config.parent / "web.log"
    for _ in range(3):
        log.write_bytes(b"")
        with web(config, "--port", str(port)) as process:
            assert until(lambda: process.poll() is not None or b"listening on" in log.read_bytes(), 60, every=0.001)
            process.terminate()
            assert process.wait(30) == 0

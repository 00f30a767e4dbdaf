"""The embedded Redis, with the real server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer.errors import QueueError
from mailer.queue.binary import find_server, runs
from mailer.queue.embedded import EmbeddedRedis
from mailer.queue.socket_dir import LONGEST, SOCKET_NAME, ensure_private, socket_dir
from tests.servers.redis_command import command
from tests.servers.waiting import gone, until

STARTER = """
import sys, time
from pathlib import Path
from mailer.queue.embedded import EmbeddedRedis
engine = EmbeddedRedis(Path(sys.argv[1]))
engine.start()
print(engine.is_ours, flush=True)
sys.stdin.read()
engine.stop()
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    engine = EmbeddedRedis(tmp_path)
    yield engine
    engine.stop()


def server_pid(data_dir: Path) -> int:
    answer = command(data_dir, "INFO", "server").decode()
    return int(next(line for line in answer.splitlines() if line.startswith("process_id:")).partition(":")[2])


def starter(data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", STARTER, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_start_and_stop(engine: EmbeddedRedis, tmp_path: Path) -> None:
    """It answers once started, and after stop neither process nor socket is left."""
    assert not engine.running()
    engine.start()
    pid = server_pid(tmp_path)
    assert engine.running()
    assert engine.is_ours
    engine.stop()
    assert not engine.running()
    assert gone(pid)
    assert not (socket_dir(tmp_path) / SOCKET_NAME).exists()


def test_private(engine: EmbeddedRedis, tmp_path: Path) -> None:
    """Nobody else can reach it: the folder is 0700, the socket 0700, and no TCP port is open."""
    engine.start()
    folder = socket_dir(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / SOCKET_NAME).stat().st_mode & 0o777 == 0o700
    assert command(tmp_path, "CONFIG", "GET", "port").split()[-1] == b"0"


def test_keeps_nothing(engine: EmbeddedRedis, tmp_path: Path) -> None:
    """It writes no data to disk and refuses to evict."""
    engine.start()
    assert command(tmp_path, "CONFIG", "GET", "save").endswith(b"$0\r\n\r\n")
    assert command(tmp_path, "CONFIG", "GET", "appendonly").split()[-1] == b"no"
    assert command(tmp_path, "CONFIG", "GET", "maxmemory-policy").split()[-1] == b"noeviction"


def test_second_user(engine: EmbeddedRedis, tmp_path: Path) -> None:
    """Whoever starts it while it runs uses the one that runs, and doesn't stop it."""
    engine.start()
    pid = server_pid(tmp_path)
    other = EmbeddedRedis(tmp_path)
    other.start()
    assert not other.is_ours
    other.stop()
    assert server_pid(tmp_path) == pid


def test_two_starters_at_once(tmp_path: Path) -> None:
    """Of several processes that start it at once, exactly one does, and the others use it."""
    processes = [starter(tmp_path) for _ in range(4)]
    owners = [process.stdout.readline().strip() for process in processes if process.stdout]
    for process in sorted(processes, key=lambda process: owners[processes.index(process)]):
        process.communicate("", timeout=30)
    assert sorted(owners) == ["False", "False", "False", "True"]
    assert not EmbeddedRedis(tmp_path).running()


def test_stale_socket(engine: EmbeddedRedis, tmp_path: Path) -> None:
    """A socket that a killed server left behind is recognised and replaced."""
    engine.start()
    pid = server_pid(tmp_path)
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: gone(pid))
    assert (socket_dir(tmp_path) / SOCKET_NAME).exists()
    assert not engine.running()
    engine.start()
    assert engine.running()
    assert server_pid(tmp_path) != pid


def test_starter_killed(engine: EmbeddedRedis, tmp_path: Path) -> None:
    """After kill -9 of the process that started it, the server is gone (Linux) and the next starter has one."""
    process = starter(tmp_path)
    assert process.stdout
    assert process.stdout.readline().strip() == "True"
    pid = server_pid(tmp_path)
    process.kill()
    process.wait()
    if sys.platform == "linux":
        assert until(lambda: gone(pid))
    process.communicate()
    engine.start()
    assert engine.running()


def test_silent_server(engine: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes connections and says nothing is an error that names its process, and gets no second one."""
    monkeypatch.setattr("mailer.queue.embedded.ANSWER_LIMIT", 0.2)
    ensure_private(socket_dir(tmp_path))
    (socket_dir(tmp_path) / "redis.pid").write_text("4711\n")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(socket_dir(tmp_path) / SOCKET_NAME))
        silent.listen()
        assert not engine.running()
        with pytest.raises(QueueError, match="doesn't answer") as caught:
            engine.start()
    assert "4711" in caught.value.todo


def test_long_path(tmp_path: Path) -> None:
    """A data directory too deep for a socket's path gets a short folder of its own, and works."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    engine = EmbeddedRedis(deep)
    folder = socket_dir(deep)
    try:
        engine.start()
        assert engine.running()
        assert len(os.fsencode(folder / SOCKET_NAME)) <= LONGEST
        assert not folder.is_relative_to(tmp_path)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert socket_dir(tmp_path / ("d" * 60) / ("f" * 60)) != folder
    finally:
        engine.stop()
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def test_folder_of_somebody_else(tmp_path: Path) -> None:
    """A folder that is a link, laid there by somebody else, is refused."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "redis").symlink_to(tmp_path / "theirs")
    with pytest.raises(QueueError, match="belongs to somebody else"):
        ensure_private(tmp_path / "redis")


def test_odd_characters(tmp_path: Path) -> None:
    """Blanks, a percent sign and umlauts in the data directory's name survive the URL."""
    from mailer.queue.address import redis_settings

    folder = tmp_path / "größe 100%"
    folder.mkdir()
    engine = EmbeddedRedis(folder)
    assert redis_settings(engine.url).unix_socket_path == str(folder / "redis" / SOCKET_NAME)


def test_reason_of_a_failed_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ends at once is an error with its last words."""
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'no space for anything'\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr("mailer.queue.embedded.find_server", lambda: broken)
    with pytest.raises(QueueError, match="no space for anything") as caught:
        EmbeddedRedis(tmp_path).start()
    assert "redis.log" in caught.value.where


def test_bundled_server_is_found() -> None:
    """A server is found here that says it is one."""
    assert runs(find_server())


def test_server_on_path(tmp_path: Path) -> None:
    """Without a bundled one, valkey-server on PATH is taken; a file that can't run is passed over."""
    (tmp_path / "redis-server").write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / "redis-server").chmod(0o755)
    (tmp_path / "valkey-server").symlink_to(find_server())

    def which(name: str) -> str | None:
        return str(tmp_path / name) if (tmp_path / name).exists() else None

    assert find_server(bundled=[tmp_path / "missing"], which=which) == tmp_path / "valkey-server"


def test_no_server(tmp_path: Path) -> None:
    """With none anywhere, the error names this platform's one command to install it."""
    with pytest.raises(QueueError) as caught:
        find_server(bundled=[], which=lambda name: "/usr/bin/dnf" if name == "dnf" else None)
    assert "`sudo dnf install valkey`" in caught.value.todo

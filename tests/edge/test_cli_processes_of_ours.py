"""The command line as processes: what it starts, how it ends, and that nothing of it stays behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mailer.cli.demo import make_folder
from tests.servers.command_line import command

HEAVY = ("sqlalchemy", "pydantic", "redis", "arq", "jinja2", "babel", "rich", "asyncio", "starlette")

ISSUE = "---\ntitle: T\nsubject: S\npreheader: P\nauthor: A\ndate: 2026-05-11\nlanguage: en\n---\n\nHello.\n"


def mailer(*arguments: str, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "mailer", *arguments]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    environ = {key: value for key, value in os.environ.items() if not key.startswith("MAILER_")}
    environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    return subprocess.Popen(program, cwd=cwd, text=True, env=environ, **pipes)


def ask(*arguments: str, cwd: Path) -> Any:
    """What a command that gives JSON says; it runs in this process."""
    done = command(cwd, *arguments, "--json")
    assert done.status == 0, done.err
    return done.json


def living(directory: Path) -> list[str]:
    """Command lines of the processes that stand in a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").resolve().is_relative_to(directory.resolve()):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def until(holds: Callable[[], bool], what: str, patience: float = 40.0) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory with an issue and 40 subscribers; at the end no process stands in it."""
    (tmp_path / "issue.md").write_text(ISSUE)
    (tmp_path / "people.csv").write_text("email\n" + "".join(f"r{n}@reader.example\n" for n in range(40)))
    (tmp_path / "mailer.toml").write_text('[publication]\nfrom = "us@example.com"\n[delivery]\nretry_after = "1h"\n')
    ask("subscribers", "import", "people.csv", cwd=tmp_path)
    yield tmp_path
    until(lambda: not living(tmp_path), f"the end of {living(tmp_path)}")


@contextmanager
def up(place: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """``mailer up``, ready; drained at the end."""
    process = mailer("up", "--port", str(port), cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: process.poll() is not None or ready(port), "mailer up")
        assert process.poll() is None
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def captured(place: Path, send: str) -> list[str]:
    return sorted(path.name for path in (place / "mailer-data" / "captured" / send).glob("*.eml"))


def test_help_is_light(tmp_path: Path) -> None:
    """--help imports nothing that takes long to import."""
    code = f"import sys; from mailer.cli.main import run; run(['--help']); print({HEAVY!r} & sys.modules.keys())"
    code = code.replace(repr(HEAVY), f"set({HEAVY!r})")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True
    )
    assert done.stdout.splitlines()[-1] == "set()"


def test_closed_pipe(place: Path) -> None:
    """Whoever reads our output may leave at any time: no traceback."""
    ask("send", "issue.md", "--yes", cwd=place)
    process = mailer("recipients", "issue-1", "--json", cwd=place)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(30) == 1


def test_send_and_wait(place: Path) -> None:
    """With nothing configured and nothing running, --wait delivers to everyone once and leaves no process behind."""
    process = mailer("send", "issue.md", "--yes", "--wait", "--json", cwd=place)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    status = json.loads(out)
    assert (status["state"], status["counts"]["sent"]) == ("finished", 40)
    assert captured(place, "issue-1") == sorted(f"{n}.eml" for n in range(1, 41))


def test_interrupted_wait(place: Path) -> None:
    """Ctrl-C ends the command's own worker: it says how far it came and what goes on with it, and exits 130."""
    (place / "people.csv").write_text("email\n" + "".join(f"x{n}@full.example\n" for n in range(5)))
    ask("subscribers", "import", "people.csv", cwd=place)
    process = mailer("send", "issue.md", "--yes", "--wait", cwd=place)
    until(lambda: len(captured(place, "issue-1")) == 40, "40 messages")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "\nStopped after 40 of 45; nobody is lost. Go on with: mailer up\n" in err
    assert "No worker is running, so" not in err
    assert "Traceback" not in err
    status = ask("status", "issue-1", cwd=place)
    assert (status["state"], status["counts"]["sent"], status["counts"]["deferred"]) == ("running", 40, 5)


def test_interrupted_wait_for_other_workers(place: Path, port: int) -> None:
    """Ctrl-C ends only the watching where others work: it says that the send goes on."""
    with up(place, port):
        process = mailer("send", "issue.md", "--yes", "--wait", "--at", "2199-01-01 06:00", cwd=place)
        until(lambda: any(one["send"] == "issue-1" for one in ask("status", cwd=place)), "the send")
        time.sleep(1.0)  # it watches now
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "You stopped watching; issue-1 goes on: it is scheduled.\n" in err


def test_waiting_names_other_sends(place: Path) -> None:
    """A worker that a command starts for itself works on everything, and the command says on what else."""
    ask("send", "issue.md", "--yes", cwd=place)
    process = mailer("test-send", "issue.md", "--to", "me@example.com", cwd=place)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "The same worker sends what else is unfinished: issue-1 (running).\n" in err


def test_wait_for_a_cancelled_send(place: Path) -> None:
    """--wait exits 1 when the send is cancelled meanwhile."""
    process = mailer("send", "issue.md", "--yes", "--wait", "--at", "2199-01-01 06:00", "--json", cwd=place)
    until(lambda: any(one["send"] == "issue-1" for one in ask("status", cwd=place)), "the send")
    ask("cancel", "issue-1", "--yes", cwd=place)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert json.loads(out)["state"] == "cancelled"


def test_test_send(place: Path) -> None:
    """A test-send says what became of each message, and fails when one failed."""
    process = mailer("test-send", "issue.md", "--to", "me@example.com", "--to", "x@refused.example", cwd=place)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "me@example.com  sent" in out
    assert "x@refused.example  failed  550 5.1.1" in out
    assert "\nOnly 1 of 2 messages went out: 1 sent, 1 failed.\n" in err
    message = (place / "mailer-data/captured/issue-test-1/1.eml").read_text()
    assert "Subject: [Test] S\n" in message
    assert ask("status", cwd=place) == []


def test_test_send_that_is_deferred(place: Path) -> None:
    """A test-send of which nothing went out has failed, and what is deferred needs a worker."""
    process = mailer(
        "test-send", "issue.md", "--to", "x@full.example", cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "\nx@full.example  deferred  452" in out
    assert "\nNothing went out: 0 sent, 1 deferred.\n" in out
    assert "Start one: mailer up\n" in out


def test_up(place: Path, port: int) -> None:
    """mailer up delivers what others queue, exits 0 on SIGTERM, and nothing stays behind."""
    with up(place, port) as process:
        status = ask("send", "issue.md", "--yes", "--wait", cwd=place)
        assert status["state"] == "finished"
        process.terminate()
        assert process.wait(30) == 0
    assert len(captured(place, "issue-1")) == 40


def test_up_killed_and_started_again(place: Path, port: int) -> None:
    """A mailer up that was killed takes its children with it, and the next one goes on with what was under way."""
    with up(place, port) as process:
        ask("send", "issue.md", "--yes", "--at", "2199-01-01 06:00", cwd=place)
        process.kill()
        process.wait(30)
    until(lambda: not living(place), "the children's end")
    ask("pause", "issue-1", cwd=place)
    ask("cancel", "issue-1", "--yes", cwd=place)
    (place / "other.md").write_text(ISSUE)
    ask("send", "other.md", "--yes", cwd=place)
    with up(place, port):
        until(lambda: ask("status", "other-1", cwd=place)["state"] == "finished", "the send")
    assert len(captured(place, "other-1")) == 40


def test_worker_drains(place: Path) -> None:
    """Two worker processes deliver, and leave with status 0 when told to."""
    process = mailer("worker", "--processes", "2", cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ask("send", "issue.md", "--yes", cwd=place)
        until(lambda: ask("status", "issue-1", cwd=place)["state"] == "finished", "the send")
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert len(captured(place, "issue-1")) == 40


def test_port_in_use(place: Path) -> None:
    """A port that is taken is an error in one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = mailer("web", "--port", str(taken.getsockname()[1]), cwd=place)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Take another --host or --port." in err
    assert "Traceback" not in err


def test_demo(tmp_path: Path) -> None:
    """The demo delivers to all but the refused and the full, and says where to look."""
    process = mailer("demo", cwd=tmp_path)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    path = next(line.split()[-1] for line in out.splitlines() if line.startswith("A message:"))
    assert "Subject:" in (tmp_path / path).read_text()
    counts = ask("status", "sample-1", "--config", "mailer-demo/mailer.toml", cwd=tmp_path)["counts"]
    assert (counts["sent"], counts["failed"], counts["deferred"]) == (486, 9, 5)
    until(lambda: not living(tmp_path), "the end of the demo")


def test_demo_replaces_an_earlier_one(tmp_path: Path) -> None:
    """The demo makes its folder anew in place of an earlier demo's."""
    make_folder(tmp_path / "demo")
    (tmp_path / "demo" / "mailer-data").mkdir()
    assert make_folder(tmp_path / "demo").data_dir == tmp_path / "demo" / "mailer-data"
    assert not (tmp_path / "demo" / "mailer-data").exists()


def test_demo_spares_other_folders(tmp_path: Path) -> None:
    """The demo doesn't touch a folder that isn't its own."""
    (tmp_path / "mailer-demo").mkdir()
    (tmp_path / "mailer-demo" / "thesis.txt").write_text("x")
    process = mailer("demo", cwd=tmp_path)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "isn't empty" in err
    assert (tmp_path / "mailer-demo" / "thesis.txt").read_text() == "x"

"""The supervisor, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailer.cli.processes import Child, Supervisor, running
from tests.servers.waiting import gone, until

ROOT = Path(__file__).parents[2]

CHILD = """
import os, signal, sys, time
from pathlib import Path
events, name, manner = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def say(what):
    with events.open("a") as file:
        file.write(f"{name} {what} {os.getpid()}\\n")

def leave(number, frame):
    say(signal.Signals(number).name)
    if manner != "stubborn":
        sys.exit(0)

signal.signal(signal.SIGTERM, leave)
if manner == "worker":
    signal.signal(signal.SIGHUP, leave)
say("began")
if manner == "misused":
    sys.exit(2)
if manner == "fails":
    sys.exit(1)
while True:
    time.sleep(0.05)
"""

PARENT = """
import sys
from mailer.cli.processes import Child, supervise
child, events, *children = sys.argv[1:]
manners = [text.split("=") for text in children]
sys.exit(supervise([Child(name, (child, events, name, manner)) for name, manner in manners]))
"""


class Scene:
    """A folder with the child's program and what children said."""

    def __init__(self, folder: Path) -> None:
        self.script, self.events = folder / "child.py", folder / "events"
        self.script.write_text(CHILD)

    def said(self, what: str) -> list[int]:
        """The process ids of the lines that say so."""
        lines = self.events.read_text().splitlines() if self.events.exists() else []
        return [int(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == what]

    def child(self, name: str, manner: str) -> Child:
        return Child(name, (str(self.script), str(self.events), name, manner))

    def all_gone(self) -> bool:
        lines = self.events.read_text().splitlines() if self.events.exists() else []
        return all(gone(int(line.rpartition(" ")[2])) for line in lines)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    assert until(scene.all_gone, 10), "children were left behind"


@pytest.fixture
def supervised(scene: Scene) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a supervisor process: ``supervised("a=worker", "b=stubborn")``."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*children: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", PARENT, str(scene.script), str(scene.events), *children]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        started.append(subprocess.Popen(command, env=environ, start_new_session=True))
        names = [child.partition("=")[0] for child in children]
        assert until(lambda: all(scene.said(f"{name} began") for name in names))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_first_signal(scene: Scene, supervised: Callable[..., subprocess.Popen[bytes]], number: signal.Signals) -> None:
    """The first signal is passed on to every child as one SIGTERM; when all have left, the status is 0."""
    parent = supervised("a=worker", "b=worker")
    os.killpg(parent.pid, number)
    assert parent.wait(60) == 0
    assert len(scene.said("a SIGTERM")) == len(scene.said("b SIGTERM")) == 1
    assert not scene.said("a SIGHUP")


def test_second_signal(scene: Scene, supervised: Callable[..., subprocess.Popen[bytes]]) -> None:
    """A second signal kills children that don't leave; the status says that it didn't go well."""
    parent = supervised("a=stubborn", "b=worker")
    parent.send_signal(signal.SIGTERM)
    assert until(lambda: scene.said("a SIGTERM"))
    time.sleep(0.3)
    assert parent.poll() is None
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(60) == 1


def test_killed_supervisor(scene: Scene, supervised: Callable[..., subprocess.Popen[bytes]]) -> None:
    """kill -9 of the supervisor leaves no child behind: each drains by itself."""
    parent = supervised("a=worker", "b=other")
    parent.kill()
    parent.wait()
    assert until(scene.all_gone)
    assert scene.said("a SIGHUP")
    assert scene.said("b SIGTERM")


def test_child_dies(scene: Scene, supervised: Callable[..., subprocess.Popen[bytes]]) -> None:
    """A child that is killed is started again; the others are left alone."""
    parent = supervised("a=worker", "b=worker")
    os.kill(scene.said("a began")[0], signal.SIGKILL)
    assert until(lambda: len(scene.said("a began")) == 2)
    assert len(scene.said("b began")) == 1
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(60) == 0


def test_failing_child(scene: Scene, supervised: Callable[..., subprocess.Popen[bytes]]) -> None:
    """A child that fails again and again is started with growing pauses, not in a loop."""
    parent = supervised("a=fails", "b=worker")
    assert until(lambda: len(scene.said("a began")) >= 3)
    time.sleep(1)
    assert len(scene.said("a began")) <= 4
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(60) == 0


def test_misused_child(scene: Scene, supervised: Callable[..., subprocess.Popen[bytes]]) -> None:
    """A child that ends with status 2 can't be helped by starting it again: all leave, with that status."""
    parent = supervised("a=worker", "b=misused")
    assert parent.wait(60) == 2
    assert len(scene.said("b began")) == 1
    assert scene.said("a SIGTERM")


def test_while_a_block_runs(scene: Scene) -> None:
    """``running`` keeps children for the time of a block, then lets them drain."""
    with running([scene.child("a", "worker")]) as supervisor:
        assert until(lambda: scene.said("a began"))
    assert scene.said("a SIGTERM")
    assert supervisor.status == 0


def test_block_that_fails(scene: Scene) -> None:
    """Children leave also when the block raises."""

    def block() -> None:
        with running([scene.child("a", "worker")]):
            assert until(lambda: scene.said("a began"))
            raise LookupError

    with pytest.raises(LookupError):
        block()
    assert scene.said("a SIGTERM")


def test_module_as_child(tmp_path: Path) -> None:
    """A child may be a module: it runs as under ``python -m``, with its own arguments."""
    given, made = tmp_path / "in.json", tmp_path / "out.json"
    given.write_text('{"a":1}')
    with running([Child("tool", ("-m", "json.tool", "--compact", str(given), str(made)))]):
        assert until(lambda: made.exists() and made.read_text().strip() == '{"a":1}')


def test_program_that_is_missing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A child that can't even be started is tried again, and the supervisor can still be told to leave."""
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    supervisor = Supervisor([Child("a", ("x.py",))])
    supervisor.start()
    assert "a can't be started" in caplog.text
    supervisor.drain()
    assert supervisor.wait(60)

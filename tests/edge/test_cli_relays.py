"""What a command that sends says about a relay that can't be used, tried against a judging SMTP server."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailer.cli.main import run
from tests.servers.smtp import AUTHORITY, SmtpServer

ISSUE = "---\ntitle: T\nsubject: S\npreheader: P\nauthor: A\ndate: 2026-05-11\nlanguage: en\n---\n\nHello.\n"


@contextmanager
def serving(server: SmtpServer) -> Iterator[int]:
    """The server in a thread of its own; gives its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with an issue and a subscriber."""
    monkeypatch.chdir(tmp_path)
    Path("issue.md").write_text(ISSUE)
    Path("people.csv").write_text("email\nann@example.com\n")
    assert run(["subscribers", "import", "people.csv"]) == 0
    return tmp_path


def configure(port: int, **keys: str) -> None:
    lines = [f'host = "localhost"\nport = {port}', *(f'{key} = "{value}"' for key, value in keys.items())]
    Path("mailer.toml").write_text("[[relays]]\n" + "\n".join(lines) + "\n")


WRONG_RELAYS = {
    "no STARTTLS": (SmtpServer(), {}, "offers no STARTTLS"),
    "refused login": (
        SmtpServer(login=("user", "right")),
        {"security": "none", "username": "user", "password": "wrong"},
        "535",
    ),
    "unknown authority": (SmtpServer(starttls=True), {}, "certificate"),
    "another's certificate": (
        SmtpServer(starttls=True, certificate="other.example"),
        {"ca_file": str(AUTHORITY)},
        "certificate",
    ),
}


@pytest.mark.parametrize(("server", "keys", "said"), WRONG_RELAYS.values(), ids=WRONG_RELAYS)
def test_unusable_relay(
    folder: Path, capsys: pytest.CaptureFixture[str], server: SmtpServer, keys: dict[str, str], said: str
) -> None:
    """A relay that can't be used is one line with address, reason and what to do, before anything is written."""
    with serving(server) as port:
        configure(port, **keys)
        assert run(["send", "issue.md", "--yes"]) == 1
    err = capsys.readouterr().err
    assert f"localhost:{port}" in err
    assert said in err
    assert "Traceback" not in err
    assert "wrong" not in err.replace("wrong password", "")
    assert run(["status", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_relay_that_is_down(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A relay that is down stops an immediate send; a dry run and a scheduled send only warn."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    configure(port, security="none")
    assert run(["send", "issue.md", "--yes"]) == 1
    assert f"localhost:{port}" in capsys.readouterr().err
    assert run(["send", "issue.md", "--dry-run"]) == 0
    err = capsys.readouterr().err
    assert "Warning: " in err
    assert f"Through  localhost:{port} (unencrypted)\n" in err
    assert run(["send", "issue.md", "--yes", "--at", "2199-01-01 06:00"]) == 0
    assert "Warning: " in capsys.readouterr().err


def test_relay_that_works(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A relay that takes the login isn't warned about, and is named in what is asked."""
    with serving(SmtpServer(starttls=True, login=("user", "right"))) as port:
        configure(port, username="user", password="right", ca_file=str(AUTHORITY))
        assert run(["send", "issue.md", "--dry-run"]) == 0
    err = capsys.readouterr().err
    assert f"Through  localhost:{port} (STARTTLS)\n" in err
    assert "Warning" not in err
    assert "captured" not in err

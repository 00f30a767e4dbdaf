"""A real Postfix for tests: one instance of its own a session, on a port of this machine, with one Maildir for all.

Use it with ``pytest_plugins = ("tests.servers.postfix",)`` in a test module. It takes mail for any address at
``example``, ``example.com``, ``example.net``, ``example.org`` and whatever ends in ``.example``, but for these names:

=============  =======================================================================
``unlisted…``  no such mailbox: Postfix's own 550 5.1.1
``gone…``      550 5.1.1 from a table
``full…``      450 4.2.0 from a table
``closing…``   421 4.3.2 from a table, and Postfix closes the session
``spam…``      554 5.7.1 after the final dot
=============  =======================================================================

Nothing in it asks DNS or talks to anybody, and no process reads ``/etc/postfix/main.cf`` or ``master.cf``.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.postfix_settings import MAIN, MASTER_CF, QUEUES, TABLES
from tests.servers.waiting import until

MASTER = Path("/usr/lib/postfix/sbin/master")
"""Run directly: the ``postfix`` command would also set up what a machine's own instance has in ``/etc``."""

LIFE = 1800
"""Seconds after which it ends by itself, should whoever started it be gone."""

_ADDED = re.compile(rb"(?:(?:Return-Path|X-Original-To|Delivered-To|Received):.*\n(?:[ \t].*\n)*)+")
_DELIVERED_TO = re.compile(r"^Delivered-To: (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message in the mailbox. ``added`` is what Postfix wrote in front of it, ``content`` the rest, with CRLF."""

    added: str
    content: bytes

    @property
    def recipient(self) -> str:
        """Whom it was delivered to."""
        found = _DELIVERED_TO.search(self.added)
        assert found, self.added
        return found[1]


class PostfixServer:
    """One instance. ``smtputf8``: whether it offers that extension (RFC 6531). ``main`` and ``master``: more lines of
    main.cf and master.cf, in which ``{folder}`` is its folder."""

    def __init__(self, *, smtputf8: bool = True, main: str = "", master: str = "") -> None:
        if not MASTER.exists():
            pytest.fail("Postfix isn't installed, and these tests need a real one: apt-get install postfix")
        if os.getuid() != 0:
            pytest.fail("Postfix can only be started by root, and these tests need a real one")
        self.folder = Path(tempfile.mkdtemp(prefix="postfix-", dir="/tmp"))
        self.inbox = self.folder / "inbox"
        self.port = 0
        self._smtputf8 = smtputf8
        self._main, self._master = MAIN + main, MASTER_CF + master
        self._process: subprocess.Popen[bytes] | None = None
        self._make_folders()

    def _make_folders(self) -> None:
        config, queue = self.folder / "config", self.folder / "queue"
        self.folder.chmod(0o755)  # each of its processes is another user
        for directory in (config, queue, queue / "pid"):
            directory.mkdir()
        for name in QUEUES.split():
            (queue / name).mkdir(0o700)
            shutil.chown(queue / name, "postfix")
        (self.folder / "data").mkdir(0o700)
        shutil.chown(self.folder / "data", "postfix")
        for directory in (queue / "maildrop", queue / "public"):
            directory.mkdir()
            directory.chmod(0o730 if directory.name == "maildrop" else 0o710)
            shutil.chown(directory, "postfix", "postdrop")
        for name in ("", "cur", "new", "tmp"):
            (self.inbox / name).mkdir(0o700)
            shutil.chown(self.inbox / name, "nobody", _group_of_nobody())
        for name, table in TABLES.items():
            (config / name).write_text(table + "\n")

    def start(self) -> None:
        """Returns when it takes connections."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        nobody = pwd.getpwnam("nobody")
        config = self.folder / "config"
        smtputf8 = "yes" if self._smtputf8 else "no"
        main = self._main.format(folder=self.folder, smtputf8=smtputf8, uid=nobody.pw_uid, gid=nobody.pw_gid)
        master = self._master.format(folder=self.folder, port=self.port)
        for name, text in (("main.cf", main), ("master.cf", master)):
            (config / name).write_text(text)
            os.utime(config / name, (0, 0))  # it waits for seconds after a change: somebody may be in the middle of one
        with open(self.folder / "stderr", "ab") as stderr:
            self._process = subprocess.Popen(
                [MASTER, "-c", config, "-d", "-e", str(LIFE)],
                cwd=self.folder,
                env={"PATH": os.environ.get("PATH", ""), "MAIL_CONFIG": str(config), "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
            )
        if not until(lambda: self._process is None or self._process.poll() is not None or self._answers()):
            pytest.fail(f"Postfix takes no connections:\n{self.log()}")
        if self._process.poll() is not None:
            pytest.fail(f"Postfix didn't start:\n{self.log()}")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as client:
                return client.recv(100).startswith(b"220")
        except OSError:
            return False

    def stop(self) -> None:
        """Ends it and all its processes; returns when they are gone."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            if not until(lambda: not _group_lives(process.pid), 5):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)
        assert until(lambda: not _group_lives(process.pid)), "Postfix left processes behind"

    def destroy(self) -> None:
        """Stops it and removes its files."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What it has written, for whoever wants to know why."""
        files = (self.folder / "stderr", self.folder / "log")
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    def arrived(self) -> list[Arrived]:
        """What lies in the mailbox, in the order of arrival."""
        found = []
        for path in sorted((self.inbox / "new").iterdir(), key=lambda path: path.stat().st_mtime_ns):
            raw = path.read_bytes()
            added = _ADDED.match(raw)
            assert added, raw[:500]
            found.append(Arrived(added[0].decode(), raw[added.end() :].replace(b"\n", b"\r\n")))
        return found

    def wait_arrived(self, count: int, seconds: float = 30.0) -> list[Arrived]:
        """The same, once there are so many and no more are on their way."""
        assert until(lambda: len(os.listdir(self.inbox / "new")) >= count and self.idle(), seconds), self.log()
        return self.arrived()

    def idle(self) -> bool:
        """Whether it holds no message that it hasn't filed."""
        queues = (self.folder / "queue" / name for name in ("incoming", "active", "deferred"))
        return not any(files for queue in queues for _, _, files in os.walk(queue))

    def clear(self) -> None:
        """Empties mailbox and log, once it is idle."""
        assert until(self.idle), self.log()
        for path in (self.inbox / "new").iterdir():
            path.unlink()
        (self.folder / "log").write_bytes(b"")


def _group_of_nobody() -> str:
    return grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name


def _group_lives(group: int) -> bool:
    """Whether a process of the group runs; one that has ended, and that nobody has buried, doesn't."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:  # it ended meanwhile
                continue
            if its_group == str(group) and state != "Z":
                return True
    return False


@pytest.fixture(scope="session")
def _postfix_server() -> Iterator[PostfixServer]:
    server = PostfixServer()
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture
def postfix(_postfix_server: PostfixServer) -> PostfixServer:
    """The session's Postfix, with an empty mailbox."""
    _postfix_server.clear()
    return _postfix_server


@pytest.fixture
def ascii_postfix() -> Iterator[PostfixServer]:
    """A Postfix of this test's own that offers no SMTPUTF8."""
    server = PostfixServer(smtputf8=False)
    try:
        server.start()
        yield server
    finally:
        server.destroy()

"""A real Dovecot for tests: an IMAP server of its own a session, on two ports of this machine.

Use it with ``pytest_plugins = ("tests.servers.dovecot",)``. Any name has a mailbox, with the password ``PASSWORD``. On
``port`` it speaks IMAP with STARTTLS, on ``tls_port`` over TLS, with the tests' certificate for ``localhost``.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from imapclient import IMAPClient

from tests.servers.waiting import until

PROGRAM = Path("/usr/sbin/dovecot")
PASSWORD = "an-imap-password"
CERTIFICATES = Path(__file__).parent / "certificates"

CONFIG = """\
base_dir = {folder}/run
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{certificates}/localhost.pem
ssl_key = <{certificates}/localhost.pem
disable_plaintext_auth = no
auth_failure_delay = 0
default_internal_user = dovecot
default_login_user = dovenull
first_valid_uid = 1
mail_location = maildir:~/Maildir
{more}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={folder}/home/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
  }}
}}
"""


class DovecotServer:
    """One instance. ``more``: lines of its configuration."""

    def __init__(self, more: str = "") -> None:
        if not PROGRAM.exists():
            pytest.fail("Dovecot isn't installed, and these tests need a real one: apt-get install dovecot-imapd")
        if os.getuid() != 0:
            pytest.fail("Dovecot can only be started by root here, and these tests need a real one")
        self.folder = Path(tempfile.mkdtemp(prefix="dovecot-", dir="/tmp"))
        self.folder.chmod(0o755)
        (self.folder / "home").mkdir()
        shutil.chown(self.folder / "home", "nobody", "nogroup")
        self.port, self.tls_port = _free_port(), _free_port()
        config = self.folder / "dovecot.conf"
        config.write_text(
            CONFIG.format(
                folder=self.folder,
                certificates=CERTIFICATES,
                password=PASSWORD,
                port=self.port,
                tls_port=self.tls_port,
                more=more,
            )
        )
        self._process = subprocess.Popen(
            [PROGRAM, "-F", "-c", config], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        if not until(self._answers, 20):
            self.destroy()
            pytest.fail("Dovecot takes no connections")

    @contextmanager
    def client(self, user: str) -> Iterator[IMAPClient]:
        """A session of the mailbox's owner."""
        client = IMAPClient("127.0.0.1", self.port, ssl=False, timeout=20)
        client.login(user, PASSWORD)
        try:
            yield client
        finally:
            client.logout()

    def put(self, user: str, *mails: bytes, folder: str = "INBOX") -> None:
        """Puts mails into a mailbox."""
        with self.client(user) as client:
            for mail in mails:
                client.append(folder, mail)

    def count(self, user: str, folder: str = "INBOX", *, marked: bool = False) -> int:
        """How many mails a folder has that aren't marked as deleted, or that are; 0 where there is no folder."""
        with self.client(user) as client:
            if not client.folder_exists(folder):
                return 0
            client.select_folder(folder, readonly=True)
            return len(client.search(["DELETED" if marked else "UNDELETED"]))

    def destroy(self) -> None:
        """Ends it, with all its processes."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                return connection.recv(10).startswith(b"* OK")
        except OSError:
            return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def dovecot() -> Iterator[DovecotServer]:
    server = DovecotServer()
    yield server
    server.destroy()


@pytest.fixture(scope="session")
def plain_dovecot() -> Iterator[DovecotServer]:
    """One that offers neither MOVE nor UIDPLUS."""
    server = DovecotServer("imap_capability = IMAP4rev1 LITERAL+")
    yield server
    server.destroy()

"""A Postfix that pipes bounces to ``mailer bounces ingest``, with the lines that docs/bounces.md gives.

pipe(8) runs nothing as root, and nobody else may be able to read the tests' interpreter. So what it runs is a line of
shell that hands the mail on, through a FIFO, to a thread of the tests; the command runs there, and its exit status goes
back the same way.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

from tests.servers.postfix import PostfixServer

DOCS = Path(__file__).resolve().parents[2] / "docs" / "bounces.md"

# With less than three seconds qmgr(8) may come upon a mail while it is still being put off, and lose sight of it.
MAIN = """
transport_maps = regexp:{folder}/config/transport
queue_run_delay = 1s
minimal_backoff_time = 3s
maximal_backoff_time = 3s
"""

TRANSPORT = r"/^bounces(\+.*)?@example\.com$/ mailer-bounces:"

SCRIPT = "cat >{folder}/mail; read status <{folder}/status; exit $status\n"


class PostfixPipe:
    """``home``: the folder in which the command runs. ``runs``: those that have ended."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.runs: list[subprocess.CompletedProcess[bytes]] = []
        self.postfix = PostfixServer(main=MAIN + _documented_limit(), master=_documented_service())
        folder = self.postfix.folder
        (folder / "config" / "transport").write_text(TRANSPORT + "\n")
        (folder / "pipe").write_text(SCRIPT.format(folder=folder))
        for name in ("mail", "status"):
            os.mkfifo(folder / name, 0o600)
            shutil.chown(folder / name, "nobody")
        self._thread = threading.Thread(target=self._take_turns, daemon=True)

    def __enter__(self) -> PostfixPipe:
        try:
            self.postfix.start()
        except BaseException:
            self.postfix.destroy()
            raise
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.postfix.stop()
            (self.postfix.folder / "mail").open("wb").close()  # an empty mail ends the thread
            self._thread.join(30)
            assert not self._thread.is_alive()
        finally:
            self.postfix.destroy()

    @property
    def statuses(self) -> list[int]:
        """What the runs so far ended with."""
        return [done.returncode for done in self.runs]

    def _take_turns(self) -> None:
        while mail := (self.postfix.folder / "mail").read_bytes():
            done = subprocess.run(
                [sys.executable, "-m", "mailer", "bounces", "ingest"],
                cwd=self._home,
                input=mail,
                capture_output=True,
                check=False,
            )
            self.runs.append(done)
            (self.postfix.folder / "status").write_text(f"{done.returncode}\n")


def _documented_service() -> str:
    """The lines for master.cf, with another user and command, and one at a time."""
    found = re.search(r"(?m)^ *mailer-bounces unix .*\n.* argv=.*$", DOCS.read_text())
    assert found, "docs/bounces.md gives no lines for master.cf"
    lines = textwrap.dedent(found[0])
    for pattern, value in (
        (r" \d+ pipe", " 1 pipe"),
        (r"user=\S+", "user=nobody"),
        (r" directory=\S+", ""),
        (r"argv=.*", "argv=/bin/sh {folder}/pipe"),
    ):
        lines, count = re.subn(pattern, value, lines)
        assert count == 1, pattern
    return lines + "\n"


def _documented_limit() -> str:
    """The line for main.cf."""
    found = re.search(r"`(mailer-bounces_destination_recipient_limit = \d+)`", DOCS.read_text())
    assert found, "docs/bounces.md gives no line for main.cf"
    return found[1] + "\n"

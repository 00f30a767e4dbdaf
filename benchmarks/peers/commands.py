"""Which peers there are, and how each is called."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu import Process
from benchmarks.letter import Letter
from benchmarks.measure import Sample
from benchmarks.sink import ROOT, Sink, program

_NODEMAILER = Path(__file__).parent / "nodemailer"


@dataclass(frozen=True, slots=True)
class Peer:
    """A sender of somebody else's, or the limit. ``command`` makes the one that sends so many messages and ends.

    ``share``: of the messages that the fast ones send, since slow ones need fewer to be measured.
    """

    name: str
    title: str
    share: float
    command: Callable[[int], list[str]]

    def run(self, count: int, sink: Sink, log: Path) -> Sample:
        """Sends so many; what the command says goes to ``log``. Raises ``RuntimeError`` when it fails."""
        received, sink_cpu = sink.received, sink.cpu
        with Process(self.command(count), ROOT, log) as process:
            usage = process.wait()
        return Sample(count, usage.seconds, {"process": usage.cpu}, sink.cpu - sink_cpu, sink.received - received)


def peers(
    letter: Letter, sink: Sink, connections: int, sessions: int, scratch: Path, wanted: Collection[str]
) -> list[Peer]:
    """Those of the wanted that can run here; of nodemailer it is said why when it can't.

    ``connections``: as one worker of ours has; ``sessions``: as all of them together have, for smtp-source.
    ``scratch`` is a folder for what must be installed.
    """
    folder, port = str(letter.folder), str(sink.port)
    ours = [sys.executable, "-m"]
    source = [program("smtp-source"), "-F", f"{folder}/message.txt", "-s", str(sessions)]
    to = f"127.0.0.1:{port}"
    found = [
        Peer(
            "limit",
            "limit: splice and pipeline only",
            1,
            lambda n: [*ours, "benchmarks.peers.limit", folder, port, str(n), str(connections)],
        ),
        Peer(
            "smtp-source",
            f"smtp-source -s {sessions}",
            1,
            lambda n: [*source, "-m", str(n), to],
        ),
        Peer(
            "smtp-source",
            f"smtp-source -s {sessions} -d",
            1,
            lambda n: [*source, "-d", "-m", str(n), to],
        ),
        Peer(
            "email-message",
            "jinja2 + EmailMessage + aiosmtplib",
            0.05,
            lambda n: [*ours, "benchmarks.peers.email_message", folder, port, str(n)],
        ),
    ]
    script = _nodemailer(scratch) if "nodemailer" in wanted else None
    if script is not None:
        node = [shutil.which("node") or "node", str(script), folder, port]
        found.append(
            Peer("nodemailer", "handlebars + nodemailer's pool", 0.1, lambda n: [*node, str(n), str(connections)])
        )
    return [peer for peer in found if peer.name in wanted]


def _nodemailer(scratch: Path) -> Path | None:
    """The installed script."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        print("nodemailer isn't measured: there is no npm here", file=sys.stderr)
        return None
    shutil.copytree(_NODEMAILER, scratch, dirs_exist_ok=True)
    command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
    if done.returncode:
        why = next((line for line in done.stderr.splitlines() if "error" in line.lower()), "npm install failed")
        print(f"nodemailer isn't measured: {why}", file=sys.stderr)
        return None
    return scratch / "send.mjs"

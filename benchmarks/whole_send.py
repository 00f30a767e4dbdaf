"""What a message costs us and others, in one run on this machine: CPU, messages a second, and growth.

    python -m benchmarks.whole_send [--issue ISSUE.md] [--recipients 20000] [--growth 1000,10000] [--json FILE]
    python -m benchmarks.whole_send --judge [--subscribers LIST.csv]

A send of ours goes through the command line: CSV → import → ``mailer send`` → workers → SMTP, with the guarantee on,
into Postfix's smtp-sink. CPU is user and system of all our processes (workers, embedded Redis, ``mailer send``, the
PostgreSQL server) from the call of ``mailer send`` until the ledger says finished. Each sender is run with a tenth of
the recipients and with all of them, and the figures are the difference of the two: what is spent once cancels out.

``--judge`` sends into our own judging server instead, once a setup and without peers, and exits 1 unless the sink's log
and the ledger say the same. What each figure is stands in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.judge import judge
from benchmarks.letter import Letter, compile_letter
from benchmarks.measure import Cost, Sample, difference, middle
from benchmarks.ours import Sent, Setup, send_issue, set_up
from benchmarks.peers.commands import Peer, peers
from benchmarks.people import write_csv
from benchmarks.postgres import Postgres, postgres
from benchmarks.progress import Progress
from benchmarks.report import Growth, Measured, Report, file_system, machine
from benchmarks.sink import ROOT, Sink, fast_sink, judging_sink
from mailer.errors import MailerError

STORES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
PEERS = ("limit", "smtp-source", "email-message", "nodemailer")
FEWEST = 50
"""Messages that the smaller of two runs has at least."""


def main() -> int:
    """Runs it; gives the exit status."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        return _run(arguments)
    except (RuntimeError, MailerError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:
    with ExitStack() as stack:
        bench = _open(arguments, stack)
        if arguments.judge:
            return _judged(bench, arguments)
        about = machine() | {
            "command": shlex.join(["python", "-m", "benchmarks.whole_send", *sys.argv[1:]]),
            "file system": file_system(bench.folder),
            "issue": arguments.issue.name,
            "message": f"{bench.letter.size / 1000:.1f} KB",
            "connections a worker": arguments.connections,
        }
        senders = [*_ours(bench, arguments), *_peers(bench, arguments)]
        report = Report(about, senders, _growth(bench, arguments))
    print(report.to_text())
    if arguments.json:
        arguments.json.write_text(report.to_json() + "\n", encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--issue", type=Path, default=ROOT / "templates" / "sample" / "issue.md", help="default: the sample issue")
    add("--recipients", type=int, default=20_000, help="of the larger of the two runs (default 20000)")
    add("--repeat", type=int, default=1, help="measure so often, give the median (default 1)")
    add("--stores", type=_words(*STORES), default=list(STORES), help="sqlite,postgresql")
    add("--processes", type=_numbers, default=[1, 2], help="worker processes (default 1,2)")
    add("--connections", type=int, default=8, help="SMTP connections a worker (default 8)")
    add("--peers", type=_words(*PEERS), default=list(PEERS), help=f"{','.join(PEERS)}; '' for none")
    add("--growth", type=_numbers, default=[1000, 10_000], help="recipients (default 1000,10000); '' for none")
    add("--growth-store", choices=STORES, default="sqlite")
    add("--json", type=Path, metavar="FILE", help="write the figures there")
    add("--judge", action="store_true", help="sink's log against ledger; no peers, no growth")
    add("--subscribers", type=Path, help="with --judge: a CSV file with a column 'email', instead of made-up people")
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


def _words(*known: str) -> Callable[[str], list[str]]:
    def words(text: str) -> list[str]:
        found = [word for word in text.split(",") if word]
        if unknown := set(found) - set(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return found

    return words


@dataclass(slots=True)
class _Bench:
    """What all measurements share."""

    folder: Path
    sink: Sink
    letter: Letter
    issue: Path
    connections: int
    server: Postgres | None
    progress: Progress
    runs: int = 0

    @contextmanager
    def setup(self, store: str, processes: int, people: Path) -> Iterator[tuple[Setup, float, dict[str, object]]]:
        """A fresh publication with people; with the seconds that their import took, and its report."""
        self.runs += 1
        home = self.folder / f"run{self.runs}"
        home.mkdir()
        server = self.server if store == "postgresql" else None
        setup = Setup(home, processes, server, f"run{self.runs}")
        set_up(setup, self.sink, self.connections * processes)
        began = time.monotonic()
        imported = json.loads(setup.mailer("subscribers", "import", str(people.resolve()), "--json"))
        yield setup, time.monotonic() - began, imported
        if server is not None:
            server.drop(setup.database)
        shutil.rmtree(home)

    def people(self, count: int) -> Path:
        path = self.folder / f"people-{count}.csv"
        if not path.exists():
            write_csv(path, count)
        return path

    def send(self, store: str, processes: int, count: int) -> tuple[Sent, float]:
        """Sends to so many; with the seconds that their import took."""
        self.progress.begin(f"ours, {STORES[store]}, {processes} worker(s): {count:,}")
        with self.setup(store, processes, self.people(count)) as (setup, import_seconds, _):
            sent = send_issue(setup, self.issue, self.sink, self.letter.size, self.progress)
        if sent.counts["sent"] != count:
            raise RuntimeError(f"of {count} not all were sent: {sent.counts}")
        return sent, import_seconds


def _open(arguments: argparse.Namespace, stack: ExitStack) -> _Bench:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailer-bench-")))
    sink = stack.enter_context(judging_sink(folder / "sink.jsonl") if arguments.judge else fast_sink())
    stores = {*arguments.stores, *([arguments.growth_store] if arguments.growth else [])}
    server = stack.enter_context(postgres()) if "postgresql" in stores else None
    bench = _Bench(folder, sink, Letter(folder, 1), arguments.issue, arguments.connections, server, Progress())
    if arguments.judge:
        return bench
    with bench.setup("sqlite", 1, bench.people(FEWEST)) as (setup, _, _):
        bench.letter = compile_letter(arguments.issue, setup.home, folder / "letter")
    return bench


def _ours(bench: _Bench, arguments: argparse.Namespace) -> Iterator[Measured]:
    small = max(arguments.recipients // 10, FEWEST)
    for store in arguments.stores:
        for processes in arguments.processes:
            costs = [
                difference(
                    bench.send(store, processes, small)[0].sample,
                    bench.send(store, processes, arguments.recipients)[0].sample,
                )
                for _ in range(arguments.repeat)
            ]
            title = f"mailer, {STORES[store]}, {processes} worker{'s' if processes > 1 else ''}"
            yield Measured(f"mailer-{store}", title, middle(costs), True, processes)


def _peers(bench: _Bench, arguments: argparse.Namespace) -> Iterator[Measured]:
    if not arguments.peers:
        return
    sessions = arguments.connections * max(arguments.processes)
    known = peers(
        bench.letter, bench.sink, arguments.connections, sessions, bench.folder / "nodemailer", arguments.peers
    )
    for peer in known:
        costs = [_cost_of(peer, bench, arguments.recipients) for _ in range(arguments.repeat)]
        yield Measured(peer.name, peer.title, middle(costs))


def _cost_of(peer: Peer, bench: _Bench, recipients: int) -> Cost:
    large = max(round(recipients * peer.share), 4 * FEWEST)
    small = max(large // 10, FEWEST)
    bench.progress.begin(f"{peer.title}: {small:,} and {large:,}")
    log = bench.folder / "peer.log"
    return difference(peer.run(small, bench.sink, log), peer.run(large, bench.sink, log))


def _growth(bench: _Bench, arguments: argparse.Namespace) -> list[Growth]:
    """With the most worker processes; what is spent once is taken from a send to a few."""
    if not arguments.growth:
        return []
    processes, store = max(arguments.processes), arguments.growth_store
    base: Sample = bench.send(store, processes, min(FEWEST, min(arguments.growth) // 2))[0].sample
    found = []
    for count in arguments.growth:
        sent, import_seconds = bench.send(store, processes, count)
        found.append(
            Growth(
                count,
                difference(base, sent.sample),
                sent.worker_memory,
                sent.queue_memory,
                sent.queue_seconds,
                sent.sample.cpu["queue"],
                import_seconds,
                sent.database / count,
            )
        )
    return found


def _judged(bench: _Bench, arguments: argparse.Namespace) -> int:
    """Sends once a setup, and compares what the sink took with what the ledger says. Gives the exit status."""
    log = bench.sink.log
    assert log is not None
    found_wrong = False
    people = arguments.subscribers or bench.people(arguments.recipients)
    for store in arguments.stores:
        for processes in arguments.processes:
            log.write_bytes(b"")  # opened for appending by the sink
            with bench.setup(store, processes, people) as (setup, _, imported):
                bench.progress.begin(f"judged, {STORES[store]}, {processes} worker(s)")
                sent = send_issue(setup, bench.issue, bench.sink, bench.letter.size, bench.progress)
                recipients = json.loads(setup.mailer("recipients", sent.send, "--json"))
                wrong = judge(log, recipients, sent.counts, sent.sample.messages)
            refused = imported["refused"]
            print(
                f"{STORES[store]}, {processes} worker(s): {sent.counts['sent']:,} of {sent.sample.messages:,} sent, "
                f"{len(refused) if isinstance(refused, list) else refused} refused by the import; "
                f"{sent.sample.messages / sent.sample.seconds:.0f}/s; {'; '.join(wrong) or 'log and ledger agree'}"
            )
            found_wrong |= bool(wrong)
    return int(found_wrong)


if __name__ == "__main__":
    sys.exit(main())

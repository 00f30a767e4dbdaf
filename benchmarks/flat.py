"""Whether a message costs the same in a large audience as in a small one.

    python -m benchmarks.flat [--issue ISSUE.md] [--audiences 10000,1000000] [--turns 5] [--at-most 1.1]

A machine's speed changes within minutes, and a send to a million takes ten: so whole sends can't be compared. Here the
audiences take turns, each time with a fresh copy of a ledger that was queued before, and workers that are ready; what
is compared is the CPU of all of them for the same number of messages. SQLite, into smtp-sink.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

from benchmarks.letter import compile_letter
from benchmarks.ours import Setup, cpu_of, ready_workers, set_up
from benchmarks.people import write_csv
from benchmarks.sink import ROOT, Sink, fast_sink
from mailer.store import open_store

STALLED = 15.0
"""Seconds without a message after which an audience is taken to be used up."""


def main() -> int:
    """Prints the table; 1 if the last audience's message costs more than ``--at-most`` times the first's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--issue", type=Path, default=ROOT / "templates" / "sample" / "issue.md", help="default: the sample issue")
    add("--audiences", default="10000,1000000", help="recipients, smallest first (default 10000,1000000)")
    add("--messages", type=int, default=5000, help="measured each time (default 5000)")
    add("--turns", type=int, default=5, help="how often each audience is measured (default 5)")
    add("--processes", type=int, default=2, help="worker processes (default 2)")
    add("--connections", type=int, default=32, help="SMTP connections a worker (default 32)")
    add("--at-most", type=float, default=0.0, help="exit 1 if the medians' ratio is above")
    options = parser.parse_args()
    audiences = [int(count) for count in options.audiences.split(",")]
    try:
        with tempfile.TemporaryDirectory(prefix="mailer-bench-") as folder, fast_sink() as sink:
            setups = [_set_up(Path(folder), count, sink, options) for count in audiences]
            size = compile_letter(options.issue, setups[0].home, Path(folder, "letter")).size
            for setup in setups:
                _queue(setup, options.issue)
            costs: list[list[float]] = [[] for _ in audiences]
            for turn in range(options.turns):
                for number, setup in enumerate(setups):
                    costs[number].append(_cost(setup, sink, options.messages, size))
                    _say(f"turn {turn + 1}, {audiences[number]:,}: {costs[number][-1]:.3f} ms")
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{'audience':>12}  {'CPU ms a message':>16}  each turn")
    for count, found in zip(audiences, costs, strict=True):
        print(f"{count:>12,}  {median(found):>16.3f}  {' '.join(f'{one:.3f}' for one in found)}")
    ratio = median(costs[-1]) / median(costs[0])
    print(f"{audiences[-1]:,} / {audiences[0]:,}: {ratio:.2f}")
    return int(0 < options.at_most < ratio)


def _set_up(folder: Path, count: int, sink: Sink, options: argparse.Namespace) -> Setup:
    """A publication with so many people."""
    _say(f"{count:,} people, and a send to them")
    people = folder / "people.csv"
    write_csv(people, count)
    setup = Setup(folder / str(count), options.processes)
    setup.home.mkdir()
    set_up(setup, sink, options.connections * options.processes)
    setup.mailer("subscribers", "import", str(people))
    return setup


def _queue(setup: Setup, issue: Path) -> None:
    """A send to all of them, which is kept beside its folder."""
    setup.mailer("send", str(issue.resolve()), "--yes")
    setup.home.rename(_kept(setup))


def _kept(setup: Setup) -> Path:
    return setup.home.with_suffix(".queued")


def _cost(setup: Setup, sink: Sink, messages: int, size: int) -> float:
    """CPU milliseconds a message of all our processes."""
    shutil.rmtree(setup.home, ignore_errors=True)
    shutil.copytree(_kept(setup), setup.home)
    with closing(open_store(setup.store_url)) as store, ready_workers(setup, store) as workers:
        before, began = cpu_of(workers.pid, None), sink.received
        _wait(sink, began + messages * size)
        after, received = cpu_of(workers.pid, None), sink.received - began
    return 1000 * sum(after[part] - before[part] for part in before) / (received / size)


def _wait(sink: Sink, received: float) -> None:
    """Until the sink has read so many bytes. Raises ``RuntimeError`` when nothing more comes."""
    seen, since = sink.received, time.monotonic()
    while seen < received:
        time.sleep(0.01)
        if (now := sink.received) > seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > STALLED:
            raise RuntimeError("nothing more is sent: give fewer --messages, or larger --audiences")


def _say(what: str) -> None:
    print(f"… {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

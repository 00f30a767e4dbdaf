"""A whole send, measured and checked from outside: CSV → import → send → workers → SMTP, sink log against ledger.

    python benchmarks/whole_send.py [--issue ISSUE.md] [--recipients 10000 | --subscribers LIST.csv] [--processes 2]
                                    [--store postgresql://…]

Prints messages a second, CPU milliseconds a message of all worker processes together, and the greatest memory of one.
Exits 1 unless every deliverable recipient is in the sink's log exactly once and the ledger says the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="mailer-bench-") as directory:
        home = Path(directory)
        log = home / "sink.jsonl"
        sink = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.smtp", "--port", "0", "--log", str(log)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        try:
            assert sink.stdout is not None
            port = int(sink.stdout.readline())
            _configure(home, port, arguments.store)
            figures = _run(home, arguments)
        finally:
            sink.terminate()
            sink.wait()
        return _judge(log, figures)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--issue", type=Path, default=ROOT / "templates" / "sample" / "issue.md")
    parser.add_argument("--recipients", type=int, default=10_000, help="how many to make up")
    parser.add_argument("--subscribers", type=Path, help="a CSV file with a column 'email', instead")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--store", default="", help="a database URL; SQLite without one")
    return parser.parse_args()


def _configure(home: Path, port: int, store: str) -> None:
    database = f'[store]\nurl = "{store}"\n' if store else ""
    (home / "mailer.toml").write_text(
        '[publication]\nname = "Bench"\nfrom = "Bench <bench@example.com>"\nlanguage = "de"\n'
        f'{database}[[relays]]\nhost = "127.0.0.1"\nport = {port}\nsecurity = "none"\n'
    )


def _made_up(home: Path, count: int) -> Path:
    path = home / "people.csv"
    rows = (f"reader{n}@site{n % 50}.example,Name{n}\n" for n in range(count))
    path.write_text("email,first_name\n" + "".join(rows))
    return path


def _mailer(home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mailer", *arguments], cwd=home, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def _run(home: Path, arguments: argparse.Namespace) -> dict[str, object]:
    _mailer(home, "migrate")
    people = arguments.subscribers or _made_up(home, arguments.recipients)
    began = time.monotonic()
    imported = json.loads(_mailer(home, "subscribers", "import", str(people.resolve()), "--json"))
    took_import = time.monotonic() - began
    up = subprocess.Popen([sys.executable, "-m", "mailer", "worker", "--processes", str(arguments.processes)], cwd=home)
    memory = _Memory(up.pid)
    memory.start()
    try:
        time.sleep(3)
        before = memory.cpu
        began = time.monotonic()
        sent = json.loads(_mailer(home, "send", str(arguments.issue.resolve()), "--yes", "--json"))
        took_queue = time.monotonic() - began
        while (status := json.loads(_mailer(home, "status", sent["send"], "--json")))["state"] == "running":
            waiting = status["counts"]["pending"] + status["counts"]["claimed"] + status["counts"]["dotted"]
            if not waiting:
                break
            time.sleep(0.5)
        took_send = time.monotonic() - began
    finally:
        up.terminate()
        up.wait()
        memory.join()
    recipients = json.loads(_mailer(home, "recipients", sent["send"], "--json"))
    return {
        "imported": {key: value for key, value in imported.items() if isinstance(value, int)},
        "import_seconds": took_import,
        "queue_seconds": took_queue,
        "send_seconds": took_send,
        "cpu_seconds": memory.cpu - before,
        "worker_mb": memory.worker / 1e6,
        "status": status,
        "recipients": recipients,
    }


class _Memory(threading.Thread):
    """Watches our processes: CPU seconds of all of them, and the greatest resident set of a worker, in bytes."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self._pid, self.cpu, self.worker = pid, 0.0, 0
        self._cpu: dict[int, float] = {}

    def run(self) -> None:
        tick = os.sysconf("SC_CLK_TCK")
        page = os.sysconf("SC_PAGE_SIZE")
        while Path(f"/proc/{self._pid}").exists():
            for pid in _tree(self._pid):
                try:
                    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if stat[0] == "Z":
                    return
                self._cpu[pid] = (int(stat[11]) + int(stat[12])) / tick
                if b"worker" in command:
                    self.worker = max(self.worker, resident)
            self.cpu = sum(self._cpu.values())
            time.sleep(0.1)


def _tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(found for child in children for found in _tree(int(child)))]


def _judge(log: Path, figures: dict[str, object]) -> int:
    recipients = figures.pop("recipients")
    status = figures["status"]
    assert isinstance(recipients, list)
    assert isinstance(status, dict)
    taken = Counter(json.loads(line)["message_id"] for line in log.read_text().splitlines())
    sent = [row["message_id"] for row in recipients if row["state"] == "sent"]
    twice = [key for key, count in taken.items() if count > 1]
    wrong = {
        "taken twice": len(twice),
        "taken, not in the ledger as sent": len(set(taken) - set(sent)),
        "sent in the ledger, never taken": len(set(sent) - set(taken)),
        "states that don't add up": int(sum(status["counts"].values()) != status["audience"]),
    }
    seconds = figures["send_seconds"]
    cpu = figures["cpu_seconds"]
    assert isinstance(seconds, float)
    assert isinstance(cpu, float)
    print(json.dumps({**figures, "messages_per_second": len(sent) / seconds, "wrong": wrong}, indent=2))
    print(f"\n{len(sent)} messages: {len(sent) / seconds:.0f}/s, {cpu / len(sent) * 1000:.3f} ms CPU a message")
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

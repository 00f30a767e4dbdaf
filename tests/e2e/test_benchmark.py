"""The benchmark's own checks, so that it doesn't rot between two measurements."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.judge import judge
from benchmarks.measure import Sample, difference

ROOT = Path(__file__).resolve().parents[2]


def test_judged_send() -> None:
    """A judged benchmark sends to everybody, finds log and ledger agreeing, and exits 0."""
    command = [sys.executable, "-m", "benchmarks.whole_send", "--judge", "--stores", "sqlite", "--processes", "2"]
    done = subprocess.run([*command, "--recipients", "200"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "200 of 200 sent" in done.stdout
    assert "log and ledger agree" in done.stdout


def test_judge_finds(tmp_path: Path) -> None:
    """A message that was taken twice, one that never arrived and one that nobody recorded are each told."""
    log = tmp_path / "sink.jsonl"
    log.write_text("".join(json.dumps({"message_id": one}) + "\n" for one in ("<1>", "<1>", "<3>")))
    rows = [{"message_id": "<1>", "state": "sent"}, {"message_id": "<2>", "state": "sent"}]
    assert judge(log, rows, {"sent": 2}, 2) == [
        "1 taken twice",
        "1 taken, not in the ledger as sent",
        "1 sent in the ledger, never taken",
    ]


def test_difference() -> None:
    """What two runs spend once, whatever it is, has no part in the cost of a message."""
    small = Sample(100, 2.1, {"workers": 1.02, "redis": 0.5}, 0.05, 100_000)
    large = Sample(1100, 3.1, {"workers": 1.22, "redis": 0.5}, 0.35, 1_100_000)
    cost = difference(small, large)
    assert round(cost.total, 9) == 0.2
    assert round(cost.rate, 6) == 1000
    assert (round(cost.sink_cpu, 9), cost.size) == (0.3, 1000)

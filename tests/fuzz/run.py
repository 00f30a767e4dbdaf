"""Fuzzes every reader of what strangers send, each for so long: ``make fuzz``, or ``python -m tests.fuzz.run``.

Needs atheris (``pip install --group fuzz``; wheels for Python up to 3.13). Exits 1 with what was found; the input that
did it stays in ``fuzz-findings/``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.servers.senders import PROVIDERS, tell

ROOT = Path(__file__).resolve().parents[2]
MAILS = ROOT / "tests" / "unit" / "bounce_mails"
FINDINGS = ROOT / "fuzz-findings"
TARGETS = ("mail", *PROVIDERS)


def seed(target: str, folder: Path) -> None:
    """Files for the fuzzer to begin with: what the target should understand."""
    if target == "mail":
        for path in MAILS.glob("*.eml"):
            (folder / path.name).write_bytes(path.read_bytes())
        return
    for number, first in enumerate(b"\x00\x01\x02"):
        (folder / f"seed-{number}").write_bytes(bytes([first]) + tell(target, "a@example.com").body)


def fuzz(target: str, seconds: int) -> tuple[str, int, str]:
    """Fuzzes one target; gives its name, how many inputs were tried, and what was found (empty: nothing)."""
    FINDINGS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mailer-fuzz-") as corpus:
        seed(target, Path(corpus))
        command = [sys.executable, "-m", "tests.fuzz.target", target, corpus, f"-max_total_time={seconds}"]
        command += ["-timeout=10", "-max_len=16384", "-rss_limit_mb=2048", f"-artifact_prefix={FINDINGS}/{target}-"]
        done = subprocess.run([*command, "-print_final_stats=1"], cwd=ROOT, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    tried = re.search(r"stat::number_of_executed_units:\s+(\d+)", said)
    return target, int(tried[1]) if tried else 0, "" if done.returncode == 0 else said[-4000:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Says a line a target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all, if left out")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    found = 0
    with ThreadPoolExecutor(options.processes) as pool:
        for target, tried, problem in pool.map(lambda one: fuzz(one, options.seconds), options.targets or TARGETS):
            print(f"{target:<12}{tried:>10,} inputs  {problem or 'nothing found'}", flush=True)
            found += bool(problem) or not tried
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())

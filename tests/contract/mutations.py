"""Breaks the protocol by hand, a place at a time, and sees that tests notice: ``python tests/contract/mutations.py``.

Each mutation is made in a copy of the tree, and the tests that guard the place are run there. It prints a table of
which tests caught what, and exits 1 when a mutation survives, or when its text isn't in the code any more. With names
as arguments only those are tried; ``--list`` prints the names.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("mailer", "workers", "templates", "tests", "pyproject.toml")
STORE = ("tests/contract/test_store_interleaved.py", "tests/contract/test_store_ledger.py")
OVERLAP, RECOVERY = ("tests/contract/test_store_overlap.py",), ("tests/contract/test_store_recovery.py",)
RESEND = ("tests/contract/test_store_resend.py",)
DELIVER = ("tests/edge/test_deliver_bound.py", "tests/edge/test_deliver.py")

COURIERS, WRITES = "mailer/service/couriers.py", "mailer/service/ledger_writes.py"
STATEMENTS = "mailer/store/statements.py"
BY_KEY = "r.send = g.send AND r.position = g.position"


@dataclass(frozen=True)
class Mutation:
    """``old`` stands in ``file`` once and is replaced by ``new``."""

    name: str
    file: str
    old: str
    new: str
    tests: Sequence[str]


MUTATIONS = (
    Mutation(
        "the dot goes out before its grant is committed",
        COURIERS,
        "        if not await self._writes.granted(flight.key):\n            connection.drop()\n"
        "            await self._give_back_stopped(claim.send)\n            return None\n",
        "        self._unawaited = asyncio.ensure_future(self._writes.granted(flight.key))\n",
        DELIVER,
    ),
    Mutation(
        "a message is announced without RSET",
        "mailer/smtp/connection.py",
        'b"RSET\\r\\n" + mail + rcpt + b"DATA\\r\\n"\n        return True',
        'b"NOOP\\r\\n" + mail + rcpt + b"DATA\\r\\n"\n        return True',
        ("tests/edge/test_smtp_announce.py",),
    ),
    Mutation(
        "an expired lease frees dotted rows",
        "mailer/store/recovery.py",
        "WHERE open_epoch > 0 AND state IN ({can_release}) AND {held}",
        "WHERE open_epoch > 0 AND state IN ({can_release}, 'dotted') AND {held}",
        (*STORE, *RECOVERY),
    ),
    Mutation(
        "the compare-and-set before the dot doesn't look at the epoch",
        STATEMENTS,
        "WHERE {same} AND (r.state = 'dotted' OR",
        f"WHERE {BY_KEY} AND (r.state = 'dotted' OR",
        STORE,
    ),
    Mutation(
        "the compare-and-set doesn't look at the send's state",
        STATEMENTS,
        "\n        AND EXISTS (SELECT 1 FROM sends e WHERE e.key = r.send AND e.state = 'running'))",
        ")",
        (*STORE, *OVERLAP),
    ),
    Mutation(
        "the compare-and-set doesn't look for an unsubscribe or a suppression",
        STATEMENTS,
        "r.state IN ({can_dot}) AND NOT {unwanted}\n",
        "r.state IN ({can_dot})\n",
        STORE,
    ),
    Mutation(
        "an outcome is recorded whatever its epoch",
        STATEMENTS,
        "WHERE {same} AND (r.state, g.state) IN {legal_moves}",
        f"WHERE {BY_KEY} AND (r.state, g.state) IN {{legal_moves}}",
        STORE,
    ),
    Mutation(
        "a dead worker's heartbeat brings it back to life",
        "mailer/store/workers.py",
        '"UPDATE workers SET beat_at = :now, trouble = :trouble, suspected_at = NULL WHERE id = :id"',
        '"INSERT INTO workers (id, host, pid, started_at, beat_at, trouble) "\n'
        "            \"VALUES (:id, '', 0, :now, :now, :trouble) \"\n"
        '            "ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at, suspected_at = NULL"',
        (*STORE, *RECOVERY),
    ),
    Mutation(
        "outcomes are written after the next dots of their connections",
        WRITES,
        "        granted = self._ledger.write(\n            self._now(),\n",
        "        dots = [item.key for item in items if isinstance(item, _Dot)]\n"
        "        self._ledger.write(self._now(), dots=dots)\n"
        "        granted = self._ledger.write(\n            self._now(),\n",
        DELIVER,
    ),
    Mutation(
        "a claim keeps the epoch",
        STATEMENTS,
        "SET state = 'claimed', epoch = r.epoch + 1,",
        "SET state = 'claimed', epoch = r.epoch,",
        STORE,
    ),
    Mutation(
        "a grant that is old is used",
        WRITES,
        "if abs(self._now() - asked_at) < LEASE / 2:",
        "if True:",
        DELIVER,
    ),
    Mutation(
        "an epoch survives a resend, so that the first dot's late reply settles the second",
        "mailer/store/resend.py",
        "epoch = r.epoch + 1, resends",
        "epoch = r.epoch, resends",
        (*STORE, *RESEND),
    ),
    Mutation(
        "whoever is in doubt is sent to again and again",
        "mailer/store/resend.py",
        "{_MAY} AND r.resends = 0 AND",
        "{_MAY} AND",
        (*STORE, *RESEND),
    ),
    Mutation(
        "a resend is made for the person as an import has changed them",
        "mailer/store/subscribers.py",
        "            self._resends.keep(connection, {",
        "            bool({",
        (*STORE, *RESEND, "tests/edge/test_resend.py"),
    ),
    Mutation(
        "a resend that is given up counts as skipped",
        "mailer/store/dialect.py",
        "CASE WHEN resends > 0 THEN '{RecipientState.IN_DOUBT}' ELSE '{RecipientState.SKIPPED}' END",
        "'{RecipientState.SKIPPED}'",
        (*STORE, *RESEND),
    ),
)


def failing(mutation: Mutation) -> list[str]:
    """The tests that fail with it. Raises ``ValueError`` when it can't be made, or the tests can't be run."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        file = copy / mutation.file
        code = file.read_text()
        if code.count(mutation.old) != 1:
            raise ValueError(f"{mutation.file} has its text {code.count(mutation.old)} times, not once")
        file.write_text(code.replace(mutation.old, mutation.new))
        done = _run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-p",
                "no:cacheprovider",
                "--tb=no",
                "-vv",
                "-rfE",
                "--maxfail=5",
                "--timeout=60",
                "--timeout-method=thread",  # some mutations leave tests waiting for ever: this ends them
                *mutation.tests,
            ],
            copy,
        )
        if done.returncode not in (0, 1):
            raise ValueError(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        found = re.findall(r"^\S+/(\w+)\.py::(\w+)\S* (?:FAILED|ERROR)", done.stdout, re.MULTILINE)
        if stuck := re.search(r"/(\w+)\.py::(\w+)\S* \++ Timeout", done.stdout):
            found.append((stuck[1], f"{stuck[2]} (doesn't end)"))
        return list(dict.fromkeys(f"{file}: {test}" for file, test in found))


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Whoever is ended for never ending takes no leave of the servers that it has started: they are ended here."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "MAILER_NO_SHRINK": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        out, err = process.communicate()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def main(names: Sequence[str]) -> int:
    if names == ["--list"]:
        print("\n".join(mutation.name for mutation in MUTATIONS))
        return 0
    unknown = set(names) - {mutation.name for mutation in MUTATIONS}
    if unknown:
        print(f"no such mutation: {', '.join(unknown)}", file=sys.stderr)
        return 2
    survived = 0
    print("| mutation | tests that catch it |\n|---|---|")
    for mutation in MUTATIONS:
        if names and mutation.name not in names:
            continue
        try:
            caught = failing(mutation)
        except ValueError as error:
            caught, why = [], f"**it can't be tried**: {error}"
        else:
            why = "**none: it survives**"
        survived += not caught
        print(f"| {mutation.name} | {'; '.join(caught) or why} |", flush=True)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

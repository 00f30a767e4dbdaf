"""``make soak``: kills workers, Redis, databases and commands for as long as it takes, and judges every send.

    python -m tests.faults.soak --kills 500 [--store sqlite|postgresql|both] [--seed N]

Leases, pauses and timeouts are those of production. The seed decides who is killed at which point, not when the
machine gets there, so that a run can't be repeated to the letter. Exit status 1 on any breach; then the evidence
(relay's log, databases, workers' logs) is kept.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from mailer.store import migrate
from tests.faults.nursery import Nursery
from tests.faults.publication import Publication
from tests.faults.score import Score
from tests.faults.storm import Storm
from tests.servers.postgres import TEMPLATE, PostgresServer
from tests.servers.redis_process import RedisProcess
from tests.servers.smtp_process import SmtpProcess

PEOPLE = 2000
RELAY = {"phase": "dot", "delay": 0.1}


def soak(folder: Path, kills: int, stores: list[str], seed: str, publications: int) -> Score:
    """Runs until there were so many kills, or a breach."""
    score, chance = Score(kills), random.Random(seed)
    template = folder / "template.db"
    migrate(f"sqlite:///{template}")
    with ExitStack() as stack:
        nursery = Nursery()
        stack.callback(nursery.close)
        relay = SmtpProcess(folder / "relay.jsonl", [RELAY])
        stack.callback(relay.stop)
        postgres = _postgres(stack) if "postgresql" in stores else None
        storms = []
        for number in range(publications):
            store, own_redis = stores[number % len(stores)], number // len(stores) % 2 == 0
            home = folder / f"{store}{number}"
            home.mkdir()
            if postgres is not None and store == "postgresql":
                url = postgres.fresh()
            else:
                shutil.copy(template, home / "mailer.db")
                url = f"sqlite:///{home}/mailer.db"
            redis = RedisProcess() if own_redis else None
            if redis is not None:
                stack.callback(redis.destroy)
            connections = chance.randint(4, 8)
            publication = Publication(
                *(home, nursery, relay, url),
                people=PEOPLE,
                redis_url=redis.url if redis is not None else "",
                connections=connections,
                batch_size=10,
            )
            stack.callback(publication.end)
            storms.append(Storm(publication, redis, score, random.Random(f"{seed}:{number}")))
        _run(storms, postgres, score, chance)
    return score


def _run(storms: list[Storm], postgres: PostgresServer | None, score: Score, chance: random.Random) -> None:
    threads = [threading.Thread(target=storm.run, daemon=True) for storm in storms]
    for thread in threads:
        thread.start()
    next_crash, shown = time.monotonic() + 20, 0.0
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.5)
        if postgres is not None and time.monotonic() > next_crash and not score.over:
            postgres.stop(chance.choice([signal.SIGKILL, signal.SIGQUIT]))
            time.sleep(chance.uniform(0, 4))
            postgres.start()
            score.killed("PostgreSQL")
            next_crash = time.monotonic() + chance.uniform(15, 45)
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            done = score.as_json()
            print(
                f"{done['kills']} kills, {done['recipients']} recipients, {done['in_doubt']} in doubt", file=sys.stderr
            )


def _postgres(stack: ExitStack) -> PostgresServer:
    server = PostgresServer()
    stack.callback(server.destroy)
    server.start()
    server.execute(f"CREATE DATABASE {TEMPLATE}")
    migrate(server.url(TEMPLATE))
    return server


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description="Kills, and judges.")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--store", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--publications", type=int, default=4, help="how many are under fire at once")
    parser.add_argument("--seed", default=secrets.token_hex(4))
    given = parser.parse_args()
    stores = ["sqlite", "postgresql"] if given.store == "both" else [given.store]
    folder, began = Path(tempfile.mkdtemp(prefix="soak-", dir="/tmp")), time.monotonic()
    print(f"seed {given.seed}, evidence in {folder}", file=sys.stderr)
    score = soak(folder, given.kills, stores, given.seed, given.publications)
    seconds = round(time.monotonic() - began)
    print(f"{score.table()}\n{'seconds':<44} {seconds:>8,}")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    print(json.dumps({"at": at, "seed": given.seed, "store": given.store, "seconds": seconds, **score.as_json()}))
    if score.breaches:
        print(f"The promise was broken. Seed {given.seed}; the evidence is in {folder}.", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

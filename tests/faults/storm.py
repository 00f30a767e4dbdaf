"""One publication under fire: sends, workers that die at random points, and everything around them that dies too."""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

from mailer.model.ledger import RecipientState, SendId, SendState
from tests.faults.failpoints import Arm, said
from tests.faults.points import BY_NAME, names
from tests.faults.publication import Publication
from tests.faults.score import Score
from tests.servers.redis_command import command as say_to_embedded
from tests.servers.redis_process import RedisProcess

WORKERS = 3

KILLS = 40
"""Kills in one send; what comes after that is to be finished in peace, or no send would ever end."""

STUCK = 150.0
"""Seconds without anything new after which a send counts as lost."""

_SENDING, _ANY = names("send"), names("start", "send", "leave", "ghost")


class Storm:
    """To be run in a thread of its own. ``redis``: None for the embedded one."""

    def __init__(self, publication: Publication, redis: RedisProcess | None, score: Score, chance: random.Random):
        self._publication, self._redis, self._score, self._chance = publication, redis, score, chance
        self._workers: dict[int, Arm | None] = {}
        self._asleep: dict[int, float] = {}
        self._told: dict[int, float] = {}
        self._kills_left = 0
        self._done = threading.Event()

    def run(self) -> None:
        """Send after send, until the score is over. Never raises: what goes wrong is a breach."""
        number = 0
        watch = threading.Thread(target=self._guarded, args=(self._watch,))
        watch.start()
        while not self._score.over:
            number += 1
            self._guarded(partial(self._one_send, f"s{number}"))
        self._done.set()
        watch.join()

    def _guarded(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as error:
            self._score.breach(f"{self._publication.home.name}: {type(error).__name__}: {error}")

    def _watch(self) -> None:
        """In a thread of its own: who was killed must be looked at before another worker frees what it held."""
        while not self._done.wait(0.05):
            self._look_after_workers()

    def _one_send(self, slug: str) -> None:
        publication, score = self._publication, self._score
        send = publication.create(slug)
        publication.in_hand.clear()
        self._kills_left = KILLS
        changed, last = time.monotonic(), None
        while True:
            if self._kills_left > 0 and not score.over:
                self._strike(send)
            status = publication.status(send)
            if status is not None and status.counts != last:
                changed, last = time.monotonic(), status.counts
            if status is not None and status.send.state is SendState.FINISHED:
                break
            if time.monotonic() - changed > STUCK:
                score.breach(f"{send} of {publication.home} stands still: {publication.states(send)}")
                return
            time.sleep(0.1)
        verdict = publication.judge(send)
        for breach in verdict.breaches:
            score.breach(f"{send} of {publication.home}: {breach}")
        states = verdict.states
        score.add(
            sends=1,
            recipients=sum(states.values()),
            sent=states.get("sent", 0),
            in_doubt=states.get("in_doubt", 0),
            twice=len(verdict.twice),
            lost=len(verdict.lost),
            samples=publication.samples,
        )
        publication.samples = 0

    # --- workers ------------------------------------------------------------------------------------------------------

    def _look_after_workers(self) -> None:
        for pid in list(self._workers):
            status = self._publication.nursery.status(pid)
            if status is not None:
                self._buried(pid, status)
        for pid, when in list(self._asleep.items()):
            if time.monotonic() > when:
                self._publication.signal(pid, signal.SIGCONT)
                del self._asleep[pid]
        for pid, when in list(self._told.items()):
            if time.monotonic() > when:
                self._publication.signal(pid, signal.SIGTERM)
                del self._told[pid]
        while len(self._workers) < WORKERS:
            self._hire()

    def _hire(self) -> None:
        arm = None
        if self._kills_left > 0 and not self._score.over:
            point = BY_NAME[self._chance.choice(_SENDING if self._chance.random() < 0.7 else _ANY)]
            arm = Arm(point.name, self._chance.randint(1, 2 * point.often))
        pid = self._publication.worker(*[arm] if arm else [])
        self._workers[pid] = arm
        if arm is not None and BY_NAME[arm.point].occasion == "leave":
            self._told[pid] = time.monotonic() + self._chance.uniform(0.5, 3)

    def _buried(self, pid: int, status: int) -> None:
        publication = self._publication
        del self._workers[pid]
        self._asleep.pop(pid, None)
        self._told.pop(pid, None)
        lines = said(publication.home / "points.log")
        at = next((point for what, point, who in lines if what == "kill" and who == pid), None)
        if status == -signal.SIGKILL:
            self._kills_left -= 1
            self._score.killed(at or "worker, at a random moment", publication.note_hand(pid))
        elif status == 0:
            self._score.disturbed("worker told to end")
        elif pid in self._ready():
            self._score.breach(f"worker {pid} of {publication.home} ended with {status}")
        else:
            # It found no database when it began, or was told to end before it could listen: a service manager's work.
            self._score.disturbed("worker ended while it started")
            time.sleep(0.5)

    def _ready(self) -> set[int]:
        """Who has come as far as to handle signals."""
        log = (self._publication.home / "worker.log").read_text()
        return {int(pid) for pid in re.findall(r'pid=(\d+) from=workers\.run msg="worker ready', log)}

    # --- strikes ------------------------------------------------------------------------------------------------------

    def _strike(self, send: SendId) -> None:
        strikes: tuple[tuple[float, Callable[[SendId], None]], ...] = (
            (0.05, self._kill_somebody),
            (0.01, self._stop_somebody),
            (0.01, self._kill_redis),
            (0.005, self._flush_redis),
            (0.01, self._lock_sqlite),
            (0.01, self._pause_and_resume),
        )
        for share, strike in strikes:
            if self._chance.random() < share:
                strike(send)

    def _kill_somebody(self, _send: SendId) -> None:
        if workers := list(self._workers):
            self._publication.signal(self._chance.choice(workers), signal.SIGKILL)

    def _stop_somebody(self, _send: SendId) -> None:
        """SQLite has no remedy for a process that is stopped with its lock, so there it isn't for long."""
        if not self._workers:
            return
        pid = self._chance.choice(list(self._workers))
        longest = 8 if self._publication.store.database.dialect == "sqlite" else 25
        self._publication.signal(pid, signal.SIGSTOP)
        self._publication.note_hand(pid)
        self._asleep[pid] = time.monotonic() + self._chance.uniform(0.2, longest)
        self._score.disturbed("worker stopped and continued")

    def _kill_redis(self, _send: SendId) -> None:
        if self._redis is not None:
            self._redis.kill()
            time.sleep(self._chance.uniform(0, 3))
            self._redis.start()
        else:
            found = re.search(rb"process_id:(\d+)", self._say_to_embedded("INFO", "server"))
            if found is None:
                return
            os.kill(int(found[1]), signal.SIGKILL)
        self._score.killed("Redis")

    def _flush_redis(self, _send: SendId) -> None:
        if self._redis is not None:
            self._redis.flush()
        else:
            self._say_to_embedded("FLUSHALL")
        self._score.disturbed("Redis flushed")

    def _say_to_embedded(self, *words: str) -> bytes:
        """Empty when there is none just now: whoever had started it was killed."""
        try:
            return say_to_embedded(self._publication.loaded.data_dir, *words)
        except OSError:
            return b""

    def _lock_sqlite(self, _send: SendId) -> None:
        database = self._publication.home / "mailer.db"
        if not database.exists():
            return
        with closing(sqlite3.connect(database, isolation_level=None, timeout=60)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(self._chance.uniform(0.1, 3))
            other.execute("ROLLBACK")
        self._score.disturbed("SQLite locked by another process")

    def _pause_and_resume(self, send: SendId) -> None:
        """Each of the two may be killed, before its commit or after; then it is said again."""
        if not self._command("pause", "pause", send):
            return  # it had finished
        returned = time.time()
        status = self._publication.status(send)
        time.sleep(0.5)
        late = [entry for entry in self._publication.accepted(send) if entry["time"] > returned]
        if late and status is not None and not status.counts[RecipientState.DOTTED]:
            self._score.breach(f"{len(late)} dots of {send} went out after pause had returned")
        assert self._command("resume", "resume", send, "--yes"), f"{send} can't be resumed"
        self._score.disturbed("paused and resumed")

    def _command(self, name: str, *arguments: str) -> bool:
        """False: it was refused."""
        publication, arms = self._publication, [Arm(f"{name}.before-commit"), Arm(f"{name}.committed")]
        for arm in self._chance.choice([[arms[0]], [arms[1]], [], []]):
            if publication.command(*arguments, arms=[arm], seconds=120) == -signal.SIGKILL:
                self._score.killed(arm.point)
        for _ in range(20):  # PostgreSQL may be away
            if publication.command(*arguments, seconds=120) == 0:
                return True
            if publication.store.database.dialect == "sqlite":
                return False
            time.sleep(1)
        return False

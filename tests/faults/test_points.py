"""kill -9 at every named point of the protocol, of a worker: nobody lost, nobody twice, few in doubt."""

from __future__ import annotations

import random
import signal
import time
from functools import partial

import pytest

from tests.faults.failpoints import Arm
from tests.faults.ghosts import haunt
from tests.faults.ground import Ground, all_at_once
from tests.faults.points import BY_NAME, names
from tests.faults.publication import Publication
from tests.servers.waiting import until

pytest_plugins = ("tests.servers.postgres", "tests.faults.fixtures")
pytestmark = pytest.mark.timeout(300)  # leases take their time, and a machine may be slow

SLOW = {"phase": "dot", "delay": 0.02}
SLOWER = {"phase": "dot", "delay": 0.4}
"""Whoever is told to end has something left to give back, on however busy a machine."""

PEOPLE = 60

WORKER_POINTS = names("start", "send", "leave", "ghost")
ON_POSTGRESQL = ["dot.before-commit", "dot.committed", "outcome.before-commit", "reap.committed"]
"""Always killed at on PostgreSQL too; the others in turn, a few a run."""


def kill_at(publication: Publication, arm: Arm) -> list[str]:
    """A worker dies at a point, another one finishes the send; gives what is wrong."""
    send = publication.create(publication.home.name)
    occasion = BY_NAME[arm.point].occasion
    haunted = haunt(publication.store, send) if occasion == "ghost" else 0
    victim = publication.worker(arm)
    if occasion == "leave":
        publication.wait_accepted(send, 8)
        publication.signal(victim, signal.SIGTERM)
    status = publication.nursery.wait(victim, 40)
    if status != -signal.SIGKILL or publication.said("kill") != [arm.point]:
        return [f"{arm} never came: the worker's exit status is {status}\n{publication.logs()}"]
    in_hand = publication.note_hand(victim)
    publication.worker()
    if not publication.finished(send, 60):
        return [f"{arm}: the send isn't finished: {publication.states(send)}\n{publication.logs()}"]
    verdict = publication.judge(send, in_hand + haunted)
    return [f"{arm}: {breach}\n{publication.logs()}" for breach in verdict.breaches]


def killed_at(ground: Ground, chance: random.Random, points: list[str], store: str) -> None:
    relay, slower = ground.relay(SLOW), ground.relay(SLOWER)
    arms = [Arm(point, chance.randint(1, BY_NAME[point].often)) for point in points]
    cases = []
    for arm in arms:
        leaves = BY_NAME[arm.point].occasion == "leave"
        publication = ground.publication(arm.point, slower if leaves else relay, PEOPLE, store=store)
        cases.append(partial(kill_at, publication, arm))
    breaches = [breach for found in all_at_once(cases) for breach in found]
    assert not breaches, "\n\n".join(breaches)


def test_killed_at_every_point_sqlite(ground: Ground, chance: random.Random) -> None:
    """A worker killed at any point of the protocol loses nobody, doubles nobody, and leaves its open dots in doubt."""
    killed_at(ground, chance, WORKER_POINTS, "sqlite")


def test_killed_at_some_points_postgresql(ground: Ground, chance: random.Random) -> None:
    """The same on PostgreSQL, at the points where a transaction hangs and at some others."""
    others = [point for point in WORKER_POINTS if point not in ON_POSTGRESQL]
    killed_at(ground, chance, ON_POSTGRESQL + chance.sample(others, 6), "postgresql")


STOPS = ["claim.committed", "body.out", "dot.committed", "dot.written", "reply.read", "outcome.committed"]


def stop_at(publication: Publication, arm: Arm) -> list[str]:
    """A worker is stopped at a point past its lease, another finishes the send, the first wakes up; what is wrong."""
    send = publication.create(publication.home.name)
    sleeper = publication.worker(arm)
    if not until(lambda: publication.said("stop") == [arm.point], 40, 0.1):
        return [f"{arm} never came\n{publication.logs()}"]
    publication.worker()
    if not publication.finished(send, 60):
        return [f"{arm}: the send isn't finished: {publication.states(send)}\n{publication.logs()}"]
    while_it_slept = {entry["message_id"] for entry in publication.accepted(send)}
    publication.signal(sleeper, signal.SIGCONT)
    time.sleep(2)
    publication.signal(sleeper, signal.SIGTERM)
    status = publication.nursery.wait(sleeper, 20)
    verdict = publication.judge(send, publication.connections)
    late = {entry["message_id"] for entry in publication.accepted(send)} - while_it_slept
    breaches = list(verdict.breaches)
    breaches += [f"it sent {len(late)} dots when it woke"] if late else []
    breaches += [f"it ended with {status} on SIGTERM"] if status else []
    # Whose dot was out when it stopped has a reply waiting, and is settled when it wakes; nobody else got the mail.
    in_doubt, sent = verdict.states.get("in_doubt", 0), verdict.states.get("sent", 0)
    if sent != len(while_it_slept) or sent + in_doubt != PEOPLE:
        breaches.append(f"{len(while_it_slept)} were accepted, and the ledger says {verdict.states}")
    return [f"{arm}: {breach}\n{publication.logs()}" for breach in breaches]


def test_stopped_at_a_point(ground: Ground, chance: random.Random, kind: str) -> None:
    """A worker that is stopped past its lease, wherever it is, sends no dot when it wakes."""
    relay = ground.relay(SLOW)
    # In an open transaction it would hold SQLite's lock for ever; PostgreSQL ends such a transaction.
    points = [*STOPS, "dot.before-commit"] if kind == "postgresql" else STOPS
    arms = [Arm(point, chance.randint(1, BY_NAME[point].often), "stop") for point in points]
    cases = [partial(stop_at, ground.publication(arm.point, relay, PEOPLE, store=kind), arm) for arm in arms]
    breaches = [breach for found in all_at_once(cases) for breach in found]
    assert not breaches, "\n\n".join(breaches)


RESENT = ["dot.committed", "dot.written", "reply.read", "outcome.before-commit"]


def resend_after(publication: Publication, arm: Arm) -> list[str]:
    """A worker dies with dots in its hand, where the operator has chosen ``resend``; what is wrong."""
    send = publication.create(publication.home.name)
    victim = publication.worker(arm)
    if publication.nursery.wait(victim, 40) != -signal.SIGKILL:
        return [f"{arm} never came\n{publication.logs()}"]
    in_hand = publication.note_hand(victim)
    publication.worker()
    if not publication.finished(send, 80) or publication.states(send) != {"sent": PEOPLE}:
        return [f"{arm}: not everybody has it: {publication.states(send)}\n{publication.logs()}"]
    messages: dict[str, list[str]] = {}
    for entry in publication.accepted(send):
        messages.setdefault(entry["message_id"], []).append(entry["sha256"])
    twice = [digests for digests in messages.values() if len(digests) > 1]
    wrong = [] if len(messages) == PEOPLE else [f"{len(messages)} Message-IDs for {PEOPLE} people"]
    wrong += [f"{len(twice)} got it again, and {in_hand} were in doubt"] if len(twice) > in_hand else []
    wrong += [f"what was sent again isn't the same: {one}" for one in twice if len(set(one)) > 1 or len(one) > 2]
    return [f"{arm}: {one}\n{publication.logs()}" for one in wrong]


def test_resent(ground: Ground, chance: random.Random, kind: str) -> None:
    """With ``in_doubt = "resend"`` those a dead worker leaves in doubt get the same message, to the byte, once more."""
    relay = ground.relay(SLOW)
    arms = [Arm(point, chance.randint(1, BY_NAME[point].often)) for point in RESENT]
    made = [ground.publication(arm.point, relay, PEOPLE, store=kind, in_doubt="resend") for arm in arms]
    breaches = all_at_once([partial(resend_after, one, arm) for one, arm in zip(made, arms, strict=True)])
    assert not any(breaches), "\n\n".join(breach for found in breaches for breach in found)

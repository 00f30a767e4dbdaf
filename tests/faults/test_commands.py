"""kill -9 of an operator's command before and after its commit, while a worker delivers; and what they promise."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mailer.model.ledger import SendId, SendState
from tests.faults.failpoints import Arm
from tests.faults.ghosts import leave_in_doubt
from tests.faults.ground import Ground, all_at_once
from tests.faults.publication import Publication
from tests.servers.smtp_process import SmtpProcess
from tests.servers.waiting import until

pytest_plugins = ("tests.servers.postgres", "tests.faults.fixtures")
pytestmark = pytest.mark.timeout(300)  # leases take their time, and a machine may be slow

SAMPLE = Path(__file__).resolve().parents[2] / "templates" / "sample" / "issue.md"

SLOW = {"phase": "mail", "delay": 0.1}
"""Before the body, so that the relay's times are those of the dots."""

PEOPLE = 150
CONNECTIONS = 2
"""With ``SLOW``: a send takes eight seconds, so that commands come in its middle."""

Case = Callable[[Publication, str], None]


def running(publication: Publication) -> SendId:
    """A send with a worker on it, in the middle."""
    send = publication.create(publication.home.name)
    publication.worker()
    publication.wait_accepted(send, 10)
    return send


def killed(publication: Publication, arm: Arm, *arguments: str) -> None:
    """Runs a command that dies at a point."""
    assert publication.command(*arguments, arms=[arm]) == -9, publication.logs()
    assert publication.said("kill") == [arm.point], publication.logs()


def everybody(publication: Publication, send: SendId) -> None:
    """The send ends, and everyone has it once."""
    assert publication.finished(send, 60), publication.logs()
    assert publication.judge(send, 0).breaches == (), publication.logs()
    assert publication.states(send) == {"sent": PEOPLE}


def create(publication: Publication, when: str) -> None:
    killed(publication, Arm(f"create.{when}"), "send", str(SAMPLE), "--yes")
    sends = publication.store.sends.all()
    assert len(sends) == (when == "committed"), sends
    assert publication.command("send", str(SAMPLE), "--yes") == len(sends), "it must refuse what is there already"
    (send,) = publication.store.sends.all()
    publication.worker()
    everybody(publication, send.id)


def pause(publication: Publication, when: str) -> None:
    send = running(publication)
    killed(publication, Arm(f"pause.{when}"), "pause", send)
    assert publication.store.sends.get(send).state == ("paused" if when == "committed" else "running")
    assert publication.command("pause", send) == 0
    returned = time.time()
    time.sleep(0.5)
    assert not [entry for entry in publication.accepted(send) if entry["time"] > returned], publication.logs()
    assert publication.command("resume", send, "--yes") == 0
    everybody(publication, send)


def resume(publication: Publication, when: str) -> None:
    send = running(publication)
    assert publication.command("pause", send) == 0
    killed(publication, Arm(f"resume.{when}"), "resume", send, "--yes")
    assert publication.store.sends.get(send).state == ("running" if when == "committed" else "paused")
    assert publication.command("resume", send, "--yes") == 0
    everybody(publication, send)


def cancel(publication: Publication, when: str) -> None:
    send = running(publication)
    killed(publication, Arm(f"cancel.{when}"), "cancel", send, "--yes")
    assert publication.store.sends.get(send).state == ("cancelled" if when == "committed" else "running")
    assert publication.command("cancel", send, "--yes") == 0
    returned = time.time()
    time.sleep(0.5)
    accepted = publication.accepted(send)
    assert not [entry for entry in accepted if entry["time"] > returned], publication.logs()
    assert publication.judge(send, 0).breaches == (), publication.logs()
    assert publication.states(send) == {"sent": len(accepted), "skipped": PEOPLE - len(accepted)}


def resolve(publication: Publication, when: str) -> None:
    send = publication.create(publication.home.name)
    lost = leave_in_doubt(publication.store, send, PEOPLE - 2, PEOPLE)
    publication.worker()
    killed(publication, Arm(f"resolve.{when}"), "resolve", send, "--in-doubt", "resend", "--yes")
    assert publication.states(send).get("in_doubt", 0) == (0 if when == "committed" else lost)
    assert publication.command("resolve", send, "--in-doubt", "resend", "--yes") == 0
    everybody(publication, send)


def suppress(publication: Publication, when: str, nth: int) -> None:
    """The first commit suppresses, the second skips the rows; the worker must refuse the person after the first."""
    send = running(publication)
    last = f"r{PEOPLE - 1}@{publication.home.name}.example"
    killed(publication, Arm(f"suppress.{when}", nth), "suppressions", "add", last)
    suppressed = (nth, when) != (1, "before-commit")
    assert publication.finished(send, 60), publication.logs()
    assert publication.judge(send, 0).breaches == (), publication.logs()
    assert publication.states(send) == ({"sent": PEOPLE - 1, "skipped": 1} if suppressed else {"sent": PEOPLE})


CASES: dict[str, Case] = {
    "create": create,
    "pause": pause,
    "resume": resume,
    "cancel": cancel,
    "resolve": resolve,
    "suppress-1": partial(suppress, nth=1),
    "suppress-2": partial(suppress, nth=2),
}


ON_POSTGRESQL = ("create", "pause", "suppress-1")


def test_killed_commands(ground: Ground, kind: str) -> None:
    """A command killed before its commit did nothing, one killed after it did everything; either way it can be repeated
    and the send keeps its promise."""
    relay = ground.relay(SLOW)
    cases = [
        partial(case, slow_publication(ground, f"{name}-{when}", relay, kind), when)
        for when in ("before-commit", "committed")
        for name, case in CASES.items()
        if kind == "sqlite" or name in ON_POSTGRESQL
    ]
    all_at_once(cases, 7)


def slow_publication(ground: Ground, name: str, relay: SmtpProcess, store: str) -> Publication:
    return ground.publication(name, relay, PEOPLE, store=store, connections=CONNECTIONS)


def pause_waits(publication: Publication, point: str) -> None:
    send = publication.create(publication.home.name)
    publication.worker(Arm(point, 3, "hold", 2.0))
    assert until(lambda: publication.said("hold") == [point], every=0.05), publication.logs()
    before = len(publication.accepted(send))
    assert publication.command("pause", send) == 0, publication.logs()
    returned = time.time()
    assert len(publication.accepted(send)) > before, "the worker held dots, and pause didn't wait for them"
    time.sleep(0.5)
    late = [entry for entry in publication.accepted(send) if entry["time"] > returned]
    assert not late, f"{len(late)} dots after pause had returned\n{publication.logs()}"
    assert publication.store.sends.get(send).state is SendState.PAUSED
    assert publication.states(send).get("dotted", 0) == 0
    assert publication.command("resume", send, "--yes") == 0
    everybody(publication, send)


def test_pause_waits_for_dots(ground: Ground, kind: str) -> None:
    """A pause that comes while dots are being granted returns when they are out and answered, and not before."""
    relay = ground.relay(SLOW)
    points = ("dot.before-commit", "dot.committed")
    all_at_once([partial(pause_waits, slow_publication(ground, one, relay, kind), one) for one in points])


def test_exact_in_a_fast_send(ground: Ground, kind: str) -> None:
    """Pausing again and again, and cancelling, while two workers deliver at full speed: no dot goes out afterwards."""
    publication = ground.publication("fast", ground.relay({"phase": "mail", "delay": 0.02}), 3000, store=kind)
    send = publication.create("fast")
    publication.worker()
    publication.worker()
    for _ in range(3):
        publication.wait_accepted(send, 40)
        assert publication.command("pause", send) == 0, publication.logs()
        returned = time.time()
        time.sleep(0.3)
        late = [entry for entry in publication.accepted(send) if entry["time"] > returned]
        assert not late, f"{len(late)} dots after pause had returned\n{publication.logs()}"
        assert publication.states(send).get("sent") == len(publication.accepted(send))
        assert publication.command("resume", send, "--yes") == 0
    publication.wait_accepted(send, 40)
    assert publication.command("cancel", send, "--yes") == 0
    returned = time.time()
    time.sleep(0.3)
    accepted = publication.accepted(send)
    assert not [entry for entry in accepted if entry["time"] > returned], publication.logs()
    assert publication.judge(send, 0).breaches == (), publication.logs()
    assert publication.states(send) == {"sent": len(accepted), "skipped": 3000 - len(accepted)}

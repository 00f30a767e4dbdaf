"""How workers end: told to once, told to twice."""

from __future__ import annotations

import signal
import time

from tests.faults.ground import Ground
from tests.servers.waiting import until

pytest_plugins = ("tests.servers.postgres", "tests.faults.fixtures")

QUICK = {"phase": "dot", "times": 1}
"""The first message is answered at once: a destination that hasn't shown to be quick leaves a connection free."""


def test_sigterm(ground: Ground, kind: str) -> None:
    """SIGTERM with dots in flight: they are awaited, nothing new goes out, nobody is in doubt, exit status 0."""
    publication = ground.publication("drained", ground.relay(QUICK, {"phase": "dot", "delay": 1.0}), 60, store=kind)
    send = publication.create("drained")
    worker = publication.worker()
    assert until(lambda: publication.states(send).get("dotted") == 4, every=0.1), publication.logs()
    publication.signal(worker, signal.SIGTERM)
    told = time.time()
    assert publication.nursery.wait(worker, 20) == 0, publication.logs()
    assert time.time() - told < 10, publication.logs()
    states = publication.states(send)
    assert set(states) == {"sent", "pending"}, f"{states}\n{publication.logs()}"
    assert states["sent"] == len(publication.accepted(send)) <= 9


def test_second_sigterm(ground: Ground) -> None:
    """A second SIGTERM ends a worker at once, with status 1; the dots in flight are in doubt, and nobody else is."""
    relay = ground.relay(QUICK, {"phase": "dot", "delay": 60.0, "times": 4})
    publication = ground.publication("twice", relay, 60)
    send = publication.create("twice")
    worker = publication.worker()
    assert until(lambda: publication.states(send).get("dotted") == 4, every=0.1), publication.logs()
    publication.signal(worker, signal.SIGTERM)
    assert publication.nursery.wait(worker, 1.5) is None, "it didn't wait for the dots in flight"
    publication.signal(worker, signal.SIGTERM)
    assert publication.nursery.wait(worker, 3) == 1, publication.logs()
    publication.note_hand(worker)
    publication.worker()
    assert publication.finished(send, 60), f"{publication.states(send)}\n{publication.logs()}"
    assert publication.judge(send).breaches == (), publication.logs()
    assert publication.states(send) == {"sent": 56, "in_doubt": 4}

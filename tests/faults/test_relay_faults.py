"""A relay that does everything wrong, each thing to one recipient of one real send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mailer.model.ledger import RecipientState
from tests.faults.ground import Ground

pytest_plugins = ("tests.servers.postgres", "tests.faults.fixtures")

PEOPLE = 60


@dataclass(frozen=True, slots=True)
class Case:
    """What the relay does to one recipient, and what must become of that one. ``delivered``: whether the relay has
    taken the message, whatever it said."""

    name: str
    fault: dict[str, Any]
    state: RecipientState
    delivered: bool
    attempts: int = 1


SENT, FAILED, IN_DOUBT = RecipientState.SENT, RecipientState.FAILED, RecipientState.IN_DOUBT

CASES = (
    # before the dot: nothing was delivered, and nobody is in doubt
    Case("5xx at RCPT", {"phase": "rcpt", "reply": "550 5.1.1 no such user"}, FAILED, False),
    Case("4xx at RCPT once (greylisting)", {"phase": "rcpt", "reply": "451 4.7.1 later", "times": 1}, SENT, True, 2),
    Case("421 at RCPT once", {"phase": "rcpt", "reply": "421 4.3.2 bye", "drop": True, "times": 1}, SENT, True, 2),
    Case("garbage at RCPT once", {"phase": "rcpt", "reply": "what?", "times": 1}, SENT, True, 2),
    Case("half a reply at RCPT, then gone, once", {"phase": "rcpt", "reply": "250-2.1.5 a", "drop": True, "times": 1},
         SENT, True, 2),
    Case("5xx at DATA", {"phase": "data", "reply": "552 5.3.4 too big"}, FAILED, False),
    Case("gone at DATA once", {"phase": "data", "drop": True, "times": 1}, SENT, True, 2),
    Case("gone in the middle of the body, once", {"phase": "body", "drop": True, "times": 1}, SENT, True, 2),
    Case("slow at RCPT", {"phase": "rcpt", "delay": 1.0}, SENT, True),
    # after the dot: only a reply says what happened
    Case("4xx at the dot once", {"phase": "dot", "reply": "451 4.3.0 later", "times": 1}, SENT, True, 2),
    Case("421 at the dot once", {"phase": "dot", "reply": "421 4.3.2 bye", "drop": True, "times": 1}, SENT, True, 2),
    Case("5xx at the dot", {"phase": "dot", "reply": "554 5.6.0 no"}, FAILED, False),
    Case("slow at the dot", {"phase": "dot", "delay": 1.0}, SENT, True),
    Case("taken, and gone without a word", {"phase": "dot", "drop": True, "record": True}, IN_DOUBT, True),
    Case("not taken, and gone without a word", {"phase": "dot", "drop": True}, IN_DOUBT, False),
    Case("taken, and garbage said", {"phase": "dot", "reply": "what?", "record": True}, IN_DOUBT, True),
    Case("taken, and half a reply said", {"phase": "dot", "reply": "250-2.0.0 a", "drop": True, "record": True},
         IN_DOUBT, True),
)  # fmt: skip


def test_everything_goes_wrong(ground: Ground, kind: str) -> None:
    """Whatever a relay does to one recipient is recorded of that one, as it was; everybody else has it once."""
    relay = ground.relay(*({**case.fault, "to": f"r{number}@"} for number, case in enumerate(CASES)))
    publication = ground.publication("wrong", relay, PEOPLE, store=kind)
    send = publication.create("wrong")
    publication.worker()
    assert publication.finished(send, 60), f"{publication.states(send)}\n{publication.logs()}"

    taken = [entry["recipient"] for entry in publication.accepted(send)]
    rows = {row.email.partition("@")[0]: row for row in publication.store.sends.recipients(send, None)}
    wrong = []
    for number, case in enumerate(CASES):
        row = rows[f"r{number}"]
        was = (row.state, taken.count(row.email), row.attempts)
        if was != (case.state, case.delivered, case.attempts):
            wrong.append(f"{case.name}: {was}, and should be {case}\n{row}")
    assert not wrong, "\n".join(wrong) + publication.logs()
    in_doubt = sum(case.state is IN_DOUBT for case in CASES)
    assert publication.judge(send, in_doubt).breaches == (), publication.logs()
    failed = sum(case.state is FAILED for case in CASES)
    assert publication.states(send) == {"sent": PEOPLE - in_doubt - failed, "in_doubt": in_doubt, "failed": failed}

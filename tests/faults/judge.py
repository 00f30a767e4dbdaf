"""The invariant, from outside: what the relay has logged against what the ledger says.

Nobody is lost, nobody has it twice, the states add up, and those in doubt are no more than the dots that were in the
hands of whoever was killed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailer.model.ledger import RecipientReport, RecipientState

FINAL = frozenset(
    {
        RecipientState.SENT,
        RecipientState.FAILED,
        RecipientState.SKIPPED,
        RecipientState.IN_DOUBT,
        RecipientState.EXPIRED,
    }
)

DELIVERED = frozenset({RecipientState.SENT, RecipientState.IN_DOUBT})
"""States in which the relay's log may name a recipient."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``breaches``: a sentence each; none is what is hoped for. ``twice``, ``lost``: Message-IDs."""

    breaches: tuple[str, ...]
    states: Mapping[str, int]
    twice: tuple[str, ...] = field(default=())
    lost: tuple[str, ...] = field(default=())


def judge(
    audience: int,
    rows: Sequence[RecipientReport],
    message_id: Callable[[int], str],
    accepted: Iterable[Mapping[str, Any]],
    doubtful: int,
) -> Verdict:
    """``accepted``: what the relay logged for this send. ``doubtful``: how many may be in doubt at most."""
    taken = Counter(entry["message_id"] for entry in accepted)
    state_of = {message_id(row.position): row.state for row in rows}
    states = Counter(row.state.value for row in rows)
    twice = tuple(one for one, times in taken.items() if times > 1)
    lost = tuple(
        one
        for one, state in state_of.items()
        if state not in FINAL or (state is RecipientState.SENT and one not in taken)
    )
    breaches = [f"{one} was accepted {taken[one]} times" for one in twice]
    breaches += [f"{one} is lost: the ledger says {state_of[one]}, the relay {taken[one]} times" for one in lost]
    breaches += [f"{one} was accepted, and the ledger doesn't know it" for one in taken if one not in state_of]
    breaches += [
        f"{one} was accepted, and the ledger says {state}"
        for one, state in state_of.items()
        if one in taken and state in FINAL and state not in DELIVERED
    ]
    if len(state_of) != audience:
        breaches.append(f"an audience of {audience}, and {len(state_of)} rows")
    if states["in_doubt"] > doubtful:
        breaches.append(f"{states['in_doubt']} are in doubt, and at most {doubtful} may be")
    return Verdict(tuple(breaches), dict(states), twice, lost)

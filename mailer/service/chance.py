"""The world's non-determinism, passed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailer.model.ledger import WorkerId


@dataclass(frozen=True, slots=True)
class Chance:
    """``now`` in Unix seconds, ``jitter`` in 0…1, new worker ids."""

    now: Callable[[], float]
    jitter: Callable[[], float]
    new_worker: Callable[[], WorkerId]

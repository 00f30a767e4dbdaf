"""What a send's complaints call for."""

from __future__ import annotations

import pytest

from mailer.model.ledger import SendId, SendState
from mailer.service.complaints import FEW, SMALL, weigh
from mailer.service.inbox import Complaints

ALARM, PAUSE = 0.001, 0.003


@pytest.mark.parametrize(
    ("complaints", "sent", "noted", "called_for"),
    [
        (0, 0, 0.0, "nothing"),
        (1, SMALL, 0.0, "warn"),  # 0.1 % is the alarm
        (1, SMALL + 1, 0.0, "nothing"),
        (2, SMALL, 0.0, "warn"),
        (3, SMALL, 0.0, "pause"),  # 0.3 % pauses
        (29, 10_000, 0.0, "warn"),
        (FEW - 1, SMALL - 1, 0.0, "nothing"),  # too few to say anything
        (FEW, SMALL - 1, 0.0, "pause"),
        (1, SMALL, 0.001, "nothing"),  # noted already
        (19, 10_000, 0.001, "nothing"),
        (20, 10_000, 0.001, "warn"),  # doubled
        (30, 10_000, 0.002, "pause"),  # warned of, and now far too many
        (59, 10_000, 0.003, "nothing"),  # somebody has resumed it, and decided
        (60, 10_000, 0.003, "pause"),
    ],
)
def test_weigh(complaints: int, sent: int, noted: float, called_for: str) -> None:
    """At the alarm it is a warning, at the pause a pause; each once, and again when the rate has doubled."""
    found = Complaints(SendId("a-1"), SendState.RUNNING, complaints, sent, noted)
    assert weigh(found, ALARM, PAUSE) == called_for

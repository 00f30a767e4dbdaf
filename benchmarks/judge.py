"""Sink log against ledger: the judgement from outside."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path


def judge(log: Path, recipients: Sequence[Mapping[str, object]], counts: Mapping[str, int], audience: int) -> list[str]:
    """What is wrong; empty when every recipient that the ledger calls sent is in the log exactly once, and nobody else.

    ``recipients`` is what ``mailer recipients --json`` says, ``counts`` what ``mailer status`` says.
    """
    taken = Counter(json.loads(line)["message_id"] for line in log.read_text().splitlines()) if log.exists() else {}
    sent = [row["message_id"] for row in recipients if row["state"] == "sent"]
    found = {
        "taken twice": sum(count > 1 for count in taken.values()),
        "taken, not in the ledger as sent": len(set(taken) - set(sent)),
        "sent in the ledger, never taken": len(set(sent) - set(taken)),
        "not sent": audience - len(sent),
        "missing from the sum of the states": abs(sum(counts.values()) - audience),
    }
    return [f"{count} {what}" for what, count in found.items() if count]

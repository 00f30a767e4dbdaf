"""What one recipient of one mail met, in the words of RFC 3464 §2.3.3, before it becomes an event."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What the reporting server did. Members equal their plain strings."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True)
class Outcome:
    """``action`` is None where the mail names none; ``status`` is a code of RFC 3463 or empty."""

    recipient: str
    action: Action | None = None
    status: str = ""
    diagnostic: str = ""

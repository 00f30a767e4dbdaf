"""Who mail goes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

COLUMNS = ("email", "first_name", "last_name", "language", "timezone")
"""Subscriber columns that an import fills and an expression may name; every other CSV column is an attribute."""

COMPUTED = ("referrals_this_week",)
"""Subscriber names that are computed, not stored."""


COMPLAINED, BOUNCED, SOFT_BOUNCES = "complained", "bounced", "soft bounces"
"""Reasons of our own for a suppression; an operator may give any. What a complaint has suppressed only an operator may
take back."""


class SubscriberStatus(StrEnum):
    """Whether a person wants mail. Suppression is another thing: it says whether mail may go to an address."""

    UNCONFIRMED = "unconfirmed"
    SUBSCRIBED = "subscribed"
    UNSUBSCRIBED = "unsubscribed"


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One subscriber as an expression sees them. ``id`` is 0 for a persona that isn't in the store."""

    id: int
    email: str
    first_name: str = ""
    last_name: str = ""
    language: str = ""
    timezone: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    referrals_this_week: int = 0
    status: SubscriberStatus = SubscriberStatus.SUBSCRIBED

    def value(self, name: str) -> object:
        """The value an expression ``subscriber.<name>`` stands for; an empty string where there is none."""
        if name in COLUMNS or name in COMPUTED:
            return getattr(self, name)
        return self.attributes.get(name, "")


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a person may change about themselves. ``paused_until`` in Unix seconds: no send that begins before."""

    first_name: str = ""
    last_name: str = ""
    language: str = ""
    paused_until: float | None = None


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why mail may not go to an address. ``created_at`` is in Unix seconds."""

    email: str
    reason: str
    source: str
    created_at: float

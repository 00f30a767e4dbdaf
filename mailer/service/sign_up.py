"""Signing up by double opt-in: asked for on a public form, confirmed by whoever reads the address's mail.

Anybody can type anybody's address into the form. So a request is stored, limited and answered in the same way whomever
it names, and becomes nothing by itself; only the worker that sends the mail looks at whose address it is. What it has
in it goes no further than the database until the link in the mail is followed and the button behind it pressed.

============================================  ====================  =======================================
the address                                   gets                  confirming
============================================  ====================  =======================================
is unknown, has unsubscribed, is unconfirmed  a link                subscribes
is suppressed because mail to it bounced      a link                subscribes, and lifts the suppression
is suppressed for any other reason            nothing               changes nothing: an operator has to
is subscribed, and mail may go there          word that it is so
============================================  ====================  =======================================

A mail is sent at least once: it is claimed for ``CLAIM_SECONDS``, and a worker that dies in the middle leaves it to the
next one after that. One that comes twice harms nobody, and one that is lost can be asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mailer.model.people import BOUNCED, SOFT_BOUNCES, SubscriberStatus

LINK_SECONDS = 7 * 86400.0
"""How long the link in a confirmation mail works. Then the request is forgotten."""

PAUSE_SECONDS = 3600.0
"""Between two mails to one address."""

MAILS = 3
"""To one address, within ``LINK_SECONDS``: somebody whom a bot torments, or who doesn't want to, gets no more."""

DAY_SECONDS = 86400.0

CLAIM_SECONDS = 120.0
"""How long a worker has for a mail before another one takes it for lost. Longer than it may take, see ``Confirmer``."""

LIFTED = frozenset({BOUNCED, SOFT_BOUNCES})
"""Reasons of suppressions that a confirmation lifts: that it came proves that mail arrives."""


class Letter(StrEnum):
    """What a worker writes to somebody who asked."""

    CONFIRM = "confirm"  # the link
    SUBSCRIBED = "subscribed"  # that there is nothing to do


class Confirmed(StrEnum):
    """What came of a confirmation."""

    SUBSCRIBED = "subscribed"
    BARRED = "barred"  # suppressed for a reason that only an operator may lift
    GONE = "gone"  # too old, or used up by somebody who has left since


class SignUpsExhausted(Exception):
    """As many mails as a day may have were asked for within the last one."""


@dataclass(frozen=True, slots=True)
class SignUp:
    """What the form says. ``key`` as in ``Address.key``; ``referrer``: the subscriber whose share link led here."""

    email: str
    key: str
    first_name: str = ""
    referrer: int | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A mail that a worker has claimed, and who the address is now: None where nobody is known, nothing suppressed."""

    number: int
    email: str
    asked_at: float
    attempts: int
    status: SubscriberStatus | None
    suppression: str | None


class SignUps(Protocol):
    """Requests to be subscribed. Each is one mail, by its number, which is never given again."""

    def ask(self, sign_up: SignUp, now: float, per_day: int) -> int | None:
        """Stores a request; gives its number. None: there was one within ``PAUSE_SECONDS``, or there were ``MAILS``.

        Raises ``SignUpsExhausted`` when there were ``per_day`` of all addresses within the last 24 hours.
        """

    def due(self, now: float, limit: int) -> list[int]:
        """Whose mail is to be sent now, the oldest first."""

    def claim(self, number: int, now: float) -> Waiting | None:
        """Takes a mail that is due, for ``CLAIM_SECONDS``. None: it isn't, or somebody else has it."""

    def settle(self, number: int, attempts: int, again: float | None) -> None:
        """How often it was tried, and when it is due again (None: it is done with)."""

    def confirm(self, number: int, asked_at: int, now: float) -> Confirmed:
        """Subscribes whoever asked at that second, or does nothing; committed when it returns.

        It works once, and uses up what else was asked for the address; done again by somebody who is subscribed still,
        it gives the same answer. A name that is there already stays; a new subscriber counts for their referrer, one
        who comes back for nobody.
        """

    def forget(self, now: float) -> int:
        """Deletes requests older than ``LINK_SECONDS``; gives how many."""


def letter_for(status: SubscriberStatus | None, suppression: str | None) -> Letter | None:
    """What is written to an address; None: nothing. ``suppression``: its reason, where the address is suppressed."""
    if suppression is not None:
        return Letter.CONFIRM if suppression in LIFTED else None
    return Letter.SUBSCRIBED if status is SubscriberStatus.SUBSCRIBED else Letter.CONFIRM

"""Complaints against a send: weighed whenever a new one has come.

Mailbox providers judge a sender by its rate of complaints, and block it above 0.3 %. So at ``complaint_alarm`` the
operator is warned, and at ``complaint_pause`` the send pauses itself; each once, and again only when the rate has
doubled since: an operator who resumes has decided.
"""

from __future__ import annotations

import logging
from typing import Literal

from mailer.errors import SendError
from mailer.model.ledger import SendState
from mailer.model.settings import Bounces
from mailer.service.inbox import Complaints
from mailer.service.ports import Store

log = logging.getLogger(__name__)

SMALL = 1000
"""Messages sent, below which a rate says little."""

FEW = 3
"""Complaints that it takes below that."""


def weigh(found: Complaints, alarm: float, pause: float) -> Literal["nothing", "warn", "pause"]:
    """What a send's complaints call for; rates are complaints for each message sent so far."""
    if not found.sent or (found.sent < SMALL and found.complaints < FEW):
        return "nothing"
    rate = found.complaints / found.sent
    if rate >= pause and (found.noted_rate < pause or rate >= 2 * found.noted_rate):
        return "pause"
    if rate >= alarm and (found.noted_rate < alarm or rate >= 2 * found.noted_rate):
        return "warn"
    return "nothing"


def heed_complaints(store: Store, bounces: Bounces, now: float) -> None:
    """Warns of sends with too many complaints, and pauses those that run with far too many."""
    for found in store.complaints.unweighed():
        verdict = weigh(found, bounces.complaint_alarm, bounces.complaint_pause)
        if verdict == "nothing":
            # While a send has hardly begun, its rate rises and falls: it is weighed again as more goes out.
            if found.sent >= SMALL or found.state in (SendState.FINISHED, SendState.CANCELLED):
                store.complaints.weighed(found.send, found.complaints, found.noted_rate, "")
            continue
        rate = found.complaints / found.sent
        complaints = "1 complaint" if found.complaints == 1 else f"{found.complaints} complaints"
        reason = f"{complaints} about {found.sent} messages ({rate:.2%})"
        if verdict == "pause" and found.state is SendState.RUNNING:
            try:
                store.sends.pause(found.send, f"{reason}: find out why before you resume", now)
                log.error("send %s has paused itself: %s", found.send, reason)
            except SendError:  # it has just ended
                log.warning("send %s: %s", found.send, reason)
        else:
            log.warning("send %s: %s", found.send, reason)
        store.complaints.weighed(found.send, found.complaints, rate, reason)

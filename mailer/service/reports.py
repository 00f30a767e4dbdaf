"""Mail that came back: read, tied to a message by a signed address, and put into the inbox of events.

What ties it is the token of a signed return path (``mailer.wire.verp``): in an address that the mail was sent to, else
in the envelope sender that a complaint names, else in the header of the message that is returned, as most complaints
have it. Only who was handed the message knows its token. A report without one may be forged: its events are kept as
unverified, and change nothing. ``Message-ID`` is signed as well, but proves nothing here: every reply and every forward
shows it to others.

A mail to the address in ``List-Unsubscribe`` means "unsubscribe me", whatever it says, unless it is itself a report or
it says ``Auto-Submitted: auto-replied`` (RFC 3834 §5): a program has answered to the wrong address, and nobody asks for
anything. What programs send on a person's behalf is ``auto-generated`` at most, and is heeded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailer.bounces.event import Event, EventType, Reason
from mailer.bounces.message import Kind, Report, read_messages
from mailer.errors import AddressError
from mailer.model.address import parse_address
from mailer.model.settings import Bounces
from mailer.service.complaints import heed_complaints
from mailer.service.events import CHUNK, act_on_events
from mailer.service.inbox import MAIL, NewEvent
from mailer.service.ports import Store
from mailer.wire.verp import Verp, find_verp

log = logging.getLogger(__name__)

MAX_MAIL = 16 * 1024 * 1024
"""Bytes of a mail that are read: what says why it came back stands at its beginning."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a mail meant. ``events``: as they are kept; ``stored``: how many of them are new."""

    kind: Kind
    events: tuple[NewEvent, ...] = ()
    stored: int = 0


def receive_mail(store: Store, secret: bytes, raw: bytes, now: float) -> list[Taken]:
    """Reads a mail (or an mbox, RFC 4155) and stores its events; gives what each mail meant. Raises ``StoreError``.

    May be done again with the same: an event is stored once.
    """
    return [_receive(store, secret, report, now) for report in read_messages(raw)]


def act_on_reports(store: Store, secret: bytes, bounces: Bounces, now: Callable[[], float]) -> int:
    """Acts on all events that wait, whoever told them; gives how many there were. Raises ``StoreError``."""
    acted = 0
    while True:
        count = act_on_events(store.events, secret, bounces.soft_limit, now())
        acted += count
        if count < CHUNK:
            break
    heed_complaints(store, bounces, now())
    return acted


def _receive(store: Store, secret: bytes, report: Report, now: float) -> Taken:
    token = _token(secret, report)
    found = store.sends.message_at(token.send, token.position) if token else None
    if token is None or found is None:
        return _keep(store, report, [NewEvent(event, verified=False) for event in report.events], now)
    send, email = found
    if report.kind in ("other", "auto-reply") and _asks_to_leave(secret, report):
        return _keep(store, report, [NewEvent(_unsubscribe(email, report), send, token.position)], now)
    # A message has one recipient, whose mail may have gone on to another address. A mail about several tells of an
    # alias or a list behind ours: only what names ours is about ours.
    only = len(report.events) == 1
    return _keep(
        store,
        report,
        [
            NewEvent(event, send, token.position)
            if only or _same(event.recipient, email)
            else NewEvent(event, verified=False)
            for event in report.events
        ],
        now,
    )


def _keep(store: Store, report: Report, events: Sequence[NewEvent], now: float) -> Taken:
    stored = store.events.add(MAIL, events, now) if events else 0
    if any(not one.verified for one in events):
        log.info("a %s without a valid token is kept as unverified and changes nothing", report.kind)
    return Taken(report.kind, tuple(events), stored)


def _token(secret: bytes, report: Report) -> Verp | None:
    places = (*report.sent_to, report.mail_from, *(value for _, value in report.original))
    return next((token for place in places if (token := find_verp(secret, place))), None)


def _asks_to_leave(secret: bytes, report: Report) -> bool:
    """Whether the mail itself went to the address for unsubscribing, and isn't a program's answer. Every message has
    that in its header: whoever returns one, with "this is no spam" or an automatic reply, doesn't ask for anything."""
    token = next((token for place in report.sent_to if (token := find_verp(secret, place))), None)
    return token is not None and token.leave and not report.auto_replied


def _same(one: str, other: str) -> bool:
    try:
        return parse_address(one).key == parse_address(other).key
    except AddressError:
        return False


def _unsubscribe(email: str, report: Report) -> Event:
    return Event(
        EventType.UNSUBSCRIBED, recipient=email, reason=Reason.UNSUBSCRIBED, event_id=f"leave-{report.digest[:26]}"
    )

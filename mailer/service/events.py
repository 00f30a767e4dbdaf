"""Events: taken in from providers' webhooks, and acted on by a worker.

Taking in: who sent it is proven, what it says is read, all of its events are stored in one transaction; only then the
provider hears that they were taken. Acting comes later, in groups, and may be done again after a crash.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mailer.bounces.event import Event
from mailer.bounces.mail.outcome import Outcome
from mailer.bounces.mail.status import why
from mailer.bounces.providers import mailgun, ses
from mailer.bounces.request import Request, Secrets
from mailer.bounces.webhook import find_provider, parse_kept
from mailer.errors import AddressError, StoreError, StoreUnavailable
from mailer.model.address import parse_address
from mailer.model.ledger import SendId
from mailer.model.settings import Bounces
from mailer.service.complaints import heed_complaints
from mailer.service.effects import Effect, counted, effect_of, settles
from mailer.service.inbox import MAIL, RELAY, Decision, Events, KeptEvent, NewEvent, NewEvents, Once
from mailer.service.ports import Store
from mailer.wire.message_id import own_message

log = logging.getLogger(__name__)

CHUNK = 1000
"""Events that are acted on in one transaction: some twenty milliseconds, so that no dot waits for long."""

ROUND_SECONDS = 4.0
"""How long a round goes on while more events wait; the next round comes soon."""

FORGET_AT_ONCE = 1000
"""Old events that are deleted in one transaction, one a round."""

REPLAY_AT_ONCE = 1000
"""Events that one transaction of a replay looks at."""

_UNCLASSIFIED = frozenset({RELAY, MAIL})


@dataclass(frozen=True, slots=True)
class Reading:
    """What a provider's request says: ``told`` is to be stored before it is answered.

    ``confirm``: a URL to GET before that, or None.
    """

    told: NewEvents
    confirm: str | None = None


def read_webhook(provider: str, request: Request, secrets: Secrets, now: float) -> Reading:
    """Verifies a request and reads it. ``now``: Unix seconds.

    Raises ``WebhookError``, ``CertificateNeeded`` among them.
    """
    module = find_provider(provider)
    module.verify(request, secrets, now)
    events = [NewEvent(event) for event in module.parse(request)]
    once = None
    if provider == "mailgun":
        once = Once(mailgun.token(request), hashlib.sha256(request.body).hexdigest())
    confirm = ses.confirmation_url(request) if provider == "ses" else None
    return Reading(NewEvents(provider, events, now, once), confirm)


def act_on_events(events: Events, secret: bytes, soft_limit: int, now: float) -> int:
    """Acts on the oldest events that wait, and on what relays have refused; gives how many there were.

    ``CHUNK`` or more: there may be more. ``secret`` is the key that our Message-IDs are signed with.
    """
    waiting = [*events.waiting(CHUNK), *events.refusals(CHUNK)]
    if waiting:
        _act(events, [decide(one, secret) for one in waiting], soft_limit, now)
    return len(waiting)


async def act_on_backlog(store: Store, secret: bytes, bounces: Bounces, now: Callable[[], float]) -> None:
    """A round: acts on all that waits, or on as much as there is time for; heeds complaints; forgets what is old."""
    ends = now() + ROUND_SECONDS
    while await asyncio.to_thread(act_on_events, store.events, secret, bounces.soft_limit, now()) >= CHUNK:
        if now() > ends:
            break
    await asyncio.to_thread(heed_complaints, store, bounces, now())
    await asyncio.to_thread(store.events.forget, now(), FORGET_AT_ONCE)


def decide(kept: KeptEvent, secret: bytes) -> Decision:
    """What is to be done about an event. An event that nobody has verified changes nothing."""
    if kept.again:
        kept = _read_again(kept)
    event = kept.event
    at = min(event.timestamp or kept.received_at, kept.received_at)
    if not kept.verified:
        return Decision(kept, Effect.NOTHING, None, None, "", at, frozenset())
    effect = effect_of(event, classified=kept.provider not in _UNCLASSIFIED)
    if kept.provider == RELAY and event.reason is None:  # for the totals; what follows is decided by what was said
        said = Outcome(event.recipient, status=event.status, diagnostic=event.diagnostic)
        kept = replace(kept, event=replace(event, reason=why(said)))
    return Decision(
        kept,
        effect,
        settles(event),
        _message(kept, secret),
        _address_key(event),
        at,
        counted(event, effect, in_session=kept.provider == RELAY),
    )


def replay(events: Events, provider: str = "", since: float = 0.0) -> int:
    """Lets kept events be read and acted on once more, by a worker; gives how many.

    What follows from them is the same as the first time, unless this version reads or judges them otherwise. Arguments
    as for ``Events.replay``.
    """
    count, after = 0, 0
    while True:
        waiting, last = events.replay(provider, since, after, REPLAY_AT_ONCE)
        if last is None:
            return count
        count, after = count + waiting, last


def _read_again(kept: KeptEvent) -> KeptEvent:
    """As today's rules read what its source wrote. Several recipients may share its words: each finds its own."""
    found = parse_kept(kept.provider, kept.event.raw) if isinstance(kept.event.raw, str) else []
    if len(found) > 1:
        found = [one for one in found if one.recipient == kept.event.recipient]
    if len(found) != 1:
        return kept
    return replace(kept, event=replace(found[0], event_id=kept.event.event_id, raw=kept.event.raw))


def _message(kept: KeptEvent, secret: bytes) -> tuple[SendId, int] | None:
    if kept.send is not None and kept.position is not None:
        return kept.send, kept.position
    named = kept.event.message_id
    return own_message(secret, named) if named else None


def _address_key(event: Event) -> str:
    try:
        return parse_address(event.recipient).key if event.recipient else ""
    except AddressError:
        return ""


def _act(events: Events, decisions: Sequence[Decision], soft_limit: int, now: float) -> None:
    """One that the database doesn't take must not stop all others: the group is halved until it is found."""
    try:
        acted = events.act(decisions, now, soft_limit)
    except StoreUnavailable:
        raise
    except StoreError as error:
        if len(decisions) > 1:
            half = len(decisions) // 2
            _act(events, decisions[:half], soft_limit, now)
            _act(events, decisions[half:], soft_limit, now)
            return
        only = decisions[0]
        if only.effect is Effect.NOTHING:
            raise
        log.error("event %s can't be acted on and is left aside: %s", only.kept.source, error)
        nothing = replace(only, effect=Effect.NOTHING, settles=None, counted=frozenset())
        events.act([nothing], now, soft_limit)
        return
    if acted.suppressed or acted.unsubscribed or acted.settled:
        log.info(
            "events=%d acted on: suppressed=%d unsubscribed=%d settled=%d",
            acted.events,
            acted.suppressed,
            acted.unsubscribed,
            acted.settled,
        )
    for send, count in acted.blocked.items():
        said = next(
            (
                f"{one.kept.provider} says: {one.kept.event.diagnostic or one.kept.event.type}"
                for one in decisions
                if one.effect is Effect.TELL and one.kept.event.diagnostic
            ),
            "see the events' reasons",
        )
        log.warning("%d messages of send %s were refused for our sake, nobody is suppressed; %s", count, send, said)

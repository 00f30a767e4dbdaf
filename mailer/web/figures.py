"""What ``/metrics`` says of sends, workers, suppressions, and of what came back.

Counting a send's states means going through its ledger, a million rows perhaps. A send that is at rest is therefore
counted seldom; of one that runs, ``mailer.web.metrics`` bounds the share of time that counting takes.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from mailer.errors import StoreError
from mailer.model.ledger import RecipientState, Send, SendKind, SendState, Status
from mailer.service.heart import LEASE
from mailer.service.ports import Store

log = logging.getLogger(__name__)

RECENT = 5
"""Sends at rest that are shown, the newest."""

ACTIVE = 20
"""Sends not at rest that are shown, the newest."""

AT_REST = frozenset({SendState.FINISHED, SendState.CANCELLED})

SELDOM = 300.0
"""Seconds for which the counts of a send at rest are kept: late replies and bounces may still change a few."""

REASONS = {"added by hand": "by hand", "imported": "imported"}
"""Reasons of suppressions that are ours, and the label's value for each. ``BOUNCE_WORDS`` stand for themselves."""

BOUNCE_WORDS = frozenset({"bounced", "complained", "soft bounces"})


def gauge(name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    """One metric with a value for each combination of labels."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


class StoreFigures:
    """A ``mailer.web.metrics.Source``: what the database knows. ``clock`` gives Unix seconds."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._at_rest: dict[int, tuple[float, Status]] = {}

    def __call__(self) -> Iterable[Metric]:
        try:
            return [*self._read(self._clock()), gauge("mailer_store_up", "Whether the database answers.", (), {(): 1})]
        except StoreError as error:
            log.warning("metrics without the database's: %s", error)
            return [gauge("mailer_store_up", "Whether the database answers.", (), {(): 0})]

    def _read(self, now: float) -> Iterator[Metric]:
        sends = [send for send in self._store.sends.all() if send.kind is SendKind.ISSUE]
        active = [send for send in sends if send.state not in AT_REST][-ACTIVE:]
        resting = [send for send in sends if send.state in AT_REST][-RECENT:]
        statuses = [self._status(send, now) for send in (*resting, *active)]
        self._at_rest = {send.key: self._at_rest[send.key] for send in resting}
        alive = self._store.workers.alive(now, LEASE)
        states = Counter(send.state for send in sends)
        yield gauge(
            "mailer_sends", "Sends by state.", ("state",), {(str(state),): states[state] for state in SendState}
        )
        yield gauge(
            "mailer_recipients",
            "Recipients of active and recent sends by state.",
            ("send", "state"),
            {(s.send.id, str(state)): count for s in statuses for state, count in s.counts.items()},
        )
        yield gauge(
            "mailer_unsubscribed",
            "People a send reached who have left since it began.",
            ("send",),
            {(s.send.id,): s.unsubscribed for s in statuses},
        )
        yield gauge(
            "mailer_send_rate",
            "Messages a second that relays took in the last half minute.",
            ("send",),
            {(s.send.id,): s.rate_per_second if alive else 0.0 for s in statuses if s.send.state not in AT_REST},
        )
        yield gauge(
            "mailer_queue_age_seconds",
            "For how long the oldest message that could go out has been waiting.",
            (),
            {(): max((queue_age(s, now) for s in statuses), default=0.0)},
        )
        yield gauge("mailer_workers", "Workers that are alive.", (), {(): alive})
        yield gauge("mailer_suppressions", "Suppressed addresses by reason.", ("reason",), self._suppressions())
        came_back = CounterMetricFamily(
            "mailer_events",
            "What came back and was acted on. Provider 'relay': refusals in the SMTP session; 'mail': bounce mails.",
            labels=("provider", "type", "reason"),
        )
        for labels, total in sorted(self._store.events.totals().items()):
            came_back.add_metric(labels, total)
        yield came_back
        waiting, since = self._store.events.backlog()
        yield gauge("mailer_events_waiting", "Events that are stored and not acted on yet.", (), {(): waiting})
        age = 0.0 if since is None else max(0.0, now - since)
        yield gauge("mailer_events_age_seconds", "For how long the oldest of them has been waiting.", (), {(): age})

    def _status(self, send: Send, now: float) -> Status:
        """A send's figures: kept for a while when it is at rest."""
        kept = self._at_rest.get(send.key)
        if kept and now - kept[0] < SELDOM and kept[1].send == send:
            return kept[1]
        status = self._store.sends.status(send.id, now)
        if send.state in AT_REST:
            self._at_rest[send.key] = (now, status)
        return status

    def _suppressions(self) -> dict[tuple[str, ...], float]:
        """By reason, where the reason is one of ours: any other is somebody's own text, and may name a person."""
        found: Counter[str] = Counter()
        for reason, count in self._store.suppressions.by_reason().items():
            found[REASONS.get(reason, reason if reason in BOUNCE_WORDS else "other")] += count
        return {(reason,): count for reason, count in sorted(found.items())}


def queue_age(status: Status, now: float) -> float:
    """Seconds since the oldest of a send's waiting messages could have gone out; 0 where none waits or it is held."""
    send, counts = status.send, status.counts
    if send.state is SendState.SCHEDULED and send.scheduled_at is not None:
        return max(0.0, now - send.scheduled_at)
    if send.state is not SendState.RUNNING:
        return 0.0
    if counts[RecipientState.PENDING] and send.started_at is not None:
        return max(0.0, now - send.started_at)
    return 0.0 if status.next_attempt_at is None else max(0.0, now - status.next_attempt_at)

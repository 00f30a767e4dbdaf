"""A send in figures: as JSON, as a panel for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mailer.cli.output import STYLES, duration, iso, local, number, shown, state
from mailer.delivery.states import UNFINISHED
from mailer.model.ledger import RecipientState, SendKind, SendState, Status

AT_REST = frozenset({SendState.FINISHED, SendState.CANCELLED, SendState.PAUSED})
"""A send that is none of these runs, or will when its time has come."""

_UNTRIED = (RecipientState.PENDING, RecipientState.CLAIMED, RecipientState.DOTTED)


def status_json(status: Status) -> dict[str, Any]:
    """The shape that DESIGN §4 fixes; ``sum(counts.values()) == audience``."""
    send = status.send
    return {
        "send": send.id,
        "issue": send.slug,
        "state": send.state.value,
        "audience": send.audience,
        "counts": {one.value: status.counts.get(one, 0) for one in RecipientState},
        "bounced": status.bounced,
        "complained": status.complained,
        "unsubscribed": status.unsubscribed,
        "rate_per_second": round(status.rate_per_second, 2),
        "started_at": iso(send.started_at),
        "finished_at": iso(send.finished_at),
        "eta_seconds": eta(status),
    }


def eta(status: Status) -> float | None:
    """Seconds until nothing is left that hasn't been tried; None while that can't be told."""
    left = untried(status)
    if status.send.state is not SendState.RUNNING or not left or status.rate_per_second <= 0:
        return None
    return round(left / status.rate_per_second, 1)


def untried(status: Status) -> int:
    """How many recipients haven't been tried: what is deferred has been, and may wait for long."""
    return sum(status.counts.get(one, 0) for one in _UNTRIED)


def done(status: Status) -> int:
    """How many recipients have come to an end."""
    return status.send.audience - sum(status.counts.get(one, 0) for one in UNFINISHED)


def status_panel(status: Status, timezone: str, now: float, hints: Sequence[str] = ()) -> RenderableType:
    """What ``mailer status SEND`` shows; ``hints`` as lines below."""
    send = status.send
    head = Text.assemble((send.id, "bold"), "  ", state(send.state.value))
    if send.kind is SendKind.TEST:
        head.append("  test", style="dim")
    if send.reason:
        head.append(f"  {shown(send.reason)}", style="yellow")
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=max(send.audience, 1), completed=done(status), width=40),
        f"{number(done(status))} of {number(send.audience)}",
        _pace(status),
    )
    figures = Table.grid(padding=(0, 2))
    figures.add_column()
    figures.add_column(justify="right")
    for one in RecipientState:
        if count := status.counts.get(one, 0):
            figures.add_row(state(one.value), Text(number(count), style=STYLES.get(one, "")))
    for name in ("bounced", "complained", "unsubscribed"):
        if count := getattr(status, name):
            figures.add_row(name, number(count))
    times = (Text(line, style="dim") for line in _times(status, timezone, now))
    return Group(head, bar, figures, *times, *(Text(shown(hint), style="yellow") for hint in hints))


def outcome(status: Status) -> str:
    """A send's end in one line: ``40 sent, 2 failed, 1 in doubt``."""
    counts = {one: status.counts.get(one, 0) for one in RecipientState}
    told = {one: count for one, count in counts.items() if count or one is RecipientState.SENT}
    told = {RecipientState.SENT: told.pop(RecipientState.SENT), **told}
    return ", ".join(f"{number(count)} {one.replace('_', ' ')}" for one, count in told.items())


def _pace(status: Status) -> str:
    """Only while there is somebody who hasn't been tried: afterwards it would be a figure of the past."""
    seconds = eta(status)
    return "" if seconds is None else f"{status.rate_per_second:,.1f}/s, {duration(seconds)} left"


def _times(status: Status, timezone: str, now: float) -> list[str]:
    send = status.send
    words = []
    if send.state is SendState.SCHEDULED and send.scheduled_at is not None:
        words.append(f"{'to' if send.scheduled_at > now else 'was to'} start {local(send.scheduled_at, timezone)}")
    if send.started_at is not None:
        words.append(f"started {local(send.started_at, timezone)}")
    if send.finished_at is not None:
        words.append(f"finished {local(send.finished_at, timezone)}")
    deferred = status.counts.get(RecipientState.DEFERRED, 0)
    if send.state is SendState.RUNNING and deferred and status.next_attempt_at is not None:
        wait = status.next_attempt_at - now
        words.append(f"next try of the deferred in {duration(wait)}" if wait > 0 else "the deferred are due again")
    return words

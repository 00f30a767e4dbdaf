"""A send in figures: as JSON, as a panel for people."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mailer.cli.output import STYLES, duration, iso, local, number, shown, state
from mailer.delivery.states import UNFINISHED
from mailer.model.ledger import RecipientState, SendKind, SendState, Status

_ONGOING = (RecipientState.PENDING, RecipientState.CLAIMED, RecipientState.DOTTED)


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
    left = sum(status.counts.get(one, 0) for one in _ONGOING)
    if status.send.state is not SendState.RUNNING or not left or status.rate_per_second <= 0:
        return None
    return round(left / status.rate_per_second, 1)


def done(status: Status) -> int:
    """How many recipients have come to an end."""
    return status.send.audience - sum(status.counts.get(one, 0) for one in UNFINISHED)


def status_panel(status: Status, timezone: str, now: float) -> RenderableType:
    """What ``mailer status SEND`` shows."""
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
    return Group(head, bar, figures, *(Text(line, style="dim") for line in _times(status, timezone, now)))


def _pace(status: Status) -> str:
    seconds = eta(status)
    rate = f"{status.rate_per_second:,.1f}/s" if status.rate_per_second else ""
    return f"{rate}, {duration(seconds)} left" if seconds is not None else rate


def _times(status: Status, timezone: str, now: float) -> list[str]:
    send = status.send
    words = []
    if send.state is SendState.SCHEDULED and send.scheduled_at is not None:
        words.append(f"to start {local(send.scheduled_at, timezone)}")
    if send.started_at is not None:
        words.append(f"started {local(send.started_at, timezone)}")
    if send.finished_at is not None:
        words.append(f"finished {local(send.finished_at, timezone)}")
    deferred = status.counts.get(RecipientState.DEFERRED, 0)
    if send.state is SendState.RUNNING and deferred and status.next_attempt_at is not None:
        words.append(f"next try of the deferred in {duration(status.next_attempt_at - now)}")
    return words

"""What commands print, without opening anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mailer.cli import output
from mailer.cli.progress import done, eta, outcome, status_json, status_panel
from mailer.model.ledger import RecipientState as R
from mailer.model.ledger import Send, SendId, SendKind, SendState, Status


def status(
    counts: Mapping[R, int], state: SendState = SendState.RUNNING, rate: float = 0.0, reason: str = ""
) -> Status:
    send = Send(
        SendId("kw24-1"),
        1,
        "kw24",
        SendKind.ISSUE,
        state,
        "0",
        sum(counts.values()),
        1_000.0,
        None,
        1_000.0,
        None,
        reason,
    )
    return Status(send, counts, 1, 2, 3, rate, None)


def test_status_shape() -> None:
    """The JSON of a status has exactly the designed keys, every state among the counts, and times in ISO 8601."""
    shape = status_json(status({R.SENT: 3, R.IN_DOUBT: 1}, rate=2.0))
    assert shape == {
        "send": "kw24-1",
        "issue": "kw24",
        "state": "running",
        "audience": 4,
        "counts": {
            "pending": 0,
            "claimed": 0,
            "dotted": 0,
            "sent": 3,
            "deferred": 0,
            "failed": 0,
            "skipped": 0,
            "in_doubt": 1,
            "expired": 0,
        },
        "bounced": 1,
        "complained": 2,
        "unsubscribed": 3,
        "rate_per_second": 2.0,
        "started_at": "1970-01-01T00:16:40+00:00",
        "finished_at": None,
        "eta_seconds": None,
    }


ETAS = {
    "half done": ({R.SENT: 50, R.PENDING: 40, R.CLAIMED: 9, R.DOTTED: 1}, SendState.RUNNING, 10.0, 5.0),
    "no rate yet": ({R.PENDING: 10}, SendState.RUNNING, 0.0, None),
    "only deferred left": ({R.SENT: 9, R.DEFERRED: 1}, SendState.RUNNING, 3.0, None),
    "paused": ({R.PENDING: 10}, SendState.PAUSED, 3.0, None),
}


@pytest.mark.parametrize(("counts", "state", "rate", "expected"), ETAS.values(), ids=ETAS)
def test_eta(counts: dict[R, int], state: SendState, rate: float, expected: float | None) -> None:
    """The time left is that of the recipients not yet tried, and unknown while nothing tells it."""
    assert eta(status(counts, state, rate)) == expected


@given(st.dictionaries(st.sampled_from(R), st.integers(0, 1000)))
def test_adds_up(counts: dict[R, int]) -> None:
    """Whatever the counts, they add up to the audience in the JSON, and no more are done than there are."""
    one = status(counts)
    shape = status_json(one)
    assert sum(shape["counts"].values()) == shape["audience"]
    assert 0 <= done(one) <= shape["audience"]


def drawn(one: Status, now: float = 2_000.0, hints: Sequence[str] = ()) -> str:
    console = Console(width=120, force_terminal=False)
    with console.capture() as captured:
        console.print(status_panel(one, "UTC", now, hints))
    return captured.get()


def test_panel_pace() -> None:
    """The panel tells pace and time left while somebody hasn't been tried, and no pace afterwards."""
    assert "10.0/s, 4 s left" in drawn(status({R.PENDING: 40}, rate=10.0))
    assert "/s" not in drawn(status({R.SENT: 495, R.DEFERRED: 5}, rate=51.8))


def test_panel_of_an_overdue_send() -> None:
    """A time that is past isn't told as one to come, neither of a send nor of the deferred."""
    waiting = status({R.PENDING: 1}, SendState.SCHEDULED)
    waiting = replace(waiting, send=replace(waiting.send, scheduled_at=3_600.0, started_at=None))
    assert drawn(waiting, 3_000.0).splitlines()[-1].startswith("to start Thu 01 Jan 1970 01:00")
    assert drawn(waiting, 4_000.0).splitlines()[-1].startswith("was to start Thu 01 Jan 1970 01:00")
    deferred = replace(status({R.DEFERRED: 1}), next_attempt_at=100.0)
    assert drawn(deferred, 90.0).splitlines()[-1] == "next try of the deferred in 10 s"
    assert drawn(deferred, 110.0).splitlines()[-1] == "the deferred are due again"


def test_panel_hints() -> None:
    """Hints stand below the figures, a line each, as text."""
    lines = drawn(status({R.PENDING: 1}), hints=["relay [x]: down\a", "Start one: mailer up"]).splitlines()
    assert lines[-2:] == ["relay [x]: down\\x07", "Start one: mailer up"]


def test_outcome() -> None:
    """A send's end names how many it was sent to, and every other state that somebody is in."""
    assert outcome(status({R.PENDING: 0, R.FAILED: 2, R.SENT: 1_040, R.IN_DOUBT: 1})) == (
        "1,040 sent, 2 failed, 1 in doubt"
    )
    assert outcome(status({R.SKIPPED: 3})) == "0 sent, 3 skipped"


def test_panel_shows_strangers_text_as_text() -> None:
    """A reason that looks like a style, or rings a bell, is shown and not obeyed."""
    text = drawn(status({R.PENDING: 1}, SendState.PAUSED, reason="[red]450\x1b[2J\a[/]"))
    assert "[red]450\\x1b[2J\\x07[/]" in text
    assert "\x1b" not in text


def test_stream_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A streamed array is one JSON document, also when it is empty."""
    output.stream_json(iter([{"a": "ä\n"}, 2]))
    assert json.loads(capsys.readouterr().out) == [{"a": "ä\n"}, 2]
    output.stream_json(iter([]))
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (185, "3 min 5 s"), (7800, "2 h 10 min"), (-3, "0 s")]
)
def test_duration(seconds: float, text: str) -> None:
    """Durations are told in two units at most."""
    assert output.duration(seconds) == text


def test_local_time() -> None:
    """People read times in the publication's timezone."""
    assert output.local(1_779_685_200.0, "Europe/Berlin") == "Mon 25 May 2026 07:00 Europe/Berlin"

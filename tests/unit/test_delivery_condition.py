"""Throttles and breakers of destinations."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.delivery.blame import Phase
from mailer.delivery.condition import (
    CALM,
    FADED,
    FIRST_PAUSE,
    GOODBYES,
    LONGEST_PAUSE,
    NORMAL,
    RECOVERY,
    SLOWEST,
    TRIAL,
    Condition,
    Heard,
    Signal,
    after,
    is_faded,
    signal_of,
    trying,
    why_stop,
)
from mailer.model.ledger import Reply

NOW = 1_000_000.0
SLOWER, ACCEPTED, REFUSED = Heard(slower=True), Heard(accepted=True), Heard(refused="550 5.7.1 no")


@pytest.mark.parametrize(
    ("reply", "signal"),
    [
        (Reply(250, "2.0.0", "ok"), Signal.ACCEPTED),
        (Reply(421, "4.7.0", "try again later"), Signal.SLOWER),
        (Reply(421, "4.7.0", "Try again later, closing connection"), Signal.SLOWER),
        (Reply(421, "", "bye"), Signal.SLOWER),
        (Reply(421, "", "Too many messages for example.org, slow down"), Signal.SLOWER),
        (Reply(421, "4.7.0", "mx Error: too many errors"), Signal.NOTHING),
        (Reply(421, "", "too many messages in this connection"), Signal.NOTHING),
        (Reply(421, "4.4.5", "Too many concurrent connections"), Signal.NOTHING),
        (Reply(421, "", "relay.example: SMTP command timeout - closing connection"), Signal.NOTHING),
        (Reply(421, "4.3.2", "Service shutting down"), Signal.NOTHING),
        (Reply(421, "4.3.0", "Temporary system problem"), Signal.NOTHING),
        (Reply(421, "", "mx.example Service not available, closing transmission channel"), Signal.NOTHING),
        (Reply(451, "4.7.28", "unusual rate"), Signal.SLOWER),
        (Reply(450, "4.7.1", "Greylisted"), Signal.NOTHING),
        (Reply(452, "4.2.2", "mailbox full"), Signal.NOTHING),
        (Reply(550, "5.7.1", "not authorized"), Signal.REFUSED),
        (Reply(550, "5.1.1", "blocked using zen.spamhaus.org"), Signal.REFUSED),
        (Reply(550, "5.1.1", "user unknown"), Signal.NOTHING),
        (Reply(0, "", "the connection was lost"), Signal.NOTHING),
    ],
)
def test_signals(reply: Reply, signal: Signal) -> None:
    """421 and 4.7.x slow down, refusals for our fault break, what is about the recipient is nobody else's business; nor
    is what the relay says of itself."""
    assert signal_of(reply) is signal


@pytest.mark.parametrize("number", range(len(GOODBYES)))
def test_each_goodbye(number: int) -> None:
    """Each rule about 421 decides its own example, and none before it does."""
    _, example, _ = GOODBYES[number]
    assert next(at for at, (_, _, pattern) in enumerate(GOODBYES) if pattern.search(example)) == number


@pytest.mark.parametrize("phase", ["mail", "local"])
def test_sender_and_message(phase: Phase) -> None:
    """Before a recipient was named nothing is said about a destination, nor by a message that we couldn't send."""
    assert signal_of(Reply(550, "5.7.1", "no"), phase) is Signal.NOTHING
    assert signal_of(Reply(421, "4.7.0", "try again later"), phase) is Signal.NOTHING


@pytest.mark.parametrize("phase", ["rcpt", "data", "dot"])
def test_recipient_was_named(phase: Phase) -> None:
    """421 after a recipient was named slows its destination down."""
    assert signal_of(Reply(421, "4.7.0", "try again later"), phase) is Signal.SLOWER


def test_halved() -> None:
    """The first throttle is half of the pace just now, the next half of that."""
    once = after(NORMAL, SLOWER, 20.0, NOW)
    assert once.rate == 10.0
    assert after(once, SLOWER, 9.0, NOW + CALM).rate == 5.0


def test_one_halving_at_a_time() -> None:
    """Answers to what was under way halve it only once."""
    once = after(NORMAL, SLOWER, 20.0, NOW)
    assert after(once, SLOWER, 20.0, NOW + CALM - 1) == once


def test_restored() -> None:
    """Success restores the pace of before within the recovery time, and then there is no limit."""
    condition = after(NORMAL, SLOWER, 20.0, NOW)
    rates = []
    for second in range(1, round(RECOVERY / 2) + 2):
        condition = after(condition, ACCEPTED, 10.0, NOW + second)
        rates.append(condition.rate)
    assert rates[-1] == 0.0
    assert rates[-3] == pytest.approx(20.0, rel=0.02)
    assert rates[:-2] == sorted(rates[:-2])


def test_quiet_time_restores_nothing() -> None:
    """An hour without mail is no success."""
    condition = after(NORMAL, SLOWER, 20.0, NOW)
    assert after(condition, ACCEPTED, 20.0, NOW + 3600).rate < 12


def test_slower_and_accepted_together() -> None:
    """When some were accepted and some throttled in the same second, the pace is halved and not raised."""
    assert after(NORMAL, Heard(accepted=True, slower=True), 20.0, NOW).rate == 10.0


def test_breaker_opens_at_once() -> None:
    """One refusal that is our fault opens the breaker, and says why."""
    condition = after(NORMAL, REFUSED, 20.0, NOW)
    assert condition.is_open(NOW + FIRST_PAUSE - 1)
    assert condition.is_half_open(NOW + FIRST_PAUSE)
    assert condition.why == "550 5.7.1 no"


def test_stragglers_dont_count() -> None:
    """What was under way when the breaker opened neither lengthens the pause nor closes it."""
    condition = after(NORMAL, REFUSED, 20.0, NOW)
    assert after(condition, REFUSED, 20.0, NOW + 1) == condition
    assert after(condition, ACCEPTED, 20.0, NOW + 1) == condition


def test_one_is_let_through() -> None:
    """A half-open breaker lets one through, and another one when nothing is heard of it."""
    condition = after(NORMAL, REFUSED, 20.0, NOW)
    assert trying(condition, NOW + 1) is None
    then = NOW + FIRST_PAUSE
    tried = trying(condition, then)
    assert tried is not None
    assert trying(tried, then + 1) is None
    assert trying(tried, then + TRIAL) is not None
    assert trying(NORMAL, NOW) is None


def test_pause_doubles() -> None:
    """Each refusal of the one that was let through doubles the pause, up to the longest."""
    condition, now, pauses = NORMAL, NOW, []
    for _ in range(9):
        condition = after(condition, replace(REFUSED, tried=True), 20.0, now)
        pauses.append(condition.pause)
        now = condition.open_until
    assert pauses[:4] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


def test_closes() -> None:
    """The one that was let through is accepted: the breaker closes, and the pace begins at a tenth."""
    condition = after(NORMAL, REFUSED, 20.0, NOW)
    closed = after(condition, replace(ACCEPTED, tried=True), 20.0, NOW + FIRST_PAUSE)
    assert (closed.pause, closed.rate, closed.usual) == (0.0, 2.0, 20.0)


def test_trial_that_proves_nothing() -> None:
    """The one that was let through met a full mailbox: the next may be tried at once."""
    then = NOW + FIRST_PAUSE
    tried = trying(after(NORMAL, REFUSED, 20.0, NOW), then)
    assert tried is not None
    assert trying(after(tried, Heard(tried=True), 20.0, then + 1), then + 1) is not None


def test_fades() -> None:
    """What is long ago, or over, is forgotten; what still holds isn't."""
    slowed, refused = after(NORMAL, SLOWER, 20.0, NOW), after(NORMAL, REFUSED, 20.0, NOW)
    assert not is_faded(slowed, NOW + 60)
    assert is_faded(slowed, NOW + FADED + 1)
    assert not is_faded(refused, NOW + FADED)
    assert is_faded(replace(slowed, rate=0.0), NOW)


heards = st.builds(
    Heard, accepted=st.booleans(), slower=st.booleans(), refused=st.sampled_from(["", "no"]), tried=st.booleans()
)


@given(st.lists(st.tuples(heards, st.floats(0.01, 5000), st.floats(0, 4000)), max_size=40))
def test_any_history(history: list[tuple[Heard, float, float]]) -> None:
    """Whatever is heard: a throttle stays between the slowest and the former pace, a pause has an end, and without
    trouble in the last step no pace gets slower."""
    condition, now, highest = NORMAL, NOW, SLOWEST
    for heard, usual, seconds in history:
        now, highest, before = now + seconds, max(highest, usual), condition
        condition = after(condition, heard, usual, now)
        assert condition.rate == 0 or SLOWEST <= condition.rate <= highest
        assert condition.open_until <= now + LONGEST_PAUSE
        if not heard.slower and before.rate and not before.pause:
            assert condition.rate >= before.rate or condition.rate == 0
        if condition.is_open(now):
            assert trying(condition, condition.open_until) is not None


def test_heard() -> None:
    """Answers add up, and the first refusal is what is quoted."""
    heard = Heard().and_then(Signal.REFUSED, "first").and_then(Signal.REFUSED, "second").and_then(Signal.ACCEPTED)
    assert heard == Heard(accepted=True, refused="first")


OPEN = Condition(pause=60.0, open_until=NOW + 60, why="550 5.7.1 no")


@pytest.mark.parametrize(
    ("refusing", "waiting", "stops"),
    [
        ("a b c", {"a": 10, "b": 10, "c": 10, "d": 70}, True),
        ("a b", {"a": 10, "b": 10, "d": 80}, False),
        ("a b c", {"a": 10, "b": 10, "d": 80}, False),  # nobody waits for c
        ("a b c", {"a": 3, "b": 3, "c": 3, "d": 99_000}, False),  # a few in a large send
        ("a b c d", {"a": 1, "b": 1, "c": 1, "d": 1}, True),
        ("", {"d": 80}, False),
    ],
)
def test_stops_the_send(refusing: str, waiting: dict[str, int], stops: bool) -> None:
    """Three destinations that refuse, with a share of the send behind them, stop it."""
    conditions = dict.fromkeys(refusing.split(), OPEN) | {"z": NORMAL}
    assert bool(why_stop(conditions, waiting, sum(waiting.values()))) is stops


def test_says_why() -> None:
    """The reason names the destinations, the largest first, and what they said."""
    why = why_stop(dict.fromkeys("abcd", OPEN), {"a": 1, "b": 5, "c": 3, "d": 2}, 11)
    assert why.startswith(
        "4 destinations refuse our mail (b: 550 5.7.1 no; c: 550 5.7.1 no; d: 550 5.7.1 no and 1 more)"
    )

"""How a destination is doing: how fast it may go for now (its throttle), and whether anything may (its breaker).

Values in, values out. Times are Unix seconds, rates messages per second. The policy:

* *Throttle.* A 4.7.x, or a 421 that isn't about the relay (``GOODBYES``), halves the pace, from what it is now; not
  again within ``CALM`` seconds, since what was already under way is answered in the same way. While messages are
  accepted it grows by what it was before, divided over ``RECOVERY`` seconds; when it is back there, the throttle is
  gone.
* *Breaker.* A refusal that is our fault (5.7.x: policy, content, reputation, authentication) opens it: nothing more is
  begun for a pause that doubles each time. Then it is half-open: one message is let through. Accepted: closed, and the
  pace begins at a tenth. Refused: open again. Anything else proves nothing: the next one is let through.
* ``STOP_AT`` destinations that are refused, with a share of the send waiting behind them, stop the send: by then it is
  no longer about them but about us.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from mailer.delivery.blame import Phase, blame, is_permanent
from mailer.delivery.blame_rules import Blame
from mailer.model.ledger import Reply

CALM = 15.0
"""Seconds after a halving in which there is no other."""

RECOVERY = 300.0
"""Seconds of success from nothing to the former pace."""

SLOWEST = 1 / 30
"""Messages per second: no throttle goes below one in half a minute."""

FIRST_PAUSE, LONGEST_PAUSE = 60.0, 3600.0
"""Seconds that a breaker stays open."""

TRIAL = 60.0
"""Seconds until another message is let through a half-open breaker when nothing was heard of the one before."""

FADED = 6 * 3600.0
"""Seconds after which nothing that happened matters any more."""

STOP_AT = 3
"""Destinations with open breakers that stop a send."""

STOP_SHARE = 0.01
"""Share of the send's recipients that must wait behind them. (In any large list a few small domains refuse.)"""


class Signal(StrEnum):
    """What an answer says about the destination."""

    ACCEPTED = "accepted"
    SLOWER = "slower"  # 421, 4.7.x: slow down; see ``GOODBYES`` for which 421
    REFUSED = "refused"  # 5.7.x and kin: our fault
    NOTHING = "nothing"  # about the recipient, or about nobody


GOODBYES: tuple[tuple[Signal, str, re.Pattern[str]], ...] = tuple(
    (signal, example, re.compile(pattern, re.IGNORECASE))
    for signal, example, pattern in (
        # About the session, or the server that we talk to, whatever the status.
        (
            Signal.NOTHING,
            "4.7.0 Error: too many errors",
            r"too many (?:\w+ ){0,2}(?:errors|commands|connections|sessions)|concurren(?:cy|t connection)|"
            r"(?:in|on|over|per) (?:this |one |a )?(?:smtp )?(?:connection|session)\b|connection rate",
        ),
        (
            Signal.NOTHING,
            "Service shutting down and closing transmission channel",
            r"shut(?:ting)?[ -]?down|going down|restart|reconfiguration|maintenance|"
            r"time[ -]?out|timed out|\bidle\b",
        ),
        # Policy: the destination's, which a relay that has a queue of its own hasn't asked.
        (Signal.SLOWER, "4.7.28 Our system has detected an unusual rate of mail", r"^4\.7\.\d+"),
        # The system, and the network, of whoever says it (RFC 3463 §3.4, §3.5).
        (Signal.NOTHING, "4.3.2 System not accepting network messages", r"^4\.[34]\.\d+"),
        (
            Signal.NOTHING,
            "Service not available, closing transmission channel",
            r"service (?:\w+ ){0,2}(?:not available|unavailable)|\b(?:server|system)(?: is)?(?: too)? busy|overload",
        ),
        (Signal.SLOWER, "Too much mail for this domain, try again later", r""),
    )
)
"""What a 421 says of the destination of the recipient to whom it was the answer: the first whose pattern is found in
status and text. Sources: RFC 5321 §4.2.3, §3.8; what Postfix, Exim, Sendmail and KumoMTA say as relays."""


def signal_of(reply: Reply, phase: Phase = "rcpt") -> Signal:
    """What a reply says about the destination. ``phase`` ``mail``: no recipient had been named."""
    if 200 <= reply.code < 300:
        return Signal.ACCEPTED
    if phase in ("mail", "local"):
        return Signal.NOTHING
    if reply.code == 421:
        said = f"{reply.status} {reply.text}".lstrip()
        return next(signal for signal, _, pattern in GOODBYES if pattern.search(said))
    if blame(reply, phase) is not Blame.US:
        return Signal.NOTHING
    return Signal.REFUSED if is_permanent(reply) else Signal.SLOWER


@dataclass(frozen=True, slots=True)
class Condition:
    """A destination's condition. All zero: nothing is wrong with it.

    ``rate`` is the throttle (0: none), ``usual`` the pace before it; ``slowed_at``: the last halving; ``counted_at``:
    up to when success has been counted. ``pause``: how long the breaker is open (0: closed), until ``open_until``;
    ``trial_until``: somebody is trying until then. ``why``: the refusal that opened it.
    """

    rate: float = 0.0
    usual: float = 0.0
    slowed_at: float = 0.0
    counted_at: float = 0.0
    pause: float = 0.0
    open_until: float = 0.0
    trial_until: float = 0.0
    why: str = ""

    def is_open(self, now: float) -> bool:
        """Whether nothing may begin."""
        return self.pause > 0 and now < self.open_until

    def is_half_open(self, now: float) -> bool:
        """Whether one message at a time may begin, to find out."""
        return self.pause > 0 and now >= self.open_until


NORMAL = Condition()


@dataclass(frozen=True, slots=True)
class Heard:
    """What a worker has heard of a destination since it last told the others. ``refused``: the first such reply."""

    accepted: bool = False
    slower: bool = False
    refused: str = ""
    tried: bool = False  # the one message for a half-open breaker has come to an end

    def and_then(self, signal: Signal, said: str = "", *, tried: bool = False) -> Heard:
        """With one more answer."""
        return Heard(
            accepted=self.accepted or signal is Signal.ACCEPTED,
            slower=self.slower or signal is Signal.SLOWER,
            refused=self.refused or (said or "refused" if signal is Signal.REFUSED else ""),
            tried=self.tried or tried,
        )

    def and_also(self, later: Heard) -> Heard:
        """With all that was heard later."""
        return Heard(
            accepted=self.accepted or later.accepted,
            slower=self.slower or later.slower,
            refused=self.refused or later.refused,
            tried=self.tried or later.tried,
        )


def after(condition: Condition, heard: Heard, usual: float, now: float) -> Condition:
    """The condition after what was heard. ``usual``: the pace just now, or the configured one."""
    if heard.refused:
        condition = _refused(condition, heard.refused, now)
    elif condition.is_half_open(now) and heard.tried:
        condition = _closed(condition, usual, now) if heard.accepted else replace(condition, trial_until=0.0)
    if heard.slower:
        return _slower(condition, usual, now)
    if heard.accepted and not heard.refused:
        return _faster(condition, now)
    return condition


def trying(condition: Condition, now: float) -> Condition | None:
    """The condition while one message is let through a half-open breaker; None when none may be."""
    if not condition.is_half_open(now) or now < condition.trial_until:
        return None
    return replace(condition, trial_until=now + TRIAL)


def is_faded(condition: Condition, now: float) -> bool:
    """Whether it is too long ago to matter, or there is nothing left of it."""
    if condition == NORMAL or not (condition.rate or condition.pause):
        return True
    return now > FADED + max(condition.slowed_at, condition.counted_at, condition.open_until)


def _refused(condition: Condition, why: str, now: float) -> Condition:
    if condition.is_open(now):
        return condition  # it was under way when the breaker opened
    pause = min(max(2 * condition.pause, FIRST_PAUSE), LONGEST_PAUSE)
    return replace(condition, pause=pause, open_until=now + pause, trial_until=0.0, why=why)


def _closed(condition: Condition, usual: float, now: float) -> Condition:
    usual = max(condition.usual, usual)
    rate = max(usual / 10, SLOWEST)
    return Condition(rate=rate, usual=max(usual, rate), slowed_at=condition.slowed_at, counted_at=now)


def _slower(condition: Condition, usual: float, now: float) -> Condition:
    if now - condition.slowed_at < CALM:
        return condition
    rate = condition.rate or usual
    usual = max(condition.usual, usual) if condition.rate else usual
    return replace(condition, rate=max(rate / 2, SLOWEST), usual=usual, slowed_at=now, counted_at=now)


def _faster(condition: Condition, now: float) -> Condition:
    if not condition.rate:
        return condition
    counted = min(max(now - condition.counted_at, 0.0), CALM)  # a quiet time is no success
    rate = condition.rate + condition.usual * counted / RECOVERY
    if rate < condition.usual:
        return replace(condition, rate=rate, counted_at=now)
    return replace(condition, rate=0.0, usual=0.0, counted_at=now)


def why_stop(conditions: Mapping[str, Condition], waiting: Mapping[str, int], audience: int) -> str:
    """Why a send must stop; empty while it may go on. ``waiting``: recipients by destination that aren't done."""
    refusing = {name: one for name, one in conditions.items() if one.pause and waiting.get(name)}
    behind = sum(waiting[name] for name in refusing)
    if len(refusing) < STOP_AT or behind < STOP_SHARE * audience:
        return ""
    names = sorted(refusing, key=lambda name: -waiting[name])
    shown = "; ".join(f"{name}: {refusing[name].why}" for name in names[:STOP_AT])
    more = f" and {len(names) - STOP_AT} more" if len(names) > STOP_AT else ""
    return f"{len(names)} destinations refuse our mail ({shown}{more}): mend the cause, then resume"

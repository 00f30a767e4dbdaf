"""Lines: whose turn it is, and a fair part of the connections for each destination."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailer.service.destination_kinds import PROMPT, WINDOW
from mailer.service.lines import FOLLOW, PATIENCE, Lines


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def filled(clock: Clock, size: int = 8, **waiting: int) -> Lines[str]:
    """Lines with so many items for each destination."""
    lines: Lines[str] = Lines(size, clock)
    add(lines, **waiting)
    return lines


def add(lines: Lines[str], **waiting: int) -> None:
    for name, count in waiting.items():
        for number in range(count):
            lines.put(name, f"{name}{number}")


def begin(lines: Lines[str], most: int = 1000) -> list[tuple[str, float]]:
    """Begins all that may go now, up to so many."""
    found = []
    while len(found) < most and (one := lines.next()) is not None:
        found.append((one[0], one[2]))
    return found


def counts(begun: list[tuple[str, float]]) -> dict[str, int]:
    return dict(Counter(name for name, _ in begun))


def shown_quick(lines: Lines[str], *names: str) -> None:
    """Each has had one quick transaction; what waited for it waits again."""
    for name in names:
        lines.put(name, "x", first=True)
        found = lines.next()
        assert found is not None
        lines.leave(name, found[2])


def shown_slow(clock: Clock, lines: Lines[str], *names: str) -> None:
    """Each has had one slow transaction, at the same time."""
    for name in names:
        lines.put(name, "x", first=True)
    begun = begin(lines, len(names))
    clock.now += 5
    for one in begun:
        lines.leave(*one)


def test_turns(clock: Clock) -> None:
    """Destinations take turns, and each line is served in order."""
    lines = filled(clock, size=40)
    shown_quick(lines, "a", "b", "c")
    add(lines, a=3, b=1, c=2)
    served = [found[1] for _ in range(6) if (found := lines.next())]
    assert served == ["a0", "b0", "c0", "a1", "c1", "a2"]
    assert lines.next() is None
    assert lines.waiting == 0


def test_first(clock: Clock) -> None:
    """What is put first goes first, whatever waits."""
    lines = filled(clock, size=40)
    shown_quick(lines, "a", "b")
    add(lines, a=2, b=2)
    lines.put("b", "urgent", first=True)
    found = lines.next()
    assert found is not None
    assert found[1] == "urgent"
    assert len(begin(lines)) == 4


def test_alone(clock: Clock) -> None:
    """A quick destination that is alone may have all connections, and more: they are counted elsewhere."""
    lines = filled(clock)
    shown_quick(lines, "a")
    add(lines, a=16)
    assert counts(begin(lines)) == {"a": 16}


@pytest.mark.parametrize(("size", "most"), [(1, 1), (2, 1), (3, 1), (4, 2), (8, 6), (9, 7), (32, 24)])
def test_one_is_left_free(clock: Clock, size: int, most: int) -> None:
    """A destination that hasn't shown to be quick leaves a quarter of the connections free, and at least two of three
    or more: whoever comes next needn't wait for it. When it is quick, it may have the rest at once."""
    lines = filled(clock, size=size, a=2 * size)
    begun = begin(lines)
    assert len(begun) == most
    assert lines.leave(*begun[0])
    assert not lines.leave(*begun[1]) if most > 1 else True
    assert len(begin(lines)) == 2 * size - most


def test_slow_one_leaves_one_free(clock: Clock) -> None:
    """Next to a tarpit that has all it may have, whoever comes finds a connection."""
    lines = filled(clock, size=4, tarpit=8)
    assert counts(begin(lines)) == {"tarpit": 2}
    for _ in range(60):
        clock.now += 1
        lines.look_around()
        assert begin(lines) == []
    add(lines, next=2)
    assert counts(begin(lines)) == {"next": 1}


def test_unknown_beside_others(clock: Clock) -> None:
    """While others are there, or were a moment ago, one that nothing is known of gets a single connection."""
    assert counts(begin(filled(clock, a=16, b=1))) == {"a": 1, "b": 1}
    lines = filled(clock)
    shown_quick(lines, "b")
    add(lines, a=16)
    assert counts(begin(lines)) == {"a": 1}


def test_unknown_behind_others(clock: Clock) -> None:
    """Nor does it get more by following many who are unknown too: one of its own goes on, and the next when that has
    ended; and a line that followed in vain is gone."""
    lines = filled(clock, size=20)
    shown_quick(lines, "quick")
    add(lines, **{f"d{number}": 1 for number in range(12)})
    leaders = []
    while found := lines.next():
        leaders.append(found)
    add(lines, tarpit=100)
    followers = [lines.follow(name) for name, _, _ in leaders]
    clock.now += 0.2
    for (name, _, started), follower in zip(leaders, followers, strict=True):
        lines.leave(name, started)
        if follower:
            lines.begin(follower[1])
    assert len(leaders) == 12
    assert lines.busy("tarpit") == 1
    other = filled(clock, leader=1)
    ((name, _, started),) = [other.next() or ("", "", 0.0)]
    add(other, behind=1)
    assert other.follow(name) is not None
    clock.now += FOLLOW
    assert other.look_around() == ["behind0"]
    other.leave(name, started)
    assert other.claimed("behind") == other.claimed("leader") == 0
    add(other, alone=8)
    assert len(begin(other)) == 6


def test_slow_beside_others(clock: Clock) -> None:
    """Beside quick ones, a slow one gets a quarter."""
    lines = filled(clock)
    shown_slow(clock, lines, "a")
    shown_quick(lines, "b")
    add(lines, a=16, b=1)
    assert counts(begin(lines)) == {"a": 2, "b": 1}


def test_quick_beside_others(clock: Clock) -> None:
    """While others are there, a quick one gets three quarters."""
    lines = filled(clock)
    shown_quick(lines, "a")
    add(lines, a=16, b=1)
    assert counts(begin(lines)) == {"a": 6, "b": 1}


def test_slow_and_alone(clock: Clock) -> None:
    """A destination that isn't quick gets no more than a quarter while there were others a moment ago, and then all but
    a quarter."""
    lines = filled(clock)
    shown_quick(lines, "b")
    add(lines, a=16)
    assert counts(begin(lines)) == {"a": 1}
    clock.now += 5
    lines.look_around()
    assert counts(begin(lines)) == {"a": 1}
    for _ in range(2):
        clock.now += WINDOW
        lines.look_around()
    add(lines, a=16)
    assert counts(begin(lines)) == {"a": 4}
    assert lines.busy("a") == 6


def test_goes_on_when_one_ends(clock: Clock) -> None:
    """When one of its transactions ends, a line that stood still goes on."""
    lines = filled(clock, a=16, b=1)
    begun = begin(lines)
    assert not lines.has_next
    assert lines.full() == []
    clock.now += PROMPT
    assert lines.full() == ["a"]
    lines.leave(*begun[0])
    assert lines.has_next
    assert counts(begin(lines, 1)) == {"a": 1}


def test_goes_on_when_others_have_gone(clock: Clock) -> None:
    """When the others are done, a quick one gets all connections at once."""
    lines = filled(clock)
    shown_quick(lines, "a")
    add(lines, a=16, b=1)
    begun = begin(lines)
    assert lines.next() is None
    lines.leave(*next(one for one in begun if one[0] == "b"))
    assert counts(begin(lines)) == {"a": 10}


def test_slow_now(clock: Clock) -> None:
    """A destination that was quick gets no more than a quarter while its transactions take long."""
    lines = filled(clock)
    shown_quick(lines, "a", "b")
    add(lines, a=3, b=1)
    begin(lines)
    clock.now += 5
    add(lines, a=5)
    assert counts(begin(lines)) == {}


TARPITS = "abcde"


def test_slow_ones_together(clock: Clock) -> None:
    """Beside quick ones, the slow together have half of the connections, in turn; the unknown have what they leave but
    the last, which is for the quick."""
    lines = filled(clock)
    shown_slow(clock, lines, *TARPITS)
    shown_quick(lines, "quick")
    add(lines, **dict.fromkeys(TARPITS, 9))
    begun = begin(lines)
    assert counts(begun) == {"a": 1, "b": 1, "c": 1, "d": 1}
    add(lines, new1=9, new2=9, new3=9, new4=9)
    assert counts(begin(lines)) == {"new1": 1, "new2": 1, "new3": 1}
    add(lines, quick=1)
    [quick] = begin(lines)
    assert quick[0] == "quick"
    lines.leave(*quick)
    clock.now += 5
    lines.look_around()
    lines.leave(*begun[0])
    assert counts(begin(lines)) == {"new4": 1}


def test_only_slow_ones(clock: Clock) -> None:
    """Where only slow ones are left, they may have all but a quarter, and an unknown one finds a connection."""
    lines = filled(clock)
    shown_slow(clock, lines, "a", "b")
    add(lines, a=9, b=9)
    assert counts(begin(lines)) == {"a": 3, "b": 3}
    add(lines, new=9)
    assert counts(begin(lines)) == {"new": 1}


def test_room_is_used_at_once(clock: Clock) -> None:
    """When what is unknown has shown to be quick, or has ended, the next that waits for room goes at once."""
    lines = filled(clock, **{f"d{number}": 1 for number in range(40)})
    gone = begin(lines)
    assert len(gone) == 7
    waiting = list(gone)
    while waiting:
        lines.leave(*waiting.pop(0))
        waiting += (more := begin(lines))
        gone += more
    assert len(counts(gone)) == 40


def test_unknown_follows_unknown(clock: Clock) -> None:
    """One of unknown kind follows another though there is no room for more, and takes over its place; a slow one
    doesn't, and none follows a quick one without room."""
    lines = filled(clock)
    shown_slow(clock, lines, "slow")
    shown_quick(lines, "quick")
    add(lines, quick=1, **{f"d{number}": 1 for number in range(7)})
    begun = begin(lines)
    assert len(begun) == 8
    add(lines, new=1, slow=5)
    assert lines.follow("quick") is None
    lines.look_around()
    assert lines.follow("d1") == ("new", "new0")
    lines.look_around()
    assert lines.follow("d2") is None
    lines.leave(*next(one for one in begun if one[0] == "d1"))
    assert lines.begin("new0") == clock.now
    assert counts(begin(lines)) == {}


def test_all_take_long(clock: Clock) -> None:
    """Where every transaction takes seconds, that is no slowness."""
    lines = filled(clock)
    for _ in range(50):
        add(lines, a=1)
        [(name, started)] = begin(lines)
        clock.now += 1.5
        lines.leave(name, started)
        lines.look_around()
    add(lines, a=16, b=1)
    assert counts(begin(lines)) == {"a": 6, "b": 1}


def test_cap(clock: Clock) -> None:
    """Never more than the cap, even for a destination that is alone; with none, nothing."""
    lines = filled(clock, a=5)
    lines.caps = {"a": 1}
    begun = begin(lines)
    assert len(begun) == 1
    lines.leave(*begun[0])
    lines.caps = {"a": 0}
    assert begin(lines) == []
    lines.caps = {"a": 3}
    lines.look_around()
    assert len(begin(lines)) == 3


def test_tickets(clock: Clock) -> None:
    """One item a ticket; the others wait, however long, and don't hinder other destinations."""
    lines = filled(clock)
    shown_quick(lines, "b")
    add(lines, a=3, b=2)
    lines.ticketed = frozenset({"a"})
    assert counts(begin(lines)) == {"b": 2}
    lines.ticket("a")
    assert lines.tickets("a") == 1
    assert counts(begin(lines)) == {"a": 1}
    clock.now += 10 * PATIENCE
    assert lines.look_around() == []
    assert lines.waiting == 2


def test_ready(clock: Clock) -> None:
    """Nobody is called for what may not go: for want of a ticket, or because too many of it are under way."""
    lines = filled(clock, a=9, b=9, c=9, d=1)
    lines.ticketed, lines.caps = frozenset({"a"}), {"b": 1}
    assert lines.ready(100) == 1 + 1 + 1
    lines.ticket("a")
    assert lines.ready(100) == 1 + 1 + 1 + 1
    assert counts(begin(lines)) == {"a": 1, "b": 1, "c": 1, "d": 1}
    lines.look_around()
    assert lines.ready(100) == 0
    assert not lines.has_next


def test_given_back(clock: Clock) -> None:
    """What stands still for too long is given back."""
    lines = filled(clock, a=5, b=1)
    lines.caps = {"a": 2}
    lines.look_around()
    shown_quick(lines, "a")
    begun = begin(lines)
    assert counts(begun) == {"a": 2, "b": 1}
    clock.now += PATIENCE - 1
    assert lines.look_around() == []
    begin(lines)
    clock.now += 1
    assert len(lines.look_around()) == 3
    assert lines.waiting == 0
    for one in begun:
        lines.leave(*one)
    assert lines.claimed("a") == 0


def test_taken_out(clock: Clock) -> None:
    """What waits can be taken out: of one destination but for its first, or all."""
    lines = filled(clock, a=3, b=2)
    assert sorted(lines.take_out("a", keep=1)) == ["a1", "a2"]
    assert sorted(lines.take_out_all()) == ["a0", "b0", "b1"]
    assert lines.take_out("c") == []
    assert not lines.has_next


def test_unwanted_taken_out(clock: Clock) -> None:
    """What is unwanted can be taken out, wherever it waits; the rest keeps its order."""
    lines = filled(clock, size=40)
    shown_quick(lines, "a", "b", "c")
    add(lines, a=4, b=1, c=2)
    assert sorted(lines.take_out_all(lambda item: item in ("a0", "a2", "b0"))) == ["a0", "a2", "b0"]
    assert lines.waiting == 4
    assert [found[1] for _ in range(4) if (found := lines.next())] == ["a1", "c0", "a3", "c1"]
    assert lines.next() is None


def test_no_empty_promise(clock: Clock) -> None:
    """What was taken out is promised to nobody: whoever asks as long as there is a next one would never end."""
    lines = filled(clock, a=2, b=1)
    lines.take_out("a")
    assert lines.has_next
    assert begin(lines) == [("b", clock.now)]
    assert not lines.has_next
    assert (lines.waiting, lines.next()) == (0, None)


def test_follows(clock: Clock) -> None:
    """Who follows is chosen in turn, doesn't count as under way until it begins, and isn't given to anybody else."""
    lines = filled(clock)
    shown_quick(lines, "a", "b")
    add(lines, a=2, b=2)
    assert lines.follow("") == ("a", "a0")
    assert (lines.busy("a"), lines.claimed("a"), lines.waiting) == (0, 2, 3)
    assert lines.follow("") == ("b", "b0")
    assert [found[1] for _ in range(2) if (found := lines.next())] == ["a1", "b1"]
    assert lines.next() is None
    clock.now += 1
    assert lines.begin("a0") == clock.now
    assert lines.begin("a0") is None
    assert (lines.busy("a"), lines.busy("b"), lines.claimed("b")) == (2, 1, 2)


def test_followers_line_may_have_ended(clock: Clock) -> None:
    """The last of a destination may follow, and begin or go back when nothing else of it is left."""
    lines = filled(clock, a=1, b=1)
    assert lines.follow("") == ("a", "a0")
    begun = begin(lines)
    assert counts(begun) == {"b": 1}
    lines.leave(*begun[0])
    started = lines.begin("a0")
    assert started is not None
    lines.leave("a", started)
    assert lines.claimed("a") == 0
    add(lines, c=1)
    assert lines.follow("") == ("c", "c0")
    assert lines.unfollow("c0")
    assert not lines.unfollow("c0")
    lines.put("c", "c0", first=True)
    assert counts(begin(lines)) == {"c": 1}


def test_limited_never_follow(clock: Clock) -> None:
    """What has a cap or needs a ticket follows nobody, and goes as before."""
    lines = filled(clock, a=1, b=1)
    lines.caps, lines.ticketed = {"a": 5}, frozenset("b")
    lines.ticket("b")
    assert lines.follow("") is None
    assert counts(begin(lines)) == {"a": 1, "b": 1}


def test_part_holds_for_who_follows(clock: Clock) -> None:
    """A destination that has its part of the connections has none more by following."""
    lines = filled(clock, a=4, b=9)
    shown_quick(lines, "b")
    begin(lines)
    assert lines.busy("a") == 1
    assert lines.follow("") is None


def test_follower_of_a_slow_one(clock: Clock) -> None:
    """What has followed for too long is given back."""
    lines = filled(clock, a=2)
    assert lines.follow("") == ("a", "a0")
    clock.now += FOLLOW - 0.1
    assert lines.look_around() == []
    clock.now += 0.1
    assert lines.look_around() == ["a0"]
    assert lines.begin("a0") is None


def test_pace(clock: Clock) -> None:
    """The pace is measured over the last window or two."""
    lines = filled(clock)
    for _ in range(100):
        clock.now += 0.1
        shown_quick(lines, "a")
    assert lines.pace("a") == pytest.approx(10, rel=0.01)
    lines.look_around()
    assert lines.pace("a") == pytest.approx(10, rel=0.01)
    assert lines.pace("b") == 0


@dataclass
class Relay:
    """Destinations of which each always takes as long, over a relay with ``size`` connections, as workers use it."""

    size: int
    takes: dict[str, float]
    announces: bool
    clock: Clock = field(default_factory=Clock)
    done: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lines: Lines[int] = Lines(self.size, self.clock)
        self.busy: list[tuple[float, str, float, int | None]] = []
        self.waiting: list[tuple[float, int, str]] = []
        self.names: dict[int, str] = {}

    def run(self, arrivals: list[tuple[float, str]]) -> None:
        self.waiting = sorted((self.clock.now + at, number, name) for number, (at, name) in enumerate(arrivals))
        self.names = {number: name for _, number, name in self.waiting}
        look = self.clock.now
        for _ in range(100_000):
            if len(self.done) == len(arrivals):
                return
            self.clock.now = min([look, *(one[0] for one in (*self.waiting, *self.busy))])
            if self.clock.now == look:
                look += 1.0
                again = self.clock.now + 5.0  # as the reconciler has it
                back = [(again, item, self.names[item]) for item in self.lines.look_around()]
                self.waiting = sorted(self.waiting + back)
            while self.waiting and self.waiting[0][0] <= self.clock.now:
                _, item, name = self.waiting.pop(0)
                self.lines.put(name, item)
            for one in [one for one in self.busy if one[0] <= self.clock.now]:
                self._end(one)
            while len(self.busy) < self.size and (found := self.lines.next()):
                self._begin(found[0], found[2])
            self.check()
        raise AssertionError("somebody waits for ever")

    def _begin(self, name: str, started: float) -> None:
        following = self.lines.follow(name) if self.announces else None
        self.busy.append((started + self.takes[name], name, started, following[1] if following else None))

    def _end(self, one: tuple[float, str, float, int | None]) -> None:
        _, name, started, following = one
        self.busy.remove(one)
        self.lines.leave(name, started)
        self.done.append(name)
        if following is not None and (began := self.lines.begin(following)) is not None:
            self._begin(self.names[following], began)

    def check(self) -> None:
        """The slow never have the last connection, and what is quick doesn't wait while one is free."""
        slow = sum(self.takes[name] > PROMPT for _, name, *_ in self.busy)
        assert slow <= (self.size - max(1, self.size // 8) if self.size > 2 else self.size)
        assert len(self.busy) <= self.size
        if len(self.busy) < self.size:
            for name, seconds in self.takes.items():
                free = self.lines.busy(name) < self.size * 3 // 4 and name in self.done[-5:]
                assert not (seconds < PROMPT and free and self.lines.ready(1))


destinations = st.dictionaries(st.sampled_from("abcdefghijkl"), st.sampled_from([0.02, 0.3, 20.0]), min_size=1)


@settings(max_examples=150)
@given(
    st.integers(1, 20),
    destinations,
    st.lists(st.tuples(st.floats(0, 60), st.integers(0, 11)), min_size=1, max_size=60),
    st.booleans(),
)
@example(4, {"a": 20.0, "b": 20.0, "c": 20.0, "d": 20.0, "e": 20.0, "q": 0.02}, [(0.0, n) for n in range(30)], False)
@example(8, dict.fromkeys("abcdefghi", 20.0) | {"q": 0.02}, [(0.0, n % 10) for n in range(60)], True)
def test_tarpits(size: int, takes: dict[str, float], coming: list[tuple[float, int]], announces: bool) -> None:
    """Whoever comes when: however many tarpits there are, together they never have all connections; quick ones go while
    any is free; and everybody gets everything in the end."""
    relay, names = Relay(size, takes, announces), sorted(takes)
    relay.run([(at, names[number % len(names)]) for at, number in coming])
    assert len(relay.done) == len(coming)


MOVES = "put put first next next leave tick ticket out cap free follow begin unfollow"

moves = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(MOVES.split()), st.floats(0, 6)),
    max_size=80,
)


@settings(max_examples=60)
@given(st.integers(1, 12), moves)
def test_any_order(size: int, steps: list[tuple[str, str, float]]) -> None:
    """Whatever happens in whatever order: nothing is lost, nothing goes twice, the counts are right, caps and tickets
    hold, and what is free to go is gone in the end."""
    clock = Clock()
    lines: Lines[str] = Lines(size, clock)
    put, out, begun, gone = 0, 0, list[tuple[str, float]](), list[str]()
    following = dict[str, str]()
    for name, move, seconds in steps:
        clock.now += seconds
        if move in ("put", "first"):
            lines.put(name, f"{put}", first=move == "first")
            put += 1
        elif move == "next":
            tickets = {each: lines.tickets(each) for each in "abc"}
            if found := lines.next():
                assert found[0] not in lines.ticketed or tickets[found[0]] > 0
                assert lines.busy(found[0]) <= lines.caps.get(found[0], 1000)
                begun.append((found[0], found[2]))
                gone.append(found[1])
        elif move == "leave" and begun:
            lines.leave(*begun.pop())
        elif move == "tick":
            overdue = lines.look_around()
            out += len(overdue)
            following = {item: of for item, of in following.items() if item not in overdue}
        elif move == "follow":
            if chosen := lines.follow(""):
                assert chosen[0] not in lines.ticketed
                assert chosen[0] not in lines.caps
                following[chosen[1]] = chosen[0]
        elif move == "begin" and following:
            item, of = following.popitem()
            started = lines.begin(item)
            assert started == clock.now
            begun.append((of, started))
            gone.append(item)
        elif move == "unfollow" and following:
            item, of = following.popitem()
            assert lines.unfollow(item)
            lines.put(of, item, first=True)
        elif move == "ticket":
            lines.ticketed = frozenset({name})
            lines.ticket(name)
        elif move == "out":
            out += len(lines.take_out(name, keep=1))
        elif move == "cap":
            lines.caps = {name: 1}
        elif move == "free":
            lines.caps, lines.ticketed = {}, frozenset()
        assert {each: lines.busy(each) for each in "abc"} == {
            each: sum(one == each for one, _ in begun) for each in "abc"
        }
        assert put == lines.waiting + len(following) + len(gone) + out
        assert sum(lines.claimed(each) for each in "abc") == lines.waiting + len(following) + len(begun)
    for item, of in following.items():
        assert lines.unfollow(item)
        lines.put(of, item)
    lines.caps, lines.ticketed = {}, frozenset()
    for _ in range(put + 1):
        while begun:
            lines.leave(*begun.pop())
        lines.look_around()
        while found := lines.next():
            begun.append((found[0], found[2]))
            gone.append(found[1])
    assert (lines.waiting, lines.full()) == (0, [])
    assert len(set(gone)) == len(gone)

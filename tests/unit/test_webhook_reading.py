"""The accessors by which providers' events are read."""

from __future__ import annotations

import pytest

from mailer.bounces.event import Event, EventType, Meaning, Reason
from mailer.bounces.reading import (
    address,
    blame,
    diagnostic,
    dig,
    fingerprint,
    make_event,
    message_id,
    moment,
    seconds,
    status,
    text,
)

BOUNCED = Meaning(EventType.BOUNCED, Reason.BOUNCED, True)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("ann@example.com", "ann@example.com"),
        (" Ann.B@Example.COM ", "Ann.B@Example.COM"),
        ("<ann@example.com>", "ann@example.com"),
        ('"Ann, B." <ann@example.com>', "ann@example.com"),
        ("rfc822;ann@example.com", "ann@example.com"),
        ("jürgen@grüße.example", "jürgen@grüße.example"),
        ("ann@exam\x00ple.com", "ann@example.com"),
        ("nobody", ""),
        ("@example.com", ""),
        ("ann@", ""),
        ("ann@example.com, bob@example.com", ""),
        ("a" * 400 + "@example.com", ""),
        (None, ""),
        (7, ""),
        (["ann@example.com"], ""),
    ],
)
def test_an_address_is_bare_or_empty(given: object, wanted: str) -> None:
    """An address loses display name and brackets; what isn't one is empty."""
    assert address(given) == wanted


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("<s.1.t@example.com>", "<s.1.t@example.com>"),
        ("s.1.t@example.com", "<s.1.t@example.com>"),
        (" <s.1.t@example.com>\r\n", "<s.1.t@example.com>"),
        ("883953f4-6105-42a2", "883953f4-6105-42a2"),
        (19421777835146490, "19421777835146490"),
        (None, ""),
    ],
)
def test_a_message_id_is_written_as_the_ledger_writes_it(given: object, wanted: str) -> None:
    """A Message-ID has angle brackets; a provider's own id has none."""
    assert message_id(given) == wanted


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("550 5.1.1 No such user", "5.1.1"),
        ("550-5.1.1 The email account\n550 5.1.1 that", "5.1.1"),
        ("smtp; 554 4.4.7 expired (5.0.0)", "4.4.7"),
        ("5.7.509", "5.7.509"),
        ("(#5.2.2)", "5.2.2"),
        ("250 2.0.0 OK", "2.0.0"),
        ("from 4.2.2.2 port 25", ""),
        ("version 15.1.1", ""),
        ("550 No", ""),
        ("3.1.1", ""),
        (None, ""),
    ],
)
def test_an_enhanced_status_code_is_found(given: object, wanted: str) -> None:
    """A status code (RFC 3463) is found in a reply; an IP address isn't one."""
    assert status(given) == wanted


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (1700000000, 1700000000.0),
        (1700000000.5, 1700000000.5),
        ("1700000000", 1700000000.0),
        (1700000000123, 1700000000.123),
        (0, 0.0),
        (-1, None),
        (True, None),
        ("nan", None),
        ("inf", None),
        (10**400, None),
        ("soon", None),
        (None, None),
    ],
)
def test_unix_seconds(given: object, wanted: float | None) -> None:
    """Seconds, digits and milliseconds are a time; nothing else is, and nothing raises."""
    assert seconds(given) == wanted


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("2023-11-14T22:13:20Z", 1700000000.0),
        ("2023-11-14T22:13:20.000Z", 1700000000.0),
        ("2023-11-14T17:13:20.0000000-05:00", 1700000000.0),
        ("2023-11-14T22:13:20", 1700000000.0),
        ("Tue, 14 Nov 2023 22:13:20 +0000", 1700000000.0),
        ("1700000000", 1700000000.0),
        (1700000000, 1700000000.0),
        ("0001-01-01T00:00:00Z", None),
        ("9999-99-99T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
        ("1" * 1000, None),
        ({}, None),
    ],
)
def test_a_date_is_read(given: object, wanted: float | None) -> None:
    """ISO 8601, RFC 5322 and Unix times are read; anything else is no time."""
    assert moment(given) == wanted


def test_text_is_fit_for_a_database() -> None:
    """NUL, other control characters and lone surrogates are left out of texts."""
    assert text("a\x00b\ud800c\x1bd\x85") == "abcd"


def test_a_diagnostic_says_everything_once_and_is_bounded() -> None:
    """Parts are joined, repeated ones left out, blanks collapsed, and the whole is cut."""
    assert diagnostic("550  No\r\n such user", None, "550 No such user", "bounced") == "550 No such user; bounced"
    assert len(diagnostic("x" * 1_000_000)) == 2000


def test_digging_never_raises() -> None:
    """A path through what isn't an object leads to None."""
    assert dig({"a": {"b": 1}}, "a", "b") == 1
    assert dig({"a": [1]}, "a", "b") is None
    assert dig(None, "a") is None


def test_a_fingerprint_depends_on_content_only() -> None:
    """The order of keys doesn't matter; values and recipients do; lone surrogates do no harm."""
    assert fingerprint({"a": 1, "b": "\ud800"}) == fingerprint({"b": "\ud800", "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint({"a": 1}, "x") != fingerprint({"a": 1}, "y")


@pytest.mark.parametrize(
    ("code", "reason", "permanent"),
    [
        ("5.1.1", "bounced", True),
        ("5.1.3", "invalid", True),
        ("5.7.1", "blocked", True),
        ("5.7.26", "blocked", True),
        ("4.4.7", "timed_out", True),
        ("5.2.2", "bounced", False),
        ("5.2.1", "bounced", True),
        ("5.1.7", "blocked", True),
        ("5.1.8", "blocked", True),
        ("", "bounced", True),
    ],
)
def test_a_status_code_says_who_is_to_blame(code: str, reason: str, permanent: bool) -> None:
    """Policy and the sender's address are blocks, a full mailbox isn't permanent; without a code the word stands."""
    meaning = blame(BOUNCED, code)
    assert (meaning.reason, meaning.permanent) == (reason, permanent)


def test_a_status_code_does_not_overrule_a_precise_word() -> None:
    """A provider that says why is believed."""
    spam = Meaning(EventType.BOUNCED, Reason.SPAM, False)
    assert blame(spam, "5.7.1") == blame(spam, "5.2.2") == spam
    assert blame(Meaning(EventType.REJECTED, Reason.BOUNCED, True), "5.7.1").reason == "bounced"


def test_an_event_about_nobody_is_unknown() -> None:
    """Without recipient and message nothing can be done: the event is unknown, and keeps what came."""
    event = make_event(BOUNCED, {"x": 1})
    assert (event.type, event.permanent, event.raw) == ("unknown", None, {"x": 1})


def test_recipients_of_one_event_have_ids_of_their_own() -> None:
    """The same event id, told for several recipients, is told apart, and stays the same when it is told again."""

    def tell(who: str) -> Event:
        return make_event(BOUNCED, {}, recipient=who, event_id="e1", one_of=2)

    assert tell("ann@example.com").event_id == tell("ann@example.com").event_id
    assert tell("ann@example.com").event_id != tell("bob@example.com").event_id

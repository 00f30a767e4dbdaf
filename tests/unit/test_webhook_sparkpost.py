"""SparkPost's words in ours."""

from __future__ import annotations

import json

import pytest

from mailer.bounces import parse_webhook

# https://developers.sparkpost.com/api/webhooks/
BOUNCE = {
    "type": "bounce",
    "bounce_class": "10",
    "error_code": "554",
    "event_id": "92356927693813856",
    "message_id": "000443ee14578172be22",
    "raw_reason": "550 5.1.1 <recipient@example.com>: Recipient address rejected",
    "reason": "550 5.1.1 <...>: Recipient address rejected",
    "rcpt_to": "recipient@example.com",
    "raw_rcpt_to": "Recipient@example.com",
    "timestamp": "1454442600",
}


def read(kind: str = "message_event", **changes: object) -> tuple[str, str | None, bool | None]:
    [event] = parse_webhook("sparkpost", {}, json.dumps([{"msys": {kind: BOUNCE | changes}}]).encode())
    return (event.type, event.reason, event.permanent)


def test_a_hard_bounce_in_full() -> None:
    """Every field of a documented bounce is where it belongs."""
    item = {"msys": {"message_event": BOUNCE}}
    [event] = parse_webhook("sparkpost", {}, json.dumps([item]).encode())
    assert (event.type, event.reason, event.permanent) == ("bounced", "invalid", True)
    assert (event.recipient, event.status) == ("Recipient@example.com", "5.1.1")
    assert event.diagnostic == "550 5.1.1 <recipient@example.com>: Recipient address rejected"
    assert (event.message_id, event.event_id) == ("000443ee14578172be22", "92356927693813856")
    assert event.timestamp == 1454442600.0
    assert event.raw == item


@pytest.mark.parametrize("kind", ["bounce", "out_of_band"])
@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        ("1", ("bounced", "other", None)),
        ("10", ("bounced", "invalid", True)),
        ("20", ("bounced", "bounced", False)),
        ("21", ("bounced", "bounced", False)),
        ("22", ("bounced", "bounced", False)),
        ("23", ("bounced", "other", False)),
        ("24", ("bounced", "timed_out", False)),
        ("25", ("rejected", "blocked", None)),
        ("26", ("rejected", "blocked", None)),
        ("30", ("bounced", "bounced", True)),
        ("40", ("bounced", "bounced", False)),
        ("50", ("bounced", "blocked", False)),
        ("51", ("bounced", "spam", False)),
        ("52", ("bounced", "spam", False)),
        ("53", ("bounced", "other", False)),
        ("54", ("bounced", "blocked", False)),
        ("60", ("autoresponded", None, None)),
        ("70", ("bounced", "bounced", False)),
        ("80", ("subscribed", None, None)),
        ("90", ("unsubscribed", "unsubscribed", None)),
        ("100", ("autoresponded", None, None)),
        (10, ("bounced", "invalid", True)),
        ("999", ("bounced", "other", None)),
    ],
)
def test_bounce_classes(kind: str, number: object, wanted: tuple[str, str | None, bool | None]) -> None:
    """Every class of the documented table is hard, soft, a block, SparkPost's own, or no bounce at all."""
    assert read(type=kind, bounce_class=number, raw_reason="", reason="") == wanted


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("delivery", ("delivered", None, None)),
        ("generation_failure", ("failed", "other", False)),
        ("spam_complaint", ("complained", "spam", None)),
        ("list_unsubscribe", ("unsubscribed", "unsubscribed", None)),
        ("link_unsubscribe", ("unsubscribed", "unsubscribed", None)),
        ("open", ("opened", None, None)),
        ("initial_open", ("opened", None, None)),
        ("amp_click", ("clicked", None, None)),
        ("click", ("clicked", None, None)),
        ("injection", ("unknown", None, None)),
        ("undreamt", ("unknown", None, None)),
    ],
)
def test_other_events(kind: str, wanted: tuple[str, str | None, bool | None]) -> None:
    """The remaining documented events have their words; an unknown one is kept as such."""
    assert read("track_event", type=kind, bounce_class="") == wanted


def test_a_delay_is_deferred_with_its_reason() -> None:
    """A delay isn't permanent, whatever its class; the class says why."""
    assert read(type="delay", bounce_class="51") == ("deferred", "spam", False)
    assert read(type="delay", bounce_class="") == ("deferred", None, False)


@pytest.mark.parametrize("kind", ["policy_rejection", "generation_rejection"])
def test_a_suppressed_recipient_is_rejected_for_good(kind: str) -> None:
    """SparkPost's suppression list is lasting; other rejections may pass."""
    said = "550 5.7.1 recipient address was suppressed due to customer policy"
    assert read(type=kind, bounce_class="25", raw_reason=said) == ("rejected", "blocked", True)
    assert read(type=kind, bounce_class="25", raw_reason="554 5.7.1 content") == ("rejected", "blocked", None)


def test_a_report_of_no_spam_is_no_complaint() -> None:
    """A feedback report of type ``not-spam`` (RFC 5965) complains about nothing."""
    assert read(type="spam_complaint", bounce_class="", fbtype="not-spam")[0] == "unknown"


@pytest.mark.parametrize("body", [b'[{"msys":{}}]', b"[]", b'[{"msys":{}},{"msys":{}}]', b'{"msys":{}}'])
def test_a_probe_is_no_event(body: bytes) -> None:
    """What SparkPost sends to try a webhook is valid and holds no event."""
    assert parse_webhook("sparkpost", {}, body) == []


@pytest.mark.parametrize("msys", [None, 7, [], {"a": {}, "b": {}}, {"message_event": None}, {"message_event": "x"}])
def test_what_is_no_event_is_kept_as_unknown(msys: object) -> None:
    """An item of another shape is unknown, with its JSON kept."""
    [event] = parse_webhook("sparkpost", {}, json.dumps([{"msys": msys}]).encode())
    assert (event.type, event.raw) == ("unknown", {"msys": msys})

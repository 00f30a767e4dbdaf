"""Postmark's words in ours."""

from __future__ import annotations

import json

import pytest

from mailer.bounces import parse_webhook

# https://postmarkapp.com/developer/webhooks/bounce-webhook
BOUNCE = {
    "RecordType": "Bounce",
    "ID": 4323372036854775807,
    "Type": "HardBounce",
    "TypeCode": 1,
    "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
    "Description": "The server was unable to deliver your message (ex: unknown user, mailbox not found).",
    "Details": "smtp;550 5.1.1 The email account that you tried to reach does not exist",
    "Email": "john@example.com",
    "BouncedAt": "2019-11-05T16:33:54.9070259Z",
    "Inactive": True,
}


def test_a_hard_bounce_in_full() -> None:
    """Every field of a documented bounce is where it belongs."""
    [event] = parse_webhook("postmark", {}, json.dumps(BOUNCE).encode())
    assert (event.type, event.reason, event.permanent) == ("bounced", "bounced", True)
    assert (event.recipient, event.status) == ("john@example.com", "5.1.1")
    assert event.diagnostic.startswith("smtp;550 5.1.1 The email account that you tried to reach does not exist; The ")
    assert event.message_id == "883953f4-6105-42a2-a16a-77a8eac79483"
    assert event.event_id == "Bounce:4323372036854775807"
    assert event.timestamp == pytest.approx(1572971634.907, abs=0.001)
    assert event.raw == BOUNCE


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("SoftBounce", ("bounced", "bounced", False)),
        ("Transient", ("deferred", None, False)),
        ("DnsError", ("deferred", None, False)),
        ("Blocked", ("bounced", "blocked", False)),
        ("SpamNotification", ("bounced", "spam", False)),
        ("VirusNotification", ("bounced", "other", False)),
        ("Unknown", ("bounced", "other", None)),
        ("BadEmailAddress", ("rejected", "invalid", True)),
        ("ManuallyDeactivated", ("rejected", "blocked", True)),
        ("Unconfirmed", ("rejected", "other", None)),
        ("DMARCPolicy", ("rejected", "blocked", False)),
        ("SMTPApiError", ("failed", "other", False)),
        ("TemplateRenderingFailed", ("failed", "other", False)),
        ("SpamComplaint", ("complained", "spam", None)),
        ("Unsubscribe", ("unsubscribed", "unsubscribed", None)),
        ("Subscribe", ("subscribed", None, None)),
        ("AutoResponder", ("autoresponded", None, None)),
        ("AddressChange", ("autoresponded", None, None)),
        ("ChallengeVerification", ("autoresponded", None, None)),
        ("OpenRelayTest", ("unknown", None, None)),
        ("InboundError", ("unknown", None, None)),
        ("Undreamt", ("unknown", None, None)),
    ],
)
def test_types_of_bounces(kind: str, wanted: tuple[str, str | None, bool | None]) -> None:
    """Hard, soft, ours and nobody's are told apart for each documented type."""
    [event] = parse_webhook("postmark", {}, json.dumps(BOUNCE | {"Type": kind, "Details": ""}).encode())
    assert (event.type, event.reason, event.permanent) == wanted


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        ({"RecordType": "Delivery", "Recipient": "john@example.com"}, ("delivered", None)),
        ({"RecordType": "Open", "Recipient": "john@example.com"}, ("opened", None)),
        ({"RecordType": "Click", "Recipient": "john@example.com"}, ("clicked", None)),
        ({"RecordType": "SpamComplaint", "Email": "john@example.com", "ID": 42}, ("complained", "spam")),
        (
            {
                "RecordType": "SubscriptionChange",
                "Recipient": "john@example.com",
                "SuppressSending": True,
                "SuppressionReason": "ManualSuppression",
            },
            ("unsubscribed", "unsubscribed"),
        ),
        (
            {
                "RecordType": "SubscriptionChange",
                "Recipient": "john@example.com",
                "SuppressSending": True,
                "SuppressionReason": "HardBounce",
            },
            ("bounced", "bounced"),
        ),
        (
            {"RecordType": "SubscriptionChange", "Recipient": "john@example.com", "SuppressSending": False},
            ("subscribed", None),
        ),
        ({"RecordType": "Inbound", "Recipient": "john@example.com"}, ("unknown", None)),
        ({"Type": "HardBounce", "Email": "john@example.com"}, ("bounced", "bounced")),
    ],
)
def test_other_records(record: dict[str, object], wanted: tuple[str, str | None]) -> None:
    """Deliveries, opens, clicks, complaints and changes of subscription are told apart."""
    [event] = parse_webhook("postmark", {}, json.dumps(record).encode())
    assert (event.type, event.reason, event.recipient) == (*wanted, "john@example.com")


def test_an_inactive_recipient_is_a_suppressed_one() -> None:
    """An API error that says the recipient is inactive means that Postmark has suppressed the address."""
    details = "You tried to send to recipient(s) that have been marked as inactive."
    [event] = parse_webhook("postmark", {}, json.dumps(BOUNCE | {"Type": "SMTPApiError", "Details": details}).encode())
    assert (event.type, event.reason, event.permanent) == ("rejected", "bounced", True)


def test_events_without_an_id_are_told_apart_by_content() -> None:
    """The same delivery told twice has one id; another one has another."""
    one = {"RecordType": "Delivery", "Recipient": "john@example.com", "DeliveredAt": "2019-11-05T16:33:54Z"}
    ids = [
        parse_webhook("postmark", {}, json.dumps(record).encode())[0].event_id
        for record in (one, one, one | {"DeliveredAt": "2019-11-05T16:33:55Z"})
    ]
    assert ids[0] == ids[1] != ids[2]

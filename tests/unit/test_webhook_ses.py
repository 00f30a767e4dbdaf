"""Amazon SES's words in ours."""

from __future__ import annotations

import json

import pytest

from mailer.bounces import parse_webhook
from mailer.bounces.errors import WebhookMalformed

# https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-examples.html
MAIL = {
    "timestamp": "2017-08-05T00:40:02.012Z",
    "source": "Sender <sender@example.com>",
    "messageId": "EXAMPLE7c191be45-e9aedb9a-02f9-4d12-a87d-dd0099a07f8a-000000",
    "destination": ["recipient@example.com"],
    "headers": [
        {"name": "From", "value": "Sender <sender@example.com>"},
        {"name": "Message-ID", "value": "<s.1.t@example.com>"},
    ],
    "commonHeaders": {"messageId": "EXAMPLE7c191be45"},
}
BOUNCE = {
    "eventType": "Bounce",
    "bounce": {
        "bounceType": "Permanent",
        "bounceSubType": "General",
        "bouncedRecipients": [
            {
                "emailAddress": "recipient@example.com",
                "action": "failed",
                "status": "5.1.1",
                "diagnosticCode": "smtp; 550 5.1.1 user unknown",
            }
        ],
        "timestamp": "2017-08-05T00:41:02.669Z",
        "feedbackId": "01000157c44f053b-61b59c11-9236-11e6-8f96-7be8aexample-000000",
    },
    "mail": MAIL,
}


def wrapped(event: object, **changes: object) -> bytes:
    message = event if isinstance(event, str) else json.dumps(event)
    return json.dumps(
        {"Type": "Notification", "MessageId": "sns-1", "TopicArn": "arn", "Message": message} | changes
    ).encode()


def read(event: dict[str, object]) -> tuple[str, str | None, bool | None]:
    [found] = parse_webhook("ses", {}, wrapped(event))
    return (found.type, found.reason, found.permanent)


def bounce(**changes: object) -> dict[str, object]:
    return BOUNCE | {"bounce": BOUNCE["bounce"] | changes}  # type: ignore[operator]


def test_a_bounce_in_full() -> None:
    """Every field of a documented bounce is where it belongs; the id is our own, not the one that SES gave."""
    [event] = parse_webhook("ses", {}, wrapped(BOUNCE))
    assert (event.type, event.reason, event.permanent) == ("bounced", "bounced", True)
    assert (event.recipient, event.status) == ("recipient@example.com", "5.1.1")
    assert event.diagnostic == "smtp; 550 5.1.1 user unknown"
    assert event.message_id == "<s.1.t@example.com>"
    assert event.event_id == "01000157c44f053b-61b59c11-9236-11e6-8f96-7be8aexample-000000"
    assert event.timestamp == pytest.approx(1501893662.669)
    assert event.raw == BOUNCE


@pytest.mark.parametrize(
    ("kind", "sub", "wanted"),
    [
        ("Permanent", "General", ("bounced", "bounced", True)),
        ("Permanent", "NoEmail", ("bounced", "bounced", True)),
        ("Permanent", "Suppressed", ("rejected", "bounced", True)),
        ("Permanent", "OnAccountSuppressionList", ("rejected", "bounced", True)),
        ("Permanent", "UnsubscribedRecipient", ("rejected", "unsubscribed", True)),
        ("Transient", "General", ("bounced", "bounced", False)),
        ("Transient", "MailboxFull", ("bounced", "bounced", False)),
        ("Transient", "MessageTooLarge", ("bounced", "other", False)),
        ("Transient", "ContentRejected", ("bounced", "spam", False)),
        ("Transient", "AttachmentRejected", ("bounced", "other", False)),
        ("Transient", "CustomTimeoutExceeded", ("bounced", "timed_out", False)),
        ("Undetermined", "Undetermined", ("bounced", "other", None)),
        ("Permanent", "SomethingNew", ("bounced", "bounced", True)),
        ("Undreamt", "", ("bounced", "other", None)),
    ],
)
def test_types_of_bounces(kind: str, sub: str, wanted: tuple[str, str, bool | None]) -> None:
    """Hard, soft, suppressed and about the message are told apart for each documented pair."""
    recipients = [{"emailAddress": "recipient@example.com"}]
    assert read(bounce(bounceType=kind, bounceSubType=sub, bouncedRecipients=recipients)) == wanted


def test_a_policy_refusal_is_a_block() -> None:
    """A hard bounce with a policy code blames us, not the address."""
    recipients = [{"emailAddress": "recipient@example.com", "diagnosticCode": "smtp; 550 5.7.1 blocked"}]
    assert read(bounce(bouncedRecipients=recipients)) == ("bounced", "blocked", True)


def test_several_recipients_are_several_events() -> None:
    """Each recipient of a bounce has an event with its own status and id, the same when it is told again."""
    recipients = [
        {"emailAddress": "ann@example.com", "status": "5.1.1"},
        {"emailAddress": "Bob <bob@example.com>", "status": "5.2.2"},
    ]
    first, again = (parse_webhook("ses", {}, wrapped(bounce(bouncedRecipients=recipients))) for _ in range(2))
    assert [(event.recipient, event.status, event.permanent) for event in first] == [
        ("ann@example.com", "5.1.1", True),
        ("bob@example.com", "5.2.2", False),
    ]
    assert first[0].event_id != first[1].event_id
    assert first == again


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        (
            {
                "notificationType": "Complaint",
                "complaint": {
                    "complainedRecipients": [{"emailAddress": "recipient@example.com"}],
                    "complaintFeedbackType": "abuse",
                    "feedbackId": "f",
                },
            },
            ("complained", "spam", None),
        ),
        (
            {
                "eventType": "Complaint",
                "complaint": {
                    "complainedRecipients": [{"emailAddress": "recipient@example.com"}],
                    "complaintSubType": "OnAccountSuppressionList",
                },
            },
            ("rejected", "spam", True),
        ),
        ({"eventType": "Complaint", "complaint": {"complaintFeedbackType": "not-spam"}}, ("unknown", None, None)),
        ({"eventType": "Complaint", "complaint": {"complaintFeedbackType": "auth-failure"}}, ("unknown", None, None)),
        (
            {
                "eventType": "Delivery",
                "delivery": {"recipients": ["recipient@example.com"], "smtpResponse": "250 2.6.0 OK"},
            },
            ("delivered", None, None),
        ),
        (
            {
                "eventType": "DeliveryDelay",
                "deliveryDelay": {
                    "delayType": "TransientCommunicationFailure",
                    "delayedRecipients": [{"emailAddress": "recipient@example.com", "status": "4.4.1"}],
                },
            },
            ("deferred", None, False),
        ),
        ({"eventType": "DeliveryDelay", "deliveryDelay": {"delayType": "IPFailure"}}, ("deferred", "blocked", False)),
        ({"eventType": "DeliveryDelay", "deliveryDelay": {"delayType": "MailboxFull"}}, ("deferred", "bounced", False)),
        ({"eventType": "Reject", "reject": {"reason": "Bad content"}}, ("rejected", "blocked", False)),
        ({"eventType": "Rendering Failure", "failure": {"errorMessage": "attr"}}, ("failed", "other", False)),
        ({"eventType": "Open", "open": {}}, ("opened", None, None)),
        ({"eventType": "Click", "click": {"link": "https://example.com"}}, ("clicked", None, None)),
        ({"eventType": "Send", "send": {}}, ("unknown", None, None)),
        (
            {"eventType": "Subscription", "subscription": {"newTopicPreferences": {"unsubscribeAll": True}}},
            ("unsubscribed", "unsubscribed", None),
        ),
        (
            {
                "eventType": "Subscription",
                "subscription": {
                    "newTopicPreferences": {
                        "unsubscribeAll": False,
                        "topicSubscriptionStatus": [{"topicName": "n", "subscriptionStatus": "OptOut"}],
                    }
                },
            },
            ("unsubscribed", "unsubscribed", None),
        ),
        (
            {
                "eventType": "Subscription",
                "subscription": {
                    "newTopicPreferences": {
                        "topicSubscriptionStatus": [
                            {"topicName": "n", "subscriptionStatus": "OptOut"},
                            {"topicName": "m", "subscriptionStatus": "OptIn"},
                        ],
                    }
                },
            },
            ("subscribed", None, None),
        ),
        ({"eventType": "Undreamt"}, ("unknown", None, None)),
    ],
)
def test_other_events(event: dict[str, object], wanted: tuple[str, str | None, bool | None]) -> None:
    """Every documented type of event has its word, and the recipient of the message where it names none."""
    [found] = parse_webhook("ses", {}, wrapped(event | {"mail": MAIL}))
    assert (found.type, found.reason, found.permanent) == wanted
    assert found.recipient == "recipient@example.com"


def test_a_delivery_takes_the_id_of_its_notification() -> None:
    """What has no feedback id is known by SNS's, which stays the same when it is told again."""
    event = {"eventType": "Delivery", "delivery": {"recipients": ["recipient@example.com"]}, "mail": MAIL}
    [found] = parse_webhook("ses", {}, wrapped(event))
    assert found.event_id == "sns-1"


def test_without_headers_the_provider_s_id_is_told() -> None:
    """Where SES doesn't repeat the headers, the message is known by the id that SES gave it."""
    mail = {key: value for key, value in MAIL.items() if key not in {"headers", "commonHeaders"}}
    [found] = parse_webhook("ses", {}, wrapped(BOUNCE | {"mail": mail}))
    assert found.message_id == MAIL["messageId"]


def test_raw_delivery_is_read() -> None:
    """SNS's raw message delivery sends the event without an envelope."""
    [found] = parse_webhook("ses", {}, json.dumps(BOUNCE).encode())
    assert found.recipient == "recipient@example.com"


@pytest.mark.parametrize(
    "body",
    [
        wrapped("You have chosen to subscribe", Type="SubscriptionConfirmation"),
        wrapped("You have chosen to deactivate", Type="UnsubscribeConfirmation"),
        wrapped("Successfully validated SNS topic for Amazon SES event publishing."),
    ],
)
def test_sns_s_own_messages_are_no_events(body: bytes) -> None:
    """Confirmations and SES's probe hold no event."""
    assert parse_webhook("ses", {}, body) == []


@pytest.mark.parametrize(
    "body",
    [wrapped("not JSON"), wrapped("[1]"), wrapped(""), wrapped({}, Message=7), wrapped({}), wrapped({}, Type="New")],
)
def test_a_notification_of_something_else_is_unknown(body: bytes) -> None:
    """What SNS delivers and SES didn't write is an unknown event."""
    [found] = parse_webhook("ses", {}, body)
    assert found.type == "unknown"


def test_recipients_are_bounded() -> None:
    """An event of more recipients than SES would take is malformed."""
    event = {"eventType": "Delivery", "delivery": {"recipients": ["a@example.com"] * 1001}}
    with pytest.raises(WebhookMalformed):
        parse_webhook("ses", {}, wrapped(event))

"""Whatever is sent to a webhook: events or our own errors, nothing else. (``make fuzz`` tries far more of it.)"""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.bounces import Event, parse_webhook, verify_webhook
from mailer.bounces.errors import WebhookError
from tests.servers.senders import PROVIDERS as ALL
from tests.servers.senders import said

ANN = "ann@example.com"
NOW = 1_700_000_000.0
TOPIC = "arn:aws:sns:us-west-2:123456789012:bounces"
KEY = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
SECRETS = {"topic_arn": TOPIC, "public_key": KEY.decode(), "signing_key": "k", "username": "u", "password": "p"}
SECRETS |= {"secret": "whsec_AAAA", "key": "k", "url": "https://letter.example/webhooks/mandrill", "token": "t"}

SES = {
    "eventType": "Bounce",
    "bounce": {
        "bounceType": "Permanent",
        "bounceSubType": "General",
        "bouncedRecipients": [{"emailAddress": ANN, "status": "5.1.1", "diagnosticCode": "smtp; 550"}, ANN],
        "timestamp": "2023-11-14T22:13:20Z",
        "feedbackId": "f",
    },
    "subscription": {"newTopicPreferences": {"topicSubscriptionStatus": [{"subscriptionStatus": "OptOut"}]}},
    "mail": {"destination": [ANN], "headers": [{"name": "Message-ID", "value": "<1@example.com>"}], "messageId": "m"},
}
EVENTS: dict[str, Any] = {
    "ses": SES,
    "sendgrid": [
        {"event": "bounce", "type": "bounce", "email": ANN, "timestamp": 1, "reason": "550", "smtp-id": "<1>"}
    ],
    "mailgun": {
        "signature": {"timestamp": str(int(NOW)), "token": "t", "signature": "00"},
        "event-data": {
            "event": "failed",
            "severity": "permanent",
            "reason": "bounce",
            "recipient": ANN,
            "id": "i",
            "timestamp": NOW,
            "delivery-status": {"code": 550, "message": "no"},
            "message": {"headers": {"to": ANN, "message-id": "1@example.com"}, "recipients": [ANN]},
        },
    },
    "postmark": {"RecordType": "Bounce", "Type": "HardBounce", "ID": 42, "Email": ANN, "BouncedAt": "2023-11-14"},
    "mailjet": [{"event": "bounce", "hard_bounce": True, "error": "user unknown", "email": ANN, "MessageID": 1}],
    "sparkpost": [{"msys": {"message_event": {"type": "bounce", "bounce_class": "10", "rcpt_to": ANN}}}],
}
EVENTS |= {name: json.loads(said(name, ANN)) for name in ALL if name not in EVENTS}
PROVIDERS = list(EVENTS)

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([ANN, "5.1.1", "1700000000", "\x00", "\ud800", "a" * 3000, "9" * 400, 10**4000, [], {}, [[]]])
)
DOCUMENTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Authorization",
            "Content-Type",
            "X-Twilio-Email-Event-Webhook-Signature",
            "X-Twilio-Email-Event-Webhook-Timestamp",
        ]
    ),
    st.text(max_size=10)
    | st.sampled_from(["Basic dTpw", "Basic dTpx", str(int(NOW)), "AAAA", "application/x-www-form-urlencoded"]),
)


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """A document with any of its parts left out or replaced."""
    if draw(st.integers(0, 7)) == 0:
        return draw(LEAVES)
    if isinstance(value, dict):
        return {key: draw(damaged(item)) for key, item in value.items() if draw(st.integers(0, 9))}
    return [draw(damaged(item)) for item in value] if isinstance(value, list) else value


def body_of(provider: str, document: object) -> bytes:
    """A document as the provider sends it."""
    text = json.dumps(document)
    return urlencode({"mandrill_events": text}).encode() if provider == "mandrill" else text.encode()


def survive(provider: str, headers: dict[str, str], body: bytes) -> list[Event]:
    try:
        verify_webhook(provider, headers, body, SECRETS, NOW)
    except WebhookError as error:
        verdict = str(error)
    else:
        verdict = "accepted"
    assert verdict
    try:
        events = parse_webhook(provider, headers, body)
    except WebhookError:
        return []
    for event in events:
        assert isinstance(event.permanent, bool | None)
        assert event.event_id
        # What a database takes: no NUL and no lone surrogate.
        texts = (event.recipient, event.status, event.diagnostic, event.message_id, event.event_id)
        assert b"\x00" not in "\n".join(texts).encode()
        assert json.loads(json.dumps(event.raw)) == event.raw
    return events


@pytest.mark.parametrize("provider", PROVIDERS)
@given(headers=HEADERS, body=st.binary(max_size=100))
@settings(max_examples=10)
def test_arbitrary_bytes(provider: str, headers: dict[str, str], body: bytes) -> None:
    """Arbitrary bytes give events or our own errors."""
    survive(provider, headers, body)


@pytest.mark.parametrize("provider", PROVIDERS)
@given(headers=HEADERS, document=DOCUMENTS)
@settings(max_examples=10)
def test_arbitrary_json(provider: str, headers: dict[str, str], document: object) -> None:
    """Arbitrary JSON gives events or our own errors."""
    survive(provider, headers, body_of(provider, document))


@pytest.mark.parametrize("provider", PROVIDERS)
@given(data=st.data())
@settings(max_examples=15)
def test_damaged_events(provider: str, data: st.DataObject) -> None:
    """An event with parts that are missing or of another kind is still read, and the same when it is sent again."""
    body = body_of(provider, data.draw(damaged(EVENTS[provider])))
    first, again = survive(provider, {}, body), survive(provider, {}, body)
    assert [event.event_id for event in first] == [event.event_id for event in again]


@given(data=st.data())
@settings(max_examples=40)
def test_damaged_notifications(data: st.DataObject) -> None:
    """The same for an event within Amazon SNS's envelope."""
    envelope = {
        "Type": "Notification",
        "MessageId": "m",
        "TopicArn": TOPIC,
        "Message": json.dumps(data.draw(damaged(SES))),
        "Timestamp": "2023-11-14T22:13:20Z",
        "SignatureVersion": "1",
        "Signature": base64.b64encode(b"x").decode(),
        "SigningCertURL": "https://sns.us-west-2.amazonaws.com/a.pem",
    }
    survive("ses", {}, json.dumps(data.draw(damaged(envelope))).encode())


@pytest.mark.parametrize(
    ("provider", "document"),
    [
        ("ses", {"eventType": "Bounce", "bounce": {"bouncedRecipients": [f"{n}@example.com" for n in range(1000)]}}),
        ("sendgrid", [{"event": "bounce", "email": f"{n}@example.com"} for n in range(1000)]),
        ("mailjet", [{"event": "bounce", "email": f"{n}@example.com"} for n in range(1000)]),
        ("postmark", [{"RecordType": "Bounce", "Email": f"{n}@example.com"} for n in range(1000)]),
        ("sparkpost", [{"msys": {"e": {"type": "bounce", "rcpt_to": f"{n}@example.com"}}} for n in range(1000)]),
    ],
)
def test_many_events_are_told_apart(provider: str, document: object) -> None:
    """A thousand recipients of one event, or a thousand events of one request, have a thousand ids."""
    events = parse_webhook(provider, {}, json.dumps(document).encode())
    assert len({event.event_id for event in events}) == len({event.recipient for event in events}) == 1000

"""Amazon SNS's signature, certificate and confirmation."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from mailer.bounces import verify_webhook
from mailer.bounces.errors import CertificateNeeded, WebhookMalformed, WebhookRefused
from mailer.bounces.providers import ses
from mailer.bounces.request import unpack

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC).timestamp()
TOPIC = "arn:aws:sns:us-west-2:123456789012:bounces"
URL = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem"
CONFIRM = "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-west-2&Token=2336"
KEY, OTHER = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)
SETTINGS = {"topic_arn": TOPIC}


def certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(made).not_valid_after(made + timedelta(days=365))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


CERTIFICATES = {URL: certificate(KEY)}

NOTIFICATION: dict[str, object] = {
    "Type": "Notification",
    "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
    "TopicArn": TOPIC,
    "Subject": "Grüße",
    "Message": '{"eventType": "Send"}\n',
    "Timestamp": "2026-01-15T10:29:01.123Z",
    "SignatureVersion": "1",
    "SigningCertURL": URL,
}
SUBSCRIPTION = NOTIFICATION | {"Type": "SubscriptionConfirmation", "Token": "2336412f37", "SubscribeURL": CONFIRM}

SIGNED = {
    "Notification": ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
    "SubscriptionConfirmation": ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
    "UnsubscribeConfirmation": ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
}


def sign(message: dict[str, object], key: rsa.RSAPrivateKey = KEY) -> dict[str, object]:
    names = [name for name in SIGNED[str(message["Type"])] if name in message]
    text = "".join(f"{name}\n{message[name]}\n" for name in names)
    digest = hashes.SHA256() if message["SignatureVersion"] == "2" else hashes.SHA1()
    made = key.sign(text.encode(), padding.PKCS1v15(), digest)
    return message | {"Signature": base64.b64encode(made).decode()}


def check(message: dict[str, object], *, now: float = NOW, settings: dict[str, object] | None = None) -> None:
    verify_webhook(
        "ses",
        {"Content-Type": "text/plain; charset=UTF-8"},
        json.dumps(message).encode(),
        SETTINGS if settings is None else settings,  # type: ignore[arg-type]
        now,
        certificates=CERTIFICATES,
    )


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    "message",
    [
        NOTIFICATION,
        {key: value for key, value in NOTIFICATION.items() if key != "Subject"},
        SUBSCRIPTION,
        SUBSCRIPTION | {"Type": "UnsubscribeConfirmation"},
    ],
    ids=["notification", "without subject", "subscription", "end of it"],
)
def test_a_right_signature_is_accepted(message: dict[str, object], version: str) -> None:
    """Both versions are accepted, for every kind of message."""
    check(sign(message | {"SignatureVersion": version}))


def test_several_topics_may_be_ours() -> None:
    """The configuration may name more than one topic; a retry may come hours later."""
    check(sign(NOTIFICATION), settings={"topic_arn": ("arn:aws:sns:eu-west-1:1:other", TOPIC)}, now=NOW + 6 * 3600)


def test_the_certificate_is_asked_for_once_everything_else_is_right() -> None:
    """Without the certificate, the error says which URL to fetch; nothing else would be fetched."""
    body = json.dumps(sign(NOTIFICATION)).encode()
    with pytest.raises(CertificateNeeded) as caught:
        verify_webhook("ses", {}, body, SETTINGS, NOW)
    assert caught.value.url == URL
    verify_webhook("ses", {}, body, SETTINGS, NOW, certificates={caught.value.url: certificate(KEY)})


@pytest.mark.parametrize(
    "topic",
    ["arn:aws:sns:us-west-2:999999999999:bounces", TOPIC + "2", TOPIC[:-1], TOPIC.upper(), "", None, 7, [TOPIC]],
)
def test_another_topic_is_refused_before_anything_is_fetched(topic: object) -> None:
    """A valid signature of somebody else's topic is worth nothing."""
    message = NOTIFICATION | {"TopicArn": topic}
    with pytest.raises(WebhookRefused, match="topic") as caught:
        verify_webhook("ses", {}, json.dumps(sign(message)).encode(), SETTINGS, NOW)
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.us-west-2.amazonaws.com/a.pem",
        "https://sns.us-west-2.amazonaws.com:443/a.pem",
        "https://sns.us-west-2.amazonaws.com:8443/a.pem",
        "https://user@sns.us-west-2.amazonaws.com/a.pem",
        "https://sns.us-west-2.amazonaws.com@evil.example/a.pem",
        "https://sns.us-west-2.amazonaws.com.evil.example/a.pem",
        "https://evil.example/sns.us-west-2.amazonaws.com/a.pem",
        "https://evil.example/a.pem#https://sns.us-west-2.amazonaws.com/a.pem",
        "https://sns.us-west-2.amazonaws.com/a.pem?x=.pem",
        "https://sns.us-west-2.amazonaws.com/a.pem#.pem",
        "https://sns.us-west-2.amazonaws.com/a.pem\n",
        "https://sns.us-west-2.amazonaws.com/../a.pem",
        "https://sns.us-west-2.amazonaws.com/x/a.pem",
        "https://sns.us-west-2.amazonaws.com//a.pem",
        "https://sns.us-west-2.amazonaws.com\\a.pem",
        "https://sns.us-west-2.amazonaws.com/a.txt",
        "https://sns.us-west-2.amazonaws.com/",
        "https://sns.us-west-2.amazonaws.com./a.pem",
        "https://sns.us-west-2amazonaws.com/a.pem",
        "https://sns.us-west-2xamazonaws.com/a.pem",
        "https://sns.us-west-2.amazonawsxcom/a.pem",
        "https://snsxus-west-2.amazonaws.com/a.pem",
        "https://sns.s3.amazonaws.com/a.pem",
        "https://sns.s3-us-west-2.amazonaws.com/a.pem",
        "https://sns.s3.us-west-2.amazonaws.com/a.pem",
        "https://sns.evil.us-west-2.amazonaws.com/a.pem",
        "https://s3.us-west-2.amazonaws.com/a.pem",
        "https://sns.us-west-2.amazonaws.com.cn.evil.example/a.pem",
        "https://SNS.us-west-2.amazonaws.com/a.pem",
        "https://sns.us-west-2.amazonaws.com/ä.pem",
        "https://sns.us-wëst-2.amazonaws.com/a.pem",
        "https://sns.us-west-２.amazonaws.com/a.pem",
        " https://sns.us-west-2.amazonaws.com/a.pem",
        "file:///etc/passwd.pem",
        "//sns.us-west-2.amazonaws.com/a.pem",
        "",
        None,
        7,
        [URL],
    ],
)
def test_a_foreign_certificate_is_never_asked_for(url: object) -> None:
    """Only SNS's own hosts, over https, without port, user or query; however the URL tries to look like one."""
    message = sign(NOTIFICATION) | {"SigningCertURL": url}
    with pytest.raises(WebhookRefused, match="SigningCertURL"):
        check(message)


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "ap-southeast-2", "us-gov-west-1", "cn-north-1"])
def test_every_region_s_certificate_may_be_asked_for(region: str) -> None:
    """The certificates of all regions have the same form; China's domain has its own ending."""
    ending = ".cn" if region.startswith("cn") else ""
    url = f"https://sns.{region}.amazonaws.com{ending}/SimpleNotificationService-0123456789abcdef.pem"
    with pytest.raises(CertificateNeeded, match=region):
        check(sign(NOTIFICATION) | {"SigningCertURL": url})


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Signature": None}, 401),
        ({"Signature": 7}, 401),
        ({"SignatureVersion": "3"}, 401),
        ({"SignatureVersion": None}, 401),
        ({"Signature": ""}, 403),
        ({"Signature": "!!!"}, 403),
        ({"Signature": "AAAA"}, 403),
        ({"SignatureVersion": "2"}, 403),
        ({"Message": '{"eventType": "Bounce"}'}, 403),
        ({"MessageId": "another"}, 403),
        ({"Subject": "another"}, 403),
        ({"Subject": None}, 403),
        ({"Timestamp": "2026-01-15T10:29:02.123Z"}, 403),
        ({"Type": "SubscriptionConfirmation", "Token": "t", "SubscribeURL": CONFIRM}, 403),
    ],
)
def test_a_signature_is_refused(changes: dict[str, object], status: int) -> None:
    """Missing, of another version, unreadable, or over other fields: refused."""
    with pytest.raises(WebhookRefused) as caught:
        check(sign(NOTIFICATION) | changes)
    assert caught.value.status == status


def test_another_key_s_signature_is_refused() -> None:
    """A signature that the certificate's key didn't make is wrong."""
    with pytest.raises(WebhookRefused, match="wrong"):
        check(sign(NOTIFICATION, OTHER))


@pytest.mark.parametrize(
    "pem", [b"", b"<html>", certificate(ec.generate_private_key(ec.SECP256R1()))], ids=["empty", "page", "no RSA"]
)
def test_a_certificate_that_is_none_is_refused(pem: bytes) -> None:
    """What was fetched may be anything; only a certificate with an RSA key can check a signature."""
    with pytest.raises(WebhookRefused, match="certificate"):
        verify_webhook("ses", {}, json.dumps(sign(NOTIFICATION)).encode(), SETTINGS, NOW, certificates={URL: pem})


@pytest.mark.parametrize("now", [NOW + 86400, NOW - 3600])
def test_old_and_future_messages_are_refused(now: float) -> None:
    """A message of another day may be a replay; one from the future has no business here."""
    with pytest.raises(WebhookRefused, match="time"):
        check(sign(NOTIFICATION), now=now)


@pytest.mark.parametrize("name", ["Message", "MessageId", "Timestamp", "Type"])
@pytest.mark.parametrize("value", [None, 7, {}])
def test_a_signed_field_that_is_no_text_is_malformed(name: str, value: object) -> None:
    """What is signed must be there, as text."""
    with pytest.raises(WebhookMalformed):
        check(sign(NOTIFICATION) | {name: value})


@pytest.mark.parametrize("name", ["Message", "TopicArn"])
def test_a_lone_surrogate_in_a_signed_field_is_malformed(name: str) -> None:
    """JSON can spell what is no Unicode text; no signature can be over it."""
    with pytest.raises(WebhookMalformed):
        check(sign(NOTIFICATION) | {name: "\ud800"})


def test_a_subscription_is_confirmed_at_sns() -> None:
    """The URL to confirm is told for a subscription only: following the one that ends it would renew it."""
    assert ses.confirmation_url(unpack({}, json.dumps(SUBSCRIPTION).encode())) == CONFIRM
    assert ses.confirmation_url(unpack({}, json.dumps(NOTIFICATION).encode())) is None
    assert (
        ses.confirmation_url(unpack({}, json.dumps(SUBSCRIPTION | {"Type": "UnsubscribeConfirmation"}).encode()))
        is None
    )


@pytest.mark.parametrize(
    "url",
    [
        CONFIRM.replace("https", "http"),
        CONFIRM.replace(".com/", ".com:443/"),
        CONFIRM.replace("sns.", "user@sns."),
        CONFIRM.replace(".com/", ".com.evil.example/"),
        CONFIRM.replace("sns.us-west-2", "sns.s3-us-west-2"),
        CONFIRM.replace(".com/?", ".com/x?"),
        CONFIRM.replace("ConfirmSubscription", "Unsubscribe"),
        CONFIRM + "\r\n",
        CONFIRM + " ",
        "http://169.254.169.254/?Action=ConfirmSubscription",
        "",
        None,
        7,
    ],
)
def test_a_foreign_confirmation_is_refused(url: object) -> None:
    """Only SNS's own hosts are visited, however the URL tries to look like one."""
    with pytest.raises(WebhookRefused, match="SubscribeURL"):
        ses.confirmation_url(unpack({}, json.dumps(SUBSCRIPTION | {"SubscribeURL": url}).encode()))

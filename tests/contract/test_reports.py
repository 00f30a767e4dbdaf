"""Mail that came back, from its bytes to what is done about it, on SQLite and PostgreSQL."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

import pytest

from mailer.model.ledger import RecipientState as S
from mailer.model.ledger import Send
from mailer.model.people import SubscriberStatus
from mailer.model.settings import Bounces
from mailer.service.reports import Taken, act_on_reports, receive_mail
from mailer.store import SqlStore
from mailer.wire.message_id import make_message_id
from mailer.wire.verp import ReturnPaths
from tests.contract.store_cases import NOW, claim, dotted, keys, settle, started, states

pytest_plugins = ("tests.servers.postgres",)

SECRET = b"a key of sixteen and more octets"
LATER = NOW + 3600
PATHS = {"return": 0, "leave": 1}
MAILS = Path(__file__).parents[1] / "unit" / "bounce_mails"


def path(send: Send, position: int, which: str = "return", secret: bytes = SECRET) -> str:
    """The signed address of a message."""
    made = ReturnPaths.of(secret, "bounces", "example.com", send.key).make(position)[PATHS[which]]
    return made.removeprefix("mailto:").partition("?")[0]


def report(to: str, *failed: str, said: str = "550 5.1.1 no such user", original: str = "") -> bytes:
    """A delivery report (RFC 3464), as Postfix writes it."""
    status = said.split()[1]
    groups = "".join(
        f"\nFinal-Recipient: rfc822; {address}\nAction: failed\nStatus: {status}\nDiagnostic-Code: smtp; {said}\n"
        for address in failed
    )
    return f"""\
From: MAILER-DAEMON@mx.example.net (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: {to}
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

I'm sorry to have to inform you that your message could not be delivered.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net
{groups}
--b
Content-Type: text/rfc822-headers

Subject: News
{original}
--b--
""".encode()


def sent(store: SqlStore, *names: str) -> Send:
    send = started(store, *names)
    settle(store, dotted(store, send.id), S.SENT)
    return send


def come(store: SqlStore, raw: bytes, now: float = LATER) -> Taken:
    """A mail comes and is acted on."""
    (taken,) = receive_mail(store, SECRET, raw, now)
    act_on_reports(store, SECRET, Bounces(soft_limit=2), lambda: now)
    return taken


def suppressed(store: SqlStore) -> dict[str, str]:
    return {one.email: one.reason for one in store.suppressions.each()}


def status(store: SqlStore, name: str) -> SubscriberStatus:
    found = store.subscribers.find(f"{name}@example.com")
    assert found is not None
    return found.status


def test_bounce(store: SqlStore) -> None:
    """A report to a signed return path suppresses the address that its message went to, wherever that was forwarded;
    it counts for the send, once."""
    send = sent(store, "a", "b")
    raw = report(path(send, 2), "somebody@forwarded.example")
    assert come(store, raw).stored == 1
    assert come(store, raw).stored == 0
    assert suppressed(store) == {"b@example.com": "bounced"}
    assert store.sends.status(send.id, LATER).bounced == 1


@pytest.mark.parametrize(
    "mangled",
    [
        "{local}@{domain}",
        "{upper}@{domain}",
        "prvs=0123456789={local}@{domain}",
        "SRS0=abcd=XY=example.org={local}@srs.example",
    ],
)
def test_mangled_return_path(store: SqlStore, mangled: str) -> None:
    """Capitals, BATV and SRS around the token change nothing."""
    send = sent(store, "a")
    local, _, domain = path(send, 1).partition("@")
    come(store, report(mangled.format(local=local, upper=local.upper(), domain=domain), "a@example.com"))
    assert suppressed(store) == {"a@example.com": "bounced"}


def test_forged(store: SqlStore) -> None:
    """A report without a token, with another key's, or for a message that isn't there changes nobody's state, whatever
    it says; it is kept as unverified."""
    send = sent(store, "a")
    message_id = make_message_id(SECRET, send.id, 1, "example.com")
    for number, to in enumerate(
        (
            "bounces@example.com",
            path(send, 1, secret=b"somebody else's key!!"),
            path(send, 99),
            "bounces+1.1.0@example.com",
        )
    ):
        raw = report(to, "a@example.com", said=f"550 5.1.1 forged {number}", original=f"Message-ID: {message_id}\n")
        taken = come(store, raw)
        assert (taken.stored, [one.verified for one in taken.events]) == (1, [False])
    assert suppressed(store) == {}
    assert store.sends.status(send.id, LATER).bounced == 0


def test_token_in_the_returned_header(store: SqlStore) -> None:
    """A complaint to a fixed address is tied to its message by the token in the header that it returns."""
    send = sent(store, "a", "b")
    raw = (MAILS / "arf.eml").read_bytes()
    token = f"List-Unsubscribe: <https://example.com/x>, <mailto:{path(send, 1, 'leave')}?subject=unsubscribe>\n"
    head, found, body = raw.rpartition(b"\nMessage-ID: ")
    assert found
    come(store, head + b"\n" + token.encode() + found[1:] + body)
    assert suppressed(store) == {"a@example.com": "complained"}
    assert store.sends.status(send.id, LATER).complained == 1


def names_sender(value: str, feedback: str = "abuse") -> bytes:
    """A complaint to a fixed address that names the envelope sender, and returns nothing that has a token."""
    raw = (MAILS / "arf.eml").read_text()
    return raw.replace("Feedback-Type: abuse\n", f"Feedback-Type: {feedback}\nOriginal-Mail-From: {value}\n").encode()


@pytest.mark.parametrize(
    "written",
    [
        "<{local}@{domain}>",
        "{local}@{domain}",
        "rfc822;{local}@{domain}",
        "rfc822; <{local}@{domain}>",
        "<{upper}@{domain}>",
        "<\n {local}@{domain}>",
        "<prvs=0123456789={local}@{domain}>",
        "<SRS0=abcd=XY=example.org={local}@srs.example>",
    ],
)
def test_token_in_the_envelope_sender_that_a_complaint_names(store: SqlStore, written: str) -> None:
    """A complaint to a fixed address is tied to its message by ``Original-Mail-From`` alone, however that is written,
    also where the provider has taken the recipient out."""
    send = sent(store, "a", "b")
    local, _, domain = path(send, 1).partition("@")
    raw = names_sender(written.format(local=local, upper=local.upper(), domain=domain))
    taken = come(store, raw.replace(b"reader@example.com", b"redacted@example.com"))
    assert [(one.event.recipient, one.verified) for one in taken.events] == [("", True)]
    assert suppressed(store) == {"a@example.com": "complained"}
    assert store.sends.status(send.id, LATER).complained == 1


def test_envelope_sender_that_proves_nothing(store: SqlStore) -> None:
    """``Original-Mail-From`` without a token of ours ties a complaint to nothing; with one, in what isn't a person's
    complaint, or in a delivery report, neither."""
    send = sent(store, "a")
    for value in ("<bounces@example.com>", path(send, 1, secret=b"somebody else's key!!"), "<>", ""):
        taken = come(store, names_sender(value))
        assert [one.verified for one in taken.events] == [False]
    assert come(store, names_sender(f"<{path(send, 1)}>", "not-spam")).events == ()
    raw = report("bounces@example.com", "a@example.com").replace(
        b"\nFinal-Recipient", f"\nOriginal-Mail-From: <{path(send, 1)}>\nFinal-Recipient".encode()
    )
    assert [one.verified for one in come(store, raw).events] == [False]
    assert suppressed(store) == {}
    assert store.sends.status(send.id, LATER).complained == 0


def test_several_recipients(store: SqlStore) -> None:
    """Of a report about several only what names the message's recipient is about it: the others are behind an alias."""
    send = sent(store, "a")
    taken = come(store, report(path(send, 1), "x@elsewhere.example", "y@elsewhere.example"))
    assert [one.verified for one in taken.events] == [False, False]
    assert suppressed(store) == {}
    taken = come(store, report(path(send, 1), "x@elsewhere.example", "A@Example.com"))
    assert [one.verified for one in taken.events] == [False, True]
    assert suppressed(store) == {"a@example.com": "bounced"}


@pytest.mark.parametrize("said", ["552 5.2.2 mailbox full", "550 5.7.1 blocked by policy"])
def test_nobody_at_once(store: SqlStore, said: str) -> None:
    """A full mailbox, and what is our fault, suppress nobody at once."""
    send = sent(store, "a")
    come(store, report(path(send, 1), "a@example.com", said=said))
    assert suppressed(store) == {}
    assert store.sends.status(send.id, LATER).bounced == 1


def test_full_for_two_sends(store: SqlStore) -> None:
    """A mailbox that is full at ``soft_limit`` distinct sends is suppressed; two reports about one send count once."""
    send = sent(store, "a")
    for number in range(3):
        come(store, report(path(send, 1), "a@example.com", said=f"552 5.2.2 mailbox full {number}"))
    assert suppressed(store) == {}
    other = started(store, slug="kw25")
    settle(store, dotted(store, other.id), S.SENT)
    come(store, report(path(other, 1), "a@example.com", said="552 5.2.2 mailbox full"))
    assert suppressed(store) == {"a@example.com": "soft bounces"}


def test_in_doubt(store: SqlStore) -> None:
    """A report about a message in doubt settles it as failed."""
    send = started(store, "a")
    settle(store, dotted(store, send.id), S.IN_DOUBT)
    come(store, report(path(send, 1), "a@example.com"))
    assert states(store, send.id) == ["failed"]


def leave(to: str, number: int = 1, **headers: str) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Anna <anna@private.example>", to, "unsubscribe"
    mail["Message-ID"] = f"<{number}@private.example>"
    for name, value in headers.items():
        mail[name.replace("_", "-")] = value
    mail.set_content("")
    return mail.as_bytes()


@pytest.mark.parametrize("headers", [{}, {"Auto_Submitted": "auto-generated"}, {"Precedence": "bulk"}])
def test_mailto_unsubscribe(store: SqlStore, headers: dict[str, str]) -> None:
    """A mail to the address in List-Unsubscribe unsubscribes whom the message went to, whoever writes it, by hand or
    by a mail program; it holds for the send that is under way."""
    send = started(store, "a", "b")
    waiting = keys(claim(store, send.id))
    come(store, leave(path(send, 1, "leave"), **headers))
    assert (status(store, "a"), status(store, "b")) == (SubscriberStatus.UNSUBSCRIBED, SubscriberStatus.SUBSCRIBED)
    assert store.ledger.write(LATER, dots=waiting) == {waiting[1]}
    assert store.sends.status(send.id, LATER).unsubscribed == 1


def test_who_may_not_unsubscribe(store: SqlStore) -> None:
    """A mail to a return path, a bounce or an automatic reply to the address for unsubscribing, and a made-up token
    unsubscribe nobody."""
    send = sent(store, "a")
    come(store, leave(path(send, 1, "leave"), Auto_Submitted="auto-replied (vacation)"))
    come(store, leave(path(send, 1)))
    come(store, leave(path(send, 1, "leave", secret=b"somebody else's key!!")))
    come(store, report(path(send, 1, "leave"), "a@example.com", said="450 4.2.0 later"))
    assert status(store, "a") is SubscriberStatus.SUBSCRIBED


NOT_SPAM = """\
From: fbl@isp.example
To: {to}
Subject: no spam
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: message/feedback-report

Feedback-Type: not-spam
User-Agent: Some/1
Version: 1

--b
Content-Type: message/rfc822

Subject: News
List-Unsubscribe: <mailto:{leave}?subject=unsubscribe>

Hello
--b--
"""

AWAY = """\
From: a@example.com
To: {to}
Subject: Away
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b"

--b
Content-Type: text/plain

Away until Monday.
--b
Content-Type: message/rfc822

Subject: News
List-Unsubscribe: <mailto:{leave}?subject=unsubscribe>

Hello
--b--
"""


@pytest.mark.parametrize("raw", [NOT_SPAM, AWAY, AWAY.replace("Auto-Submitted: auto-replied\n", "")])
@pytest.mark.parametrize("signed", [False, True])
def test_returned_address_for_unsubscribing(store: SqlStore, raw: str, signed: bool) -> None:
    """A mail that only returns a message, which has the address for unsubscribing in its header, unsubscribes nobody:
    a provider's "not spam", an automatic reply, a forwarded issue."""
    send = sent(store, "a")
    to = path(send, 1) if signed else "bounces@example.com"
    come(store, raw.format(to=to, leave=path(send, 1, "leave")).encode())
    assert status(store, "a") is SubscriberStatus.SUBSCRIBED
    assert suppressed(store) == {}


def test_unsubscribed_twice(store: SqlStore) -> None:
    """Whoever has come back can leave by mail once more."""
    send = sent(store, "a")
    for number in range(2):
        assert come(store, leave(path(send, 1, "leave"), number)).stored == 1


@pytest.mark.parametrize(
    "name", ["vacation_german", "delivered_in_prose", "challenge", "person_writes", "read_receipt"]
)
def test_no_bounce(store: SqlStore, name: str) -> None:
    """An automatic reply, a confirmation, a challenge or a letter to the return path suppresses nobody."""
    send = sent(store, "a")
    raw = (MAILS / f"{name}.eml").read_bytes()
    come(store, f"Delivered-To: {path(send, 1)}\n".encode() + raw)
    assert suppressed(store) == {}
    assert status(store, "a") is SubscriberStatus.SUBSCRIBED

"""Each rule of the readers of mail fires, and for words that no rule before it takes."""

from __future__ import annotations

import pytest

from mailer.bounces.event import Reason
from mailer.bounces.mail import auto_reply, delivery_report, feedback_report, plain_shapes, plain_verdicts, returned
from mailer.bounces.mail.mime import read_mail
from mailer.bounces.mail.outcome import Outcome
from mailer.bounces.mail.plain_bounce import BY_ENVELOPE, Prose, find_verdict, read_prose
from mailer.bounces.mail.reasons import RULES
from mailer.bounces.mail.status import best_status, detailed, find_reply, find_status, permanence, why
from mailer.bounces.message import parse_message

REASONS = {
    "spam": "554 5.7.1 Your message looks like spam",
    "virus or attachment": "550 This message contains a virus",
    "sender refused": "550 <news@example.org>: Sender address rejected: Domain not found",
    "message too large": "552 5.3.4 Message size exceeds fixed limit",
    "mailbox full": "452 4.2.2 Over quota",
    "mailbox disabled": "550 The account is disabled",
    "no such mailbox": "550 5.7.1 No such user here",
    "no such host": "Host or domain name not found",
    "no address": "501 Malformed address",
    "no relay": "550 5.7.1 Relaying denied",
    "a loop": "554 5.4.6 Too many hops",
    "nobody answered": "connect to mx.example.com: Connection timed out",
    "blocked": "554 5.7.1 Service unavailable; blocked using dnsbl.example.net",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_reason_rule_fires(rule: object) -> None:
    """Each reason rule is the first to take its example."""
    said = REASONS[rule.name]  # type: ignore[attr-defined]
    assert next(other for other in RULES if other.words.search(said)) is rule


def test_full_mailbox_in_polish() -> None:
    """A full mailbox is one in Polish too."""
    assert (
        next(rule for rule in RULES if rule.words.search("skrzynka odbiorcy jest przepełniona")).name == "mailbox full"
    )


@pytest.mark.parametrize(
    "said",
    [
        "550 <news@example.org>: Sender address rejected: User unknown",
        "550 Client host rejected: cannot find your hostname",
        "550 The IP address 192.0.2.1 is not known to this account",
        "554 Your domain does not exist",
        "550 Access denied",
        "451 greylisted",
        "550 5.7.1 Message rejected due to content",
        "554 Message looks like spam, user not found in whitelist",
    ],
)
def test_what_is_our_fault_is_not_blamed_on_the_recipient(said: str) -> None:
    """Policy, content and reputation give neither the recipient's reason nor a status that says so."""
    outcome = Outcome("a@example.com", None, best_status("", said), said)
    assert str(why(outcome)) not in ("bounced", "invalid") or "content" in said
    assert not detailed(outcome.status, said, permanent=True).endswith((".1.1", ".2.1", ".1.2", ".1.3"))


VERDICTS = {
    "warning only": "Your message could not be delivered. This is a warning message only.",
    "qmail": "Hi. This is the qmail-send program at mx.example.net.",
    "permanent, in the mailer's own words": "----- The following addresses had permanent fatal errors -----",
    "delayed": "Delivery to the following recipient has been delayed",
    "delivered": "Your message was successfully delivered to the following recipients",
    "undelivered, in English": "Your message did not reach some or all of the recipients.",
    "undelivered, in German": "Ihre Nachricht konnte leider nicht zugestellt werden.",
    "undelivered, in other languages": "Votre message n'a pas pu être remis à",
}


@pytest.mark.parametrize("verdict", plain_verdicts.VERDICTS, ids=lambda verdict: verdict.name)
def test_verdict_fires(verdict: object) -> None:
    """Each verdict is the first to take its example, from a mail system."""
    fields = (("from", "MAILER-DAEMON@mx.example.net"),)
    assert find_verdict(fields, VERDICTS[verdict.name]) is verdict  # type: ignore[attr-defined]


def test_verdict_needs_a_mail_system_or_a_subject() -> None:
    """What a person writes is no bounce, whatever the words; a mailer's own words are enough."""
    person = (("from", "reader@example.com"), ("subject", "Hello"))
    assert find_verdict(person, "The parcel could not be delivered.") is None
    assert find_verdict(person, VERDICTS["qmail"]) is plain_verdicts.VERDICTS[1]


def test_no_return_path_is_no_mail_system() -> None:
    """A mail without a return path is a report only if it returns a message: automatic replies have none either."""
    fields = (("return-path", "<>"), ("from", "reader@example.com"), ("subject", "Mail"))
    said = "Your mail could not be delivered."
    assert not auto_reply.from_daemon(fields)
    assert find_verdict(fields, said) is None
    assert find_verdict(fields, said, returns=True) is plain_verdicts.VERDICTS[5]
    assert find_verdict(fields[1:], said, returns=True) is None


@pytest.mark.parametrize("mark", ["Re:", "AW: ", "Fwd: "])
def test_what_is_answered_is_no_title(mark: str) -> None:
    """Words of a bounce behind an answer's mark are the subject of what is answered, such as an issue's own."""
    person = (("from", "reader@example.com"), ("subject", f"{mark} Delivery failed"))
    assert find_verdict(person, "The parcel was not delivered.") is None
    assert find_verdict((("from", "postmaster@example.com"), *person[1:]), "Your mail was not delivered.") is not None


@pytest.mark.parametrize(
    "more",
    [
        (("subject", "Did my mail bounce?"),),
        (("subject", "Mail delivery failed: what it means"), ("list-unsubscribe", "<https://news.example.org/u>")),
        (("subject", "Mail delivery failed: what it means"), ("list-id", "<talk.example.org>")),
    ],
    ids=["a question", "a newsletter", "a mailing list"],
)
def test_who_writes_about_bounces(more: tuple[tuple[str, str], ...]) -> None:
    """A person's question, and what a list or a newsletter says of bounces, are none unless a mail system sent them."""
    said = "host mx.example.net said: 550 5.1.1 user unknown. The mail could not be delivered."
    assert find_verdict((("from", "anna@example.com"), *more), said) is None
    assert find_verdict((("from", "postmaster@example.com"), *more), said) is not None


@pytest.mark.parametrize(
    "said",
    ["After 3 delivery attempts I have given up.", "The site says: a permanent error.", "It failed permanently."],
)
def test_a_readers_mail_is_no_bounce(said: str) -> None:
    """What a person writes of failures, with an address in it, is no bounce; where nobody signs, it is."""
    text = f"Subject: The parcel\n\n{said} Otto (otto@example.net) saw it too.\n"
    assert not parse_message(f"From: Anna <anna@example.com>\n{text}")
    assert [event.recipient for event in parse_message(text)] == ["otto@example.net"]


@pytest.mark.parametrize("path", ["talk-bounces@lists.example.org", "bounce-77@weekly.example.org", "root@example.org"])
def test_a_return_path_for_bounces_is_no_mail_systems(path: str) -> None:
    """Where a list's own bounces go is no mail system that sends one; nor is a machine's operator."""
    assert not auto_reply.from_daemon((("return-path", f"<{path}>"), ("from", "talk-request@lists.example.org")))
    assert not auto_reply.from_daemon((("from", "root@example.org (Cron Daemon)"),))
    assert auto_reply.from_daemon((("from", "bounce@mx.example.net"),))


def test_a_report_that_a_list_quotes() -> None:
    """A delivery report's fields in a person's text count only with a mail system's name or a bounce's subject, and
    then not in what a list, a newsletter or an answer says."""
    report = (
        "Subject: Undelivered Mail\n\nLook:\nFinal-Recipient: rfc822; a@example.net\nAction: failed\nStatus: 5.1.1\n"
    )
    assert [event.recipient for event in parse_message(f"From: anna@example.com\n{report}")] == ["a@example.net"]
    assert not parse_message(f"From: anna@example.com\nList-Id: <talk.example.org>\n{report}")


def test_exchange_names_the_recipient_behind_its_own_details() -> None:
    """Microsoft 365's details of the original message are its own words; the returned header comes later."""
    events = parse_message(
        "From: Microsoft Outlook <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@example.org>\n"
        "Auto-Submitted: auto-replied\nSubject: Undeliverable: The week\n\n"
        "Your message to reader@example.com couldn't be delivered.\n\nOriginal Message Details\n"
        "Sender Address: news@example.org\nRecipient Address: reader@example.com\n\n"
        "Error Details\nError: 550 5.7.350 Remote server returned message detected as spam\n"
    )
    assert [(event.recipient, event.status, event.reason) for event in events] == [
        ("reader@example.com", "5.7.350", Reason.SPAM)
    ]


def test_a_returned_subject_may_be_a_question() -> None:
    """A bounce's title before the subject of what is returned stays one, whatever that asks."""
    fields = (("from", "reader@example.com"), ("subject", "Undeliverable: What shall we plant?"))
    assert find_verdict(fields, "Your mail could not be delivered.") is not None


@pytest.mark.parametrize("said", ["AVVISO DI MANCATA CONSEGNA", "Il messaggio è stato rifiutato dal sistema"])
def test_italian_certified_mail(said: str) -> None:
    """The words of Italian certified mail (PEC) for what wasn't delivered."""
    fields = (("from", "posta-certificata@pec.example.it"), ("subject", "MANCATA CONSEGNA"))
    assert find_verdict(fields, said) is not None


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("No valid recipients for this message could be determined.", "undelivered, in English"),
        ("Quota exceed the hard limit", "undelivered, in English"),
        ("Unable to find user: <reader@example.com>", "undelivered, in English"),
        ("Could not deliver the message in the time limit specified.", "permanent, in the mailer's own words"),
    ],
)
def test_more_words_of_a_verdict(said: str, verdict: str) -> None:
    """Words that a verdict takes beside its example."""
    found = find_verdict((("from", "postmaster@example.com"),), said)
    assert found is not None
    assert found.name == verdict


def test_mbox_line_of_a_null_sender() -> None:
    """Where an mbox writes the null sender of a bounce as nothing, the header still begins below; a field is no such
    line."""
    above = b"From   Thu Apr  2 16:34:53 2009\n"
    assert read_mail(above + b"Subject: Failed\n\nNo.\n").fields == (("subject", "Failed"),)
    assert read_mail(b"From : a@example.com\nSubject: Failed\n\nNo.\n").fields[0] == ("from", "a@example.com")


def test_long_fields_that_lost_their_blanks() -> None:
    """The lines of a trace field, or of a type with its boundary, go on without blanks where a header's field follows;
    else a body begins there."""
    trace = b"Received: from mx.example.net (mx.example.net [192.0.2.1])\nby mail.example.com with ESMTP id 4\n"
    mail = read_mail(trace + b"for <a@example.com>; Mon, 1 Jun 2026 08:00:00 +0200\nSubject: Failed\n\nNo.\n")
    assert mail.fields[1:] == (("subject", "Failed"),)
    assert mail.fields[0][1].endswith("for <a@example.com>; Mon, 1 Jun 2026 08:00:00 +0200")
    typed = read_mail(b"Content-Type: multipart/report;\nboundary=x\nSubject: Failed\n\n--x\n\nNo.\n--x--\n")
    assert [part.text.strip() for part in typed.leaves()] == ["No."]
    assert read_mail(trace + b"Reason: full\n\nSubject: The week\n").text.startswith("by mail.example.com")
    assert read_mail(b"To: a@example.com\nNo such user.\nSubject: The week\n").text.startswith("No such user.")


def test_a_phone_number_is_no_reply() -> None:
    """Whom to call isn't what a server said."""
    text = "<reader@example.com>:\nthe user's mailfolder is full.\n\nCall Customer Support at 480-624-2500."
    (outcome,) = read_prose(Prose(text), None)
    assert outcome.diagnostic == "the user's mailfolder is full."


def test_verdict_by_envelope() -> None:
    """A mail system's mail with a bounce's subject is a bounce in any language, for nobody knows how long."""
    fields = (("from", "MAILER-DAEMON@mx.example.net"), ("subject", "Delivery report"))
    assert find_verdict(fields, "Quidam.") is BY_ENVELOPE


BOUNCE_SUBJECTS = [
    "Undeliverable: The week",
    "Nachricht unzustellbar",
    "Mensaje no entregado",
    "недоставленное сообщение",
]


@pytest.mark.parametrize(("pattern", "subject"), list(zip(plain_verdicts.SUBJECTS, BOUNCE_SUBJECTS, strict=True)))
def test_bounce_subject_fires(pattern: object, subject: str) -> None:
    """Each pattern for subjects of bounces takes its example, and none before it does."""
    assert next(other for other in plain_verdicts.SUBJECTS if other.search(subject)) is pattern


SHAPES = {
    "angles and a colon": "<reader@example.com>: 550 User unknown",
    "a colon": "reader@example.com: user unknown",
    "alone": "    reader@example.com",
    "a reason behind it": "reader@example.com (user not found)",
    "labelled": "Failed Recipient: reader@example.com for a reason",
    "in a sentence": "We could not deliver your message to reader@example.com because of it",
    "a transcript": ">>> RCPT To:<reader@example.com> NOTIFY=FAILURE",
}


@pytest.mark.parametrize("shape", plain_shapes.SHAPES, ids=lambda shape: shape.name)
def test_shape_fires(shape: object) -> None:
    """Each shape of a recipient's line is the first to take its example, and finds the address."""
    matches = [(other, other.line.match(SHAPES[shape.name])) for other in plain_shapes.SHAPES]  # type: ignore[attr-defined]
    first, match = next((other, match) for other, match in matches if match)
    assert first is shape
    assert match["address"] == "reader@example.com"


@pytest.mark.parametrize(
    "before", ["please contact ", "Please use ", "Use ", "Künftig: ", "Bitte verwenden Sie ", "Bitte schreiben Sie an "]
)
def test_whom_to_write_to_is_no_recipient(before: str) -> None:
    """An address that a bounce asks to write to, from now on or for help, is nobody who was written to."""
    said = f"Your message was not delivered. {before}other@example.com instead."
    assert read_prose(Prose(said), None) == []


ASIDES = ["please contact ", "From: ", "sent by: me@", "Message-ID: <", "Reporting-MTA: "]


@pytest.mark.parametrize(("pattern", "before"), list(zip(plain_shapes.ASIDES, ASIDES, strict=True)))
def test_aside_fires(pattern: object, before: str) -> None:
    """Each pattern for what stands before somebody else's address takes its example, and none before it does."""
    assert next(other for other in plain_shapes.ASIDES if other.search(before)) is pattern


OPENED = [
    "--- Below this line is a copy of the message.",
    "Included is a copy of the message header:",
    "--- The header of the original message is following. ---",
    "------ This is a copy of the message, including all the headers. ------",
    "The first 5 lines of the message is",
    "   ----- Unsent message follows -----",
    "Original message as received is as follows:",
    "Message headers follow:",
    "|------------- Message text follows: -------------|",
    "   ----- No message was collected -----",
    "Your message was attached",
    "A copy of your message follows",
    "The following is a copy of what you sent",
    "-- The header and top 20 lines of the message follows --",
    "Your message is enclosed",
    "Old message:",
    "---------- Forwarded message ----------",
    "----- Ursprüngliche Nachricht -----",
    "Content-Type: message/rfc822",
]


@pytest.mark.parametrize(("pattern", "line"), list(zip(returned.OPENINGS, OPENED, strict=True)))
def test_opening_fires(pattern: object, line: str) -> None:
    """Each opening of a returned message cuts the text before it, and no opening before it does."""
    words = line.strip(" \t>*+=_|#:.~-")
    assert next(other for other in returned.OPENINGS if other.match(words)) is pattern
    assert returned.cut(f"before\n{line}\n<victim@example.net>:") == ("before", f"{line}\n<victim@example.net>:")


def test_a_header_opens_the_returned_message() -> None:
    """A message's header in a text opens the returned message without any words; a few lines like one don't."""
    header = "Received: from a by b\nMessage-ID: <x@example.org>\nSubject: The week"
    assert returned.cut(f"Failed.\n\n{header}") == ("Failed.\n", header)
    about = "Your message\n  To: reader@example.com\n  Subject: The week\n  Date: today\ndid not reach it"
    assert returned.cut(about) == (about, "")


AUTO_FIELDS = {
    "x-autoreply": "yes",
    "x-autorespond": "yes",
    "x-autoreply-from": "reader@example.com",
    "x-autogenerated": "Reply",
    "x-mail-autoreply": "1",
    "x-vacation": "1",
    "x-ms-exchange-inbox-rules-loop": "reader@example.com",
    "x-cron-env": "<HOME=/>",
    "precedence": "auto_reply",
    "delivered-to": "autoresponder",
    "preference": "auto_reply",
    "x-tmda-confirm-address": "reader-confirm@example.com",
    "x-spamarrest-noauth": "1",
    "x-boxbe-challenge": "1",
}


@pytest.mark.parametrize("name", [name for name, _ in auto_reply.FIELDS])
def test_auto_reply_field_fires(name: str) -> None:
    """Each field that only automatic replies have makes a mail one, even from a mail system."""
    system = (("from", "postmaster@example.com"), ("subject", "Hello"))
    assert not auto_reply.is_auto_reply(system)
    assert auto_reply.is_auto_reply((*system, (name, AUTO_FIELDS[name])))


AUTO_SUBJECTS = [
    "Out of Office: The week",
    "Abwesenheitsnotiz: The week",
    "Réponse automatique : The week",
    "Respuesta automática: The week",
    "Risposta automatica: The week",
    "Automatisch antwoord: The week",
    "Odpowiedź automatyczna: The week",
    "Автоматический ответ: The week",
]


@pytest.mark.parametrize(("pattern", "subject"), list(zip(auto_reply.SUBJECTS, AUTO_SUBJECTS, strict=True)))
def test_auto_reply_subject_fires(pattern: object, subject: str) -> None:
    """Each language's subjects make a mail an automatic reply, behind ``Re:`` too; no pattern before takes it."""
    assert next(other for other in auto_reply.SUBJECTS if other.match(subject)) is pattern
    for written in (subject, f"Re: {subject}", f"[{subject}]", f"AW: Re: {subject}"):
        assert auto_reply.is_auto_reply((("from", "reader@example.com"), ("subject", written)))


CHALLENGED = ["Please confirm your message", "Verify your email", "Boxbe: action", "Your message is awaiting approval"]


@pytest.mark.parametrize(("pattern", "subject"), list(zip(auto_reply.CHALLENGES, CHALLENGED, strict=True)))
def test_challenge_fires(pattern: object, subject: str) -> None:
    """Each pattern for subjects of challenges makes a mail an automatic reply."""
    assert next(other for other in auto_reply.CHALLENGES if other.search(subject)) is pattern
    assert auto_reply.is_auto_reply((("from", "reader@example.com"), ("subject", subject)))


@pytest.mark.parametrize("sender", ["noreply@boxbe.com", "Reader <confirm-1234@example.com>"])
def test_challenge_sender_fires(sender: str) -> None:
    """A service that screens mail, or an address for confirmations, sends challenges."""
    assert auto_reply.is_challenge((("from", sender),))


ABSENT = [
    "I am currently out of the office",
    "Ich bin bis Montag im Urlaub",
    "Je suis absent jusqu'à lundi",
    "Click here to confirm",
    "To deliver your message to reader@example.com, please reply to this one",
    "My mailbox is closed while I travel",
]


@pytest.mark.parametrize(("pattern", "text"), list(zip(auto_reply.ABSENT, ABSENT, strict=True)))
def test_absence_fires(pattern: object, text: str) -> None:
    """Who says to be away replies automatically, whoever the sender seems to be; a server's code says otherwise."""
    fields = (("from", "postmaster@example.com"), ("subject", "Mail could not be delivered"))
    assert next(other for other in auto_reply.ABSENT if other.search(text)) is pattern
    assert auto_reply.is_auto_reply(fields, text)
    assert not auto_reply.is_auto_reply(fields, f"550 5.1.1 {text}")


RECEIPTS = [
    "Read: The week",
    "Return receipt",
    "Nicht gelesen: Die Woche",
    "Lesebestätigung: The week",
    "Delivered: The week",
]


@pytest.mark.parametrize(("pattern", "subject"), list(zip(auto_reply.RECEIPTS, RECEIPTS, strict=True)))
def test_receipt_fires(pattern: object, subject: str) -> None:
    """Each pattern for subjects of receipts takes its example."""
    assert next(other for other in auto_reply.RECEIPTS if other.match(subject)) is pattern
    assert auto_reply.is_receipt((("subject", subject),))


@pytest.mark.parametrize(("beginning", "action"), delivery_report.ACTIONS)
def test_action_fires(beginning: str, action: object) -> None:
    """Each way to write an action is read, in any case and with more behind it."""
    part = read_mail(
        "Content-Type: message/delivery-status\n\n"
        f"Final-Recipient: rfc822; a@example.com\nAction: {beginning.upper()}ed (really)\n"
    )
    assert [outcome.action for outcome in delivery_report.read_report(part)] == [action]


COMPLAINTS = [
    "complaint about message from 192.0.2.1",
    "Email Feedback Report for IP 192.0.2.1",
    "Abuse report for an email",
]


@pytest.mark.parametrize(("pattern", "subject"), list(zip(feedback_report.SUBJECTS, COMPLAINTS, strict=True)))
def test_complaint_subject_fires(pattern: object, subject: str) -> None:
    """Each pattern for subjects of complaints takes its example, and none before it does."""
    assert next(other for other in feedback_report.SUBJECTS if other.search(subject)) is pattern


@pytest.mark.parametrize("name", feedback_report.RETURNED_RECIPIENT)
def test_returned_recipient_field_fires(name: str) -> None:
    """Each field of the returned message that names its recipient is read; taken-out addresses are not."""
    assert feedback_report.returned_recipients(((name, "<reader@example.com>"),)) == ("reader@example.com",)
    assert feedback_report.returned_recipients(((name, "<redacted@example.com>"),)) == ()


def test_returned_recipient_from_received() -> None:
    """Where no field names the recipient, the way the message took does, if it is the same all along."""
    way = ("received", "from a by b for <reader@example.com>; Mon, 2 Jun 2025 06:00:00 +0000")
    other = ("received", "from b by c for <other@example.com>; Mon, 2 Jun 2025 06:00:00 +0000")
    assert feedback_report.returned_recipients((way, way)) == ("reader@example.com",)
    assert feedback_report.returned_recipients((way, other)) == ()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("550 5.1.1 <reader@example.com>... User unknown", "5.1.1"),
        ("550-5.7.26 Unauthenticated email", "5.7.26"),
        ("Sorry, no mailbox here by that name. (#5.1.1)", "5.1.1"),
        ("smtp; 452-4.2.2 The email account is over quota", "4.2.2"),
        ("host 192.0.2.7[192.0.2.7] said: 550 No", "5.0.0"),
        ("host mx.example.com [5.1.1.9] said: 421 later", "4.0.0"),
        ("451 later", "4.0.0"),
        ("554 no", "5.0.0"),
        ("User unknown", ""),
        ("id 550123, port 5500, 5.1", ""),
    ],
)
def test_status_in_what_is_said(said: str, status: str) -> None:
    """The enhanced status code said, else the reply code's class; addresses and numbers are neither."""
    assert find_status(said) == status


def test_reply_code_after_said_comes_first() -> None:
    """A number that stands elsewhere isn't taken for the reply code."""
    assert find_reply("message 512 of 600: host said: 550 no") == "550"


@pytest.mark.parametrize(
    ("action", "status", "said", "expected"),
    [
        ("failed", "5.1.1", "", True),
        ("failed", "4.4.7", "450 expired", True),
        (None, "", "The user exceeded his storage limit. Please try to send the message again later", False),
        (None, "", "Das Postfach ist voll. Senden Sie die Nachricht später erneut.", False),
        (None, "", "Der Versuch kann zu einem späteren Zeitpunkt gelingen", False),
        (None, "", "Essayez de renvoyer votre message ultérieurement", False),
        (None, "", "Inténtelo de nuevo más tarde", False),
        (None, "", "Riprovare più tardi", False),
        (None, "", "Tente enviar novamente mais tarde", False),
        (None, "", "Spróbuj ponownie później", False),
        (None, "", "Check the address and try again", None),
        (None, "5.2.2", "Mailbox full, try again later", True),
        ("delayed", "5.0.0", "550 no", False),
        ("delivered", "", "", None),
        (None, "5.1.1", "450 busy", True),
        (None, "4.2.2", "550 no", False),
        (None, "", "550 no", True),
        (None, "", "450 busy", False),
        (None, "", "no", None),
    ],
)
def test_permanence(action: str | None, status: str, said: str, expected: bool | None) -> None:
    """Action decides, then Status, then the diagnostic."""
    word = next((known for name, known in delivery_report.ACTIONS if action and action.startswith(name)), None)
    assert permanence(Outcome("a@example.com", word, status, said)) is expected


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("5.1.2", "invalid"),
        ("5.1.10", "invalid"),
        ("5.1.8", "blocked"),
        ("5.4.6", "bounced"),
        ("5.1.1", "bounced"),
        ("5.2.3", "other"),
        ("5.2.2", "bounced"),
        ("5.4.4", "invalid"),
        ("5.4.7", "timed_out"),
        ("5.7.1", "blocked"),
        ("5.6.1", "other"),
        ("", "other"),
    ],
)
def test_reason_by_status(status: str, reason: str) -> None:
    """Without words that a rule knows, the status gives the reason."""
    assert why(Outcome("a@example.com", None, status, "no")) == reason


def test_a_status_that_says_nothing_is_made_better() -> None:
    """``5.0.0`` gives way to a better code of its class, then to the code for the words; any other stays."""
    assert best_status("5.0.0", "550 5.1.1 no") == "5.1.1"
    assert best_status("5.0.0", "450 4.1.1 no") == "5.0.0"
    assert best_status("5.2.1", "550 5.1.1 no") == "5.2.1"
    assert detailed("5.0.0", "550 User unknown", permanent=True) == "5.1.1"
    assert detailed("", "mailbox full", permanent=False) == "4.2.2"
    assert detailed("", "mailbox full", permanent=None) == ""
    assert detailed("5.3.0", "mailbox full", permanent=True) == "5.3.0"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("421 later", "4.3.2"),
        ("450 later", "4.2.0"),
        ("452 later", "4.3.1"),
        ("551 no", "5.1.6"),
        ("552 no", "5.2.2"),
        ("553 no", "5.0.0"),
        ("553 SPF fail", "5.7.1"),
        ("no", ""),
    ],
)
def test_status_by_reply_code(said: str, status: str) -> None:
    """Where only a reply code is given, the words say what it was; where they don't, the code does if it can."""
    permanent = permanence(Outcome("a@example.com", None, "", said))
    assert detailed(find_status(said), said, permanent=permanent) == status

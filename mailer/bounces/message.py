"""A mail that came back → what it means: a bounce, a complaint, an automatic reply, a confirmation of delivery.

``parse_message`` is the door; ``read_messages`` says also what kind of mail each is, and what ties it to a send.
Reading is pure and total: any bytes give an answer, in time linear in their number, and nothing is raised.

Evidence is weighed in this order: a feedback report (RFC 5965), a delivery report (RFC 3464, RFC 6533), a receipt (RFC
8098), an automatic reply (RFC 3834), prose. The returned message is no evidence; only its header is read, for its
``Message-ID`` and recipient.

Nothing here proves who wrote the mail. Whoever acts on it looks for the signed return path first: in
``Report.sent_to``, ``Report.mail_from`` and ``Report.original``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

from mailer.bounces.event import Event, EventType, Reason
from mailer.bounces.mail import delivery_report, feedback_report, returned
from mailer.bounces.mail.addresses import header_addresses
from mailer.bounces.mail.auto_reply import from_daemon, is_auto_reply, is_challenge, is_receipt, says_auto_replied
from mailer.bounces.mail.mbox import split_mbox
from mailer.bounces.mail.mime import Fields, decode_words, every, first
from mailer.bounces.mail.opened import SENT_TO, Opened, open_mail
from mailer.bounces.mail.outcome import Action, Outcome
from mailer.bounces.mail.plain_bounce import BY_ENVELOPE, diagnostics_for, find_verdict, is_likely, read_prose
from mailer.bounces.mail.status import best_status, detailed, permanence, why
from mailer.bounces.reading import diagnostic, moment, text

Kind = Literal["bounce", "complaint", "auto-reply", "delivery", "other"]

_TYPES = {
    Action.DELAYED: EventType.DEFERRED,
    Action.DELIVERED: EventType.DELIVERED,
    Action.RELAYED: EventType.DELIVERED,
    Action.EXPANDED: EventType.DELIVERED,
}


@dataclass(frozen=True, slots=True)
class Report:
    """What a mail means. ``sent_to``: addresses that the mail itself was sent to, surest first, where a signed return
    path may stand. ``mail_from``: a complaint's ``Original-Mail-From`` (RFC 5965 §3.2), the envelope sender of the
    message complained of, as it is written there. ``original``: the returned message's header fields, lower-case names,
    empty if none is returned. ``original_message_id``: its ``Message-ID`` in angle brackets, or empty.
    ``auto_replied``: whether the mail says itself that a program answers with it. ``digest``: the whole mail's SHA-256,
    in hexadecimal."""

    kind: Kind
    events: tuple[Event, ...] = ()
    sent_to: tuple[str, ...] = ()
    mail_from: str = ""
    original: Fields = ()
    original_message_id: str = ""
    auto_replied: bool = False
    digest: str = ""


def parse_message(raw: bytes | str) -> list[Event]:
    """The events that a returned mail tells of, one for each recipient; none if it is no report. Never raises.

    ``permanent`` follows RFC 3464: a failed delivery is, a delayed one isn't; without an action the status decides,
    without that the server's reply.
    """
    return [event for report in read_messages(raw) for event in report.events]


def read_message(raw: bytes | str) -> Report:
    """The same with the kind of the mail, and what ties it to a send. Of an mbox: the first mail that is a report."""
    reports = read_messages(raw)
    return next((report for report in reports if report.kind != "other"), reports[0])


def read_messages(raw: bytes | str) -> list[Report]:
    """A report for each mail in a text: one, or those of an mbox (RFC 4155), which begins with a ``From`` line."""
    data = raw.encode("utf-8", "replace") if isinstance(raw, str) else bytes(raw)
    return [_read(mail) for mail in split_mbox(data)]


def _read(raw: bytes) -> Report:
    mail = open_mail(raw)
    report = (
        _challenge(mail)
        or _complaint(mail)
        or _delivery_report(mail)
        or _receipt(mail)
        or _forwarded_report(mail)
        or _auto_reply(mail)
        or _plain_bounce(mail)
    )
    return report or _report(mail, "other", [])


def _challenge(mail: Opened) -> Report | None:
    return _report(mail, "auto-reply", []) if is_challenge(mail.top.fields) else None


def _complaint(mail: Opened) -> Report | None:
    part = next((part for part in mail.leaves if part.kind == feedback_report.KIND), None)
    if part is None:
        part = next(
            (p for p in mail.leaves if p.kind == "text/plain" and p.text.lstrip()[:14].lower() == "feedback-type:"),
            None,
        )
    if part is not None:
        complaint = feedback_report.read_feedback(part, mail.original)
    elif first(mail.original, "x-hmxmroriginalrecipient") or any(
        pattern.search(first(mail.top.fields, "subject")) and mail.original for pattern in feedback_report.SUBJECTS
    ):
        complaint = feedback_report.Complaint("abuse", feedback_report.returned_recipients(mail.original))
    else:
        return None
    if complaint.kind in feedback_report.NO_COMPLAINT:
        return _report(mail, "other", [])
    kind = EventType.UNSUBSCRIBED if complaint.kind == "opt-out" else EventType.COMPLAINED
    reason = Reason.UNSUBSCRIBED if complaint.kind == "opt-out" else Reason.SPAM
    at = moment(complaint.arrived)
    events = [
        _event(mail, kind, recipient, reason=reason, said=complaint.kind, at=at)
        for recipient in complaint.recipients or ("",)
    ]
    return replace(_report(mail, "complaint", events), mail_from=complaint.mail_from)


def _delivery_report(mail: Opened) -> Report | None:
    outcomes = [
        outcome
        for part in mail.leaves
        if delivery_report.is_report(part)
        for outcome in delivery_report.read_report(part)
    ] or _mistyped_report(mail)
    if not outcomes:
        return None
    if all(not outcome.recipient for outcome in outcomes):
        outcomes = _named_elsewhere(mail, outcomes[0])
    return _of_outcomes(mail, [outcome for outcome in outcomes if outcome.recipient])


def _mistyped_report(mail: Opened) -> list[Outcome]:
    """A report in a part that is called something else, before the returned message begins."""
    typed = "multipart/report" in first(mail.top.fields, "content-type").lower()
    if not typed and not is_likely(mail.top.fields):
        return []
    for part in mail.leaves:
        if part.kind in returned.KINDS:
            break
        text = returned.cut(part.text)[0]
        if delivery_report.looks_like_report(text):
            return delivery_report.read_report_text(text)
    return []


def _named_elsewhere(mail: Opened, outcome: Outcome) -> list[Outcome]:
    """A report's outcome for a pipe, a path or a user's name: the recipient stands in the prose or was written to."""
    named = _failed_recipients(mail) or [found.recipient for found in read_prose(mail.prose, None)]
    who = named or _written_to(mail)
    return [Outcome(recipient, outcome.action, outcome.status, outcome.diagnostic) for recipient in who]


def _written_to(mail: Opened) -> list[str]:
    """Who the returned message went to, where that is one other than the report's reader."""
    only = mail.returned_to[0] if len(mail.returned_to) == 1 else ""
    return [only] if only and only.casefold() not in mail.prose.mine else []


def _failed_recipients(mail: Opened) -> list[str]:
    return [a for value in every(mail.top.fields, "x-failed-recipients") for a in header_addresses(decode_words(value))]


def _receipt(mail: Opened) -> Report | None:
    """A disposition notification (RFC 8098), or a mail whose subject says that it confirms a delivery."""
    part = next((part for part in mail.leaves if part.kind.startswith("message/disposition")), None)
    if part is None:
        return _report(mail, "delivery", []) if is_receipt(mail.top.fields) else None
    who = [outcome.recipient for outcome in delivery_report.read_report(part) if outcome.recipient]
    refused = "deleted" in part.text and not is_receipt(mail.top.fields)
    if refused and find_verdict(mail.top.fields, mail.prose.text):
        # RFC 5429 §2.2.2: a refusal by the recipient's filter, in the shape of a receipt.
        said = " ".join(mail.prose.text[:1000].split())
        outcomes = [Outcome(recipient) for recipient in who] or _named_elsewhere(mail, Outcome("", diagnostic=said))
        return _of_outcomes(mail, outcomes, otherwise=True)
    return _report(mail, "delivery", [_event(mail, EventType.DELIVERED, recipient) for recipient in who])


def _forwarded_report(mail: Opened) -> Report | None:
    """A mail system's report that comes wrapped in another mail of a mail system, which says nothing itself."""
    if not from_daemon(mail.top.fields):
        return None
    for part in mail.leaves:
        if part.kind == "message/rfc822" and "multipart/report" in first(mail.original, "content-type").lower():
            inner = open_mail(part.text.encode("utf-8", "replace"))
            found = _delivery_report(inner)
            return found and replace(found, sent_to=_sent_to(mail), digest=mail.digest.hex())
    return None


def _auto_reply(mail: Opened) -> Report | None:
    if _failed_recipients(mail) or not is_auto_reply(mail.top.fields, mail.prose.text):
        return None
    who = header_addresses(first(mail.top.fields, "from"))[:1]
    return _report(mail, "auto-reply", [_event(mail, EventType.AUTORESPONDED, address) for address in who])


def _plain_bounce(mail: Opened) -> Report | None:
    failed = _failed_recipients(mail)
    verdict = find_verdict(mail.top.fields, mail.prose.text, returns=bool(mail.original))
    if verdict is None and not failed:
        return None
    action = verdict.action if verdict else None
    outcomes = read_prose(mail.prose, action)
    if failed:
        said = {outcome.recipient.casefold(): outcome for outcome in outcomes}
        outcomes = [said.get(address.casefold()) or Outcome(address, action) for address in failed]
    elif not outcomes:
        outcomes = [Outcome(address, action) for address in _written_to(mail)]
    if not outcomes and verdict:
        return _report(mail, "bounce", [])
    sure = verdict is not None and verdict is not BY_ENVELOPE
    return _of_outcomes(mail, outcomes, otherwise=True if sure or failed else None)


def _of_outcomes(mail: Opened, outcomes: list[Outcome], *, otherwise: bool | None = None) -> Report:
    """``otherwise``: whether it is over for good where neither an action nor a code says so."""
    events = []
    silent = [outcome.recipient for outcome in outcomes if not outcome.diagnostic]
    heard = dict(zip(silent, diagnostics_for(mail.prose.text, silent), strict=False))
    for given in outcomes:
        said = given.diagnostic or heard.get(given.recipient, "")
        outcome = Outcome(given.recipient, given.action, best_status(given.status, said), said)
        permanent = permanence(outcome)
        if permanent is None and outcome.action is None:
            permanent = otherwise
        kind = _TYPES.get(outcome.action, EventType.BOUNCED) if outcome.action else EventType.BOUNCED
        if outcome.action is None and permanent is False and otherwise is None:
            kind = EventType.DEFERRED
        reason = None if kind is EventType.DELIVERED else why(outcome)
        status = detailed(outcome.status, said, permanent=permanent)
        events.append(_event(mail, kind, outcome.recipient, permanent, reason, status, said))
    delivered = bool(events) and all(event.type is EventType.DELIVERED for event in events)
    return _report(mail, "delivery" if delivered else "bounce", events)


def _event(
    mail: Opened,
    kind: EventType,
    recipient: str,
    permanent: bool | None = None,
    reason: Reason | None = None,
    status: str = "",
    said: str = "",
    at: float | None = None,
) -> Event:
    identity = hashlib.sha256(mail.digest + recipient.casefold().encode("utf-8", "replace"))
    return Event(
        type=kind,
        recipient=text(recipient),
        permanent=permanent,
        reason=reason,
        status=status,
        diagnostic=diagnostic(said),
        message_id=_original_id(mail.original),
        event_id=identity.hexdigest()[:32],
        timestamp=at if at is not None else moment(first(mail.top.fields, "date")),
        raw=mail.raw,
    )


def _report(mail: Opened, kind: Kind, events: list[Event]) -> Report:
    return Report(
        kind,
        tuple(events),
        sent_to=_sent_to(mail),
        original=mail.original,
        original_message_id=_original_id(mail.original),
        auto_replied=says_auto_replied(mail.top.fields),
        digest=mail.digest.hex(),
    )


def _sent_to(mail: Opened) -> tuple[str, ...]:
    fields = mail.top.fields
    found = (address for name in SENT_TO for value in every(fields, name) for address in header_addresses(value))
    return tuple(dict.fromkeys(found))


def _original_id(original: Fields) -> str:
    found = first(original, "message-id") or first(original, "x-original-message-id")
    return f"<{found.strip().strip('<>').split('>')[0].strip()}>" if "@" in found else ""

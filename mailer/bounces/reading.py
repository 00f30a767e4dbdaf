"""Reading what a provider sent: JSON within bounds, and accessors that are total, so that no event can break a batch.

The accessors give an empty value for anything that isn't what was asked for; none of them raises.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from binascii import a2b_qp
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from mailer.bounces.errors import WebhookMalformed
from mailer.bounces.event import UNKNOWN, Event, EventType, Meaning, Raw, Reason

MAX_DEPTH = 64
"""Arrays and objects within one another."""

MAX_EVENTS = 10_000
"""Events of one request."""

MAX_DIAGNOSTIC = 2000
"""Characters of a diagnostic."""

_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_BLANKS = re.compile(r"\s+")
_STATUS = re.compile(r"(?<![\w.])([245]\.[0-9]{1,3}\.[0-9]{1,3})(?!\w|\.[0-9])")
_NANOSECONDS = re.compile(r"(\.[0-9]{6})[0-9]+")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_EARLIEST, _LATEST = 0.0, 253402300799.0  # 1970 and 9999


def read_json(body: bytes) -> object:
    """The JSON document that a body is.

    Raises ``WebhookMalformed``: it isn't UTF-8, isn't JSON (NaN isn't either), is nested too deep, has huge numbers.
    """
    try:
        text = body.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError:
        raise WebhookMalformed("the body isn't UTF-8") from None
    if _too_deep(body):
        raise WebhookMalformed(f"the body is nested deeper than {MAX_DEPTH}")
    try:
        return _DECODER.decode(text)
    except ValueError:
        raise WebhookMalformed("the body isn't JSON") from None


def read_events(document: object) -> list[object]:
    """The events of a body that is one event or an array of them. Raises ``WebhookMalformed``."""
    if isinstance(document, dict):
        return [document]
    if not isinstance(document, list):
        raise WebhookMalformed("the body is neither a JSON object nor an array of them")
    if len(document) > MAX_EVENTS:
        raise WebhookMalformed(f"the body has more than {MAX_EVENTS} events")
    return document


def read_form(body: bytes, most: int) -> list[tuple[str, str]]:
    """Names and values of a form (``application/x-www-form-urlencoded``), in order.

    Raises ``WebhookMalformed``: more than ``most`` fields, or no UTF-8.
    """
    if body.count(b"&") >= most:
        raise WebhookMalformed(f"the form has more than {most} fields")
    pairs = (part.partition(b"=") for part in body.split(b"&") if part)
    try:
        return [(_unquote(name), _unquote(value)) for name, _, value in pairs]
    except UnicodeDecodeError:
        raise WebhookMalformed("the form isn't UTF-8") from None


def dig(value: object, *path: str) -> object:
    """What stands at a path of keys, or None."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def listed(value: object) -> list[object]:
    """The items of an array; none of anything else."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """A string (or a number as one) without control characters and lone surrogates, which no database takes."""
    if isinstance(value, str):
        return (value if value.isprintable() else _NO_TEXT.sub("", value)).strip()
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def word(value: object) -> str:
    """A text as one of a provider's words: lower case."""
    return text(value).lower()


def diagnostic(*values: object) -> str:
    """What is said, joined by ``; ``, each once, blanks collapsed, cut at ``MAX_DIAGNOSTIC``."""
    said = dict.fromkeys(" ".join(text(value)[: 2 * MAX_DIAGNOSTIC].split()) for value in values)
    return "; ".join(part for part in said if part)[:MAX_DIAGNOSTIC]


def address(value: object) -> str:
    """An address without display name, angle brackets and ``rfc822;``; ``""`` for what can't be one."""
    found = text(value)
    if len(found) > 1000:
        return ""
    if found.endswith(">") and "<" in found:
        found = found[found.rindex("<") + 1 : -1]
    found = found.removeprefix("rfc822;").strip()
    return found if "@" in found[1:-1] and not _BLANKS.search(found) and len(found) <= 320 else ""


def message_id(value: object) -> str:
    """A ``Message-ID`` in angle brackets; an id without ``@`` is the provider's own and stays as it is."""
    found = text(value)[:1000].strip("<> ")
    return f"<{found}>" if "@" in found else found


def status(*values: object) -> str:
    """The first enhanced status code (RFC 3463) in the texts, or ``""``."""
    for value in values:
        found = _STATUS.search(text(value)[:MAX_DIAGNOSTIC])
        if found:
            return found[1]
    return ""


def seconds(value: object) -> float | None:
    """Unix seconds out of a number or digits (a number after 1973 in milliseconds is read as such), else None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    if found > 1e11:
        found /= 1000
    return found if math.isfinite(found) and _EARLIEST <= found <= _LATEST else None


def moment(value: object) -> float | None:
    """Unix seconds out of a date: ISO 8601 or RFC 3339 (UTC where no zone is named), RFC 5322, or a number."""
    if not isinstance(value, str) or len(value) > 60:
        return seconds(value) if not isinstance(value, str) else None
    trimmed = value.strip()
    if "." in trimmed:
        trimmed = _NANOSECONDS.sub(r"\1", trimmed)
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = read(trimmed)
            stamp = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError, TypeError, IndexError):
            continue
        return stamp if _EARLIEST <= stamp <= _LATEST else None
    return seconds(trimmed)


def fingerprint(value: object, *more: str) -> str:
    """A stable id for what has none: SHA-256 of its JSON with sorted keys, cut to 128 bits, in hex."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256("\0".join((canonical, *more)).encode()).hexdigest()[:32]


def make_event(
    meaning: Meaning,
    raw: object,
    *,
    recipient: object = "",
    status_in: Iterable[object] = (),
    said: Iterable[object] = (),
    message: object = "",
    event_id: object = "",
    at: float | None = None,
    one_of: int = 1,
) -> Event:
    """An event out of what a provider's module found; ``one_of`` says how many recipients the source's event has.

    ``status_in``: where an enhanced status code may stand, best first. ``said``: the parts of the diagnostic. Without a
    recipient and a message there is nobody whom the event is about: it is ``unknown``. Without ``event_id`` a
    fingerprint of ``raw`` takes its place.
    """
    who, which, own = address(recipient), message_id(message), text(event_id)[:200]
    if not who and not which:
        meaning = UNKNOWN
    if not own:
        own = fingerprint(raw, who)
    elif one_of > 1:
        own = f"{own}:{fingerprint(who)[:16]}"
    return Event(
        type=meaning.type,
        recipient=who,
        permanent=meaning.permanent,
        reason=meaning.reason,
        status=status(*status_in),
        diagnostic=diagnostic(*said),
        message_id=which,
        event_id=own,
        timestamp=at,
        raw=as_raw(raw),
    )


def as_raw(value: object) -> Raw:
    """A JSON object as it is; anything else as JSON text."""
    return value if isinstance(value, dict) else json.dumps(value)


def broken(value: object) -> Event:
    """The ``unknown`` event for something that isn't an event at all."""
    return make_event(UNKNOWN, value)


def each(items: Iterable[object], read: Callable[[Mapping[str, object]], Event]) -> list[Event]:
    """Every item read, one that is no JSON object as a broken one."""
    return [read(item) if isinstance(item, dict) else broken(item) for item in items]


def blame(meaning: Meaning, code: str) -> Meaning:
    """A bounce whose word doesn't say why, with what its enhanced status code says (RFC 3463 §3).

    ``X.7.X`` is policy, ``X.1.7`` and ``X.1.8`` are the sender's address: ``blocked``; ``X.4.7`` is a message that took
    too long: ``timed_out``; ``X.1.3`` is no address: ``invalid``. ``X.2.2`` is a full mailbox, which isn't permanent;
    providers that know only "bounced" and "blocked" call it either.
    """
    if meaning.type is not EventType.BOUNCED:
        return meaning
    tail = code[2:]
    if tail == "2.2" and meaning.reason in {None, Reason.BOUNCED, Reason.OTHER, Reason.BLOCKED}:
        return Meaning(meaning.type, Reason.BOUNCED, False)
    if meaning.reason not in {None, Reason.BOUNCED, Reason.OTHER}:
        return meaning
    if tail.startswith("7.") or tail in {"1.7", "1.8"}:
        return Meaning(meaning.type, Reason.BLOCKED, meaning.permanent)
    reason = {"4.7": Reason.TIMED_OUT, "1.3": Reason.INVALID}.get(tail)
    return Meaning(meaning.type, reason, meaning.permanent) if reason else meaning


def _unquote(value: bytes) -> str:
    # Percent-encoding is quoted-printable with another sign, and binascii reads that at once. urllib.parse goes from
    # sign to sign in Python: seconds for a large body, and this comes before it is known who sent it.
    return a2b_qp(value.replace(b"+", b" ").replace(b"=", b"=3D").replace(b"%", b"=")).decode()


def _too_deep(body: bytes) -> bool:
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    # Without escapes and what stands between quotes, every bracket is JSON's own.
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")
    outside = b"".join(plain.split(b'"')[::2])
    depth = 0
    for bracket in outside.translate(None, delete=_NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def _finite(digits: str) -> float:
    found = float(digits)
    if not math.isfinite(found):
        raise ValueError("a number is too large")
    return found


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)

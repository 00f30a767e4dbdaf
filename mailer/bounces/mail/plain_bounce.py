"""Bounces in prose: whether a text is one, who didn't get the message, and what was said about it."""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from dataclasses import dataclass, replace

from mailer.bounces.mail.addresses import ADDRESS, find_addresses, trim
from mailer.bounces.mail.auto_reply import from_daemon, has_no_return_path, is_answer, subject_of
from mailer.bounces.mail.mime import Fields, first
from mailer.bounces.mail.outcome import Action, Outcome
from mailer.bounces.mail.plain_shapes import (
    ASIDES,
    ASK,
    BARE_NAME,
    BARE_NAMES_OF,
    EXPANDED,
    LISTS,
    ROLES,
    SHAPES,
    Shape,
)
from mailer.bounces.mail.plain_verdicts import SUBJECTS, VERDICTS, Verdict
from mailer.bounces.mail.status import find_status

MAX_TEXT = 64 * 1024
MAX_RECIPIENTS = 1000
MAX_REPLIES = 1000

_TAG = re.compile(r"<(/?[A-Za-z!][^<>]{0,2000})>")
_UNSEEN = ("style", "script", "head")
_BREAKS = re.compile(r"/?(?:br|p|div|tr|li|td|h\d|table|ul|pre|blockquote)\b", re.IGNORECASE)
_REPLY_LINE = re.compile(r"(?<![\d.:])[45][0-5]\d[ -](?!\d{3}-\d{4})|#?\b[45]\.\d{1,3}\.\d{1,3}\b")


@dataclass(frozen=True, slots=True)
class Prose:
    """What a bounce says for people, without the returned message.

    Addresses, case folded: ``mine``: the report's own senders and readers; ``returned_to``: whom the returned message
    went to. ``domain``: the domain that sent the report.
    """

    text: str
    mine: frozenset[str] = frozenset()
    returned_to: frozenset[str] = frozenset()
    domain: str = ""


BY_ENVELOPE = Verdict("a mail system's, with a bounce's subject", re.compile(""), None)
"""For a text in a language, or of a mailer, that no rule knows."""


def text_of_html(source: str) -> str:
    """The words of an HTML part; a bare ``<user@example.com>`` in it is kept."""
    seen = source[: 4 * MAX_TEXT]
    for name in _UNSEEN:
        seen = _without(seen, name)
    return html.unescape(_TAG.sub(_tag, seen)).replace("\xa0", " ")


def is_likely(fields: Fields) -> bool:
    """Whether the sender is a mail system, or the subject is that of a bounce and nobody writes about one."""
    return from_daemon(fields) or (_is_titled(fields) and not _writes_about(fields))


def find_verdict(fields: Fields, text: str, *, returns: bool = False) -> Verdict | None:
    """The rule that says this is a bounce, or None. ``returns``: whether the mail returns a message; what does and has
    no return path is taken for a mail system's, whoever signs it. So is what nobody signs."""
    if not from_daemon(fields) and _writes_about(fields):
        return None
    likely = is_likely(fields) or (returns and has_no_return_path(fields)) or not first(fields, "from")
    whole = f"{subject_of(fields)}\n{text[:MAX_TEXT]}"
    for verdict in VERDICTS:
        if (likely or verdict.alone) and verdict.words.search(whole):
            return verdict
    return BY_ENVELOPE if from_daemon(fields) and _is_titled(fields) else None


def _writes_about(fields: Fields) -> bool:
    """Whether a person or a newsletter writes about a bounce, if no mail system is the sender."""
    return is_answer(fields) or _is_of_list(fields) or _asks(fields)


def _is_of_list(fields: Fields) -> bool:
    """Whether a mailing list or a newsletter sent it (RFC 2369, RFC 2919): mail systems have no such fields."""
    return any(name in ("list-id", "list-post", "list-unsubscribe") for name, _ in fields)


def _asks(fields: Fields) -> bool:
    """Whether the subject is a question of its own ("did my mail bounce?"), not a title before the returned subject."""
    subject = subject_of(fields)
    return subject.rstrip().endswith("?") and not any(pattern.match(subject) for pattern in SUBJECTS)


def _is_titled(fields: Fields) -> bool:
    subject = subject_of(fields)
    return any(pattern.search(subject) for pattern in SUBJECTS)


def read_prose(prose: Prose, action: Action | None) -> list[Outcome]:
    """An outcome for each recipient named; empty if none is."""
    said = _Said.of(prose.text)
    outcomes: dict[str, Outcome] = {}
    found = _recipients(said.lines, prose)[:MAX_RECIPIENTS]
    places = sorted({at for at, _ in found})
    single = len({address.casefold() for _, address in found}) == 1
    for at, address in found:
        if address.casefold() not in outcomes:
            diagnostic = _diagnostic(said, at, address, places, single=single)
            outcomes[address.casefold()] = Outcome(address, action, find_status(diagnostic), diagnostic)
    return list(outcomes.values())


def diagnostics_for(text: str, addresses: list[str]) -> list[str]:
    """What a text says about each address, wherever that stands in it; empty where nothing is said."""
    said = _Said.of(text)
    lower = [line.casefold() for line in said.lines]
    found = []
    for address in addresses[:MAX_RECIPIENTS]:
        at = next((at for at, line in enumerate(lower) if address.casefold() in line), -1)
        found.append(_diagnostic(said, at, address, [at], single=True) if at >= 0 else next(iter(said.replies), ""))
    return found


@dataclass(frozen=True, slots=True)
class _Said:
    """A text's lines, and those of them in which a server's code stands."""

    lines: list[str]
    replies: list[str]

    @classmethod
    def of(cls, text: str) -> _Said:
        lines = text[:MAX_TEXT].split("\n")
        return cls(lines, [line.strip() for line in lines if _REPLY_LINE.search(line)][:MAX_REPLIES])


def _diagnostic(said: _Said, at: int, address: str, places: list[int], *, single: bool) -> str:
    """The reason for the recipient in line ``at``: behind it, below it, or a server's reply elsewhere."""
    after = bisect_right(places, at)
    following = places[after] if after < len(places) else len(said.lines)
    near = [said.lines[at].replace(address, " ").replace("<mailto: >", " ").strip(" \t<>:;,.*-\"'")]
    for line in said.lines[at + 1 : min(following, at + 12)]:
        words = [part for part in near if part and not part.endswith(":")]
        if not line.strip() and words:
            break
        near.append(line.strip())
    here = " ".join(part for part in near if part)
    if _REPLY_LINE.search(here):
        return here
    named = next((line for line in said.replies if address.casefold() in line.casefold()), "")
    alone = single or not here
    return named or (next(iter(said.replies), "") if alone else "") or here


def _without(source: str, name: str) -> str:
    """Without the elements of a name, up to the first that isn't closed."""
    lower, kept, at = source.lower(), [], 0
    if len(lower) != len(source):  # a few letters change their length
        return source
    while (begin := lower.find(f"<{name}", at)) >= 0 and (end := lower.find(f"</{name}", begin)) >= 0:
        kept.append(source[at:begin])
        at = end + len(name) + 3
    return " ".join((*kept, source[at:]))


def _tag(found: re.Match[str]) -> str:
    inside = found[1]
    if "@" in inside and "=" not in inside:
        return found[0]
    return "\n" if _BREAKS.match(inside) else " "


def _recipients(lines: list[str], prose: Prose) -> list[tuple[int, str]]:
    """Recipients and their lines: below the line that announces them, else anywhere by their shape, else in prose.

    The report's own reader, who may have written to their own address, is one only where that is announced: where no
    address follows the line, recipients have names, and the reader stands there as the sender.
    """
    listed = next((at for at, line in enumerate(lines) if LISTS.search(line[:1000])), None)
    if listed is None:
        return _by_shape(lines, prose) or _anywhere(lines, prose)
    others = replace(prose, returned_to=prose.returned_to - prose.mine)
    found = _by_shape(lines, prose, listed, roles=True) or _by_shape(lines, others)
    found = found or _bare(lines, prose, listed) or _anywhere(lines, others)
    return found or _by_shape(lines, replace(prose, mine=frozenset()), listed, roles=True, shapes=SHAPES[:1])


def _is_aside(line: str) -> bool:
    return any(pattern.search(line) for pattern in ASIDES)


def _ours(address: str, prose: Prose) -> bool:
    return address.casefold() in prose.mine and address.casefold() not in prose.returned_to


def _by_shape(
    lines: list[str], prose: Prose, begin: int = 0, *, roles: bool = False, shapes: tuple[Shape, ...] = SHAPES
) -> list[tuple[int, str]]:
    """``roles``: whether ``postmaster@`` and the like may be recipients; elsewhere they are whom to ask."""
    candidates = [(at, line[:1000]) for at, line in enumerate(lines[begin:], begin) if "@" in line]
    for shape in shapes:
        found = []
        for at, line in candidates:
            match = shape.line.match(line)
            if match is None or not ADDRESS.match(match["address"]):
                continue
            expanded = EXPANDED.search(_with_asides(lines, at))
            address = trim(expanded["address"] if expanded and "@" in expanded["address"] else match["address"])
            if not address or _ours(address, prose) or _is_aside(line[: match.start("address")]):
                continue
            wrapped = at > 0 and bool(ASK.search(lines[at - 1][-200:]))
            if roles or not (ROLES.match(address) or wrapped):
                found.append((at, address))
        if found:
            return found
    return []


def _with_asides(lines: list[str], at: int) -> str:
    """A recipient's line and the next; the one behind that, too, if the next is all in brackets (sendmail's reason)."""
    below = lines[at + 1 : at + 3]
    if below and not below[0].lstrip().startswith("("):
        below = below[:1]
    return " ".join(line[:1000] for line in (lines[at], *below))


def _bare(lines: list[str], prose: Prose, begin: int) -> list[tuple[int, str]]:
    if prose.domain not in BARE_NAMES_OF:
        return []
    named = ((at, BARE_NAME.match(line)) for at, line in enumerate(lines[begin:], begin) if len(line) < 100)
    return [(at, f"{name['name']}@{prose.domain}") for at, name in named if name]


def _anywhere(lines: list[str], prose: Prose) -> list[tuple[int, str]]:
    """Addresses in prose: the one the message went to if it is there, else the first sentence's that has any."""
    found = [
        (at, address)
        for at, line in enumerate(lines)
        if "@" in line
        for address in find_addresses(line[:2000])
        if not _ours(address, prose)
    ]
    known = [(at, address) for at, address in found if address.casefold() in prose.returned_to]
    if known:
        return known
    plain = [(at, address) for at, address in found if not _is_aside(lines[at]) and not ROLES.match(address)]
    return [(at, address) for at, address in plain if at == plain[0][0]] if plain else []

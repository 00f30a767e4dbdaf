"""Where a bounce ends and the returned message begins, and the returned message's header.

Nothing in the returned message is evidence of a failure: it is what was sent, or what somebody claims was sent.
"""

from __future__ import annotations

import re

from mailer.bounces.mail.mime import Fields, Part, read_fields

KINDS = frozenset(
    {
        "message/rfc822",
        "message/rfc822-headers",
        "text/rfc822-headers",
        "text/rfc822",
        "message/global",
        "message/global-headers",
        "message/partial",
        "message/news",
    }
)

_RULE = " \t>*+=_|#:.~-"
"""Characters that lines are ruled and quoted with; they are taken off before a line is compared."""

# How a line begins after which a copy of what was sent follows. Ordered by how often it is met.
OPENINGS: tuple[re.Pattern[str], ...] = tuple(
    re.compile(opening, re.IGNORECASE)
    for opening in (
        # qmail and its kin; GMX; m-FILTER.
        r"Below (?:this line )?is (?:a|the) copy of (?:the|your) (?:original )?message",
        r"(?:Enclosed|Included|Attached|Here) (?:is|are) (?:a|the) (?:copy|header|original)",
        r"(?:The )?(?:full )?headers? of the original (?:message|mail)",
        # Exim.
        r"This is a copy of (?:the|your) message",
        r"The (?:first|body|text)[\w\s,]{0,30} of the (?:original )?message (?:is|follows)",
        # sendmail, Gmail, Exchange, Notes, IMail, Mercury, MDaemon: two or three words between rules.
        r"(?:Start of |Begin |Beginning of )?(?:The |Your |First part of |Text of )?"
        r"(?:(?:original|returned|unsent) (?:mail|message|e-mail|email)"
        r"|(?:undelivered|undeliverable|rejected|failed|bounced|sent) (?:mail|message|e-mail|email)(?= \w))"
        r"(?: (?:text|body|headers?|info|contents?|follows?|below|is))*"
        r"(?:\(.{0,80}\))?$",
        r"(?:Original|Returned|Your) (?:mail|message|e-mail) (?:[\w ]{0,20} )?(?:follows|reads)",
        r"(?:Message |Mail )?headers? (?:follow|of (?:the|your) message)",
        r"(?:Message|Mail) (?:contents?|text|body|source|headers?)(?: follows?)?$",
        r"No message was collected",
        # Others.
        r"(?:Your|The) (?:original )?(?:message|mail) (?:was|is|began) (?:as follows|attached|as below)",
        r"(?:An?|The) copy of (?:the|your) (?:original )?message (?:is|follows|below)",
        r"The following is (?:a|the) (?:copy|header)",
        r"The header and (?:the )?(?:top|first) \d+ lines of",
        r"(?:Your|The) (?:undelivered )?(?:message|mail) (?:follows|is (?:enclosed|appended|included|below))",
        r"Old message$",
        r"Forwarded message$",
        # German, French, Spanish, Italian, Portuguese, Polish.
        r"(?:Ursprüngliche (?:Nachricht|E-Mail)|Original-?nachricht|Kopie (?:der|Ihrer) Nachricht"
        r"|(?:Kopfzeilen|Header) der (?:ursprünglichen )?Nachricht|Message d'origine|Message original"
        r"|En-têtes du message|Mensaje original|Copia del mensaje|Messaggio originale|Mensagem original"
        r"|Oryginalna wiadomość)\b.{0,60}$",
        # A part that lost its boundary.
        r"Content-Type:\s*(?:message/rfc822|text/rfc822-headers|message/partial)",
    )
)

_HEADER_LINE = re.compile(r"[ \t]{0,12}([A-Za-z][A-Za-z-]{1,40})[ \t]?:")
_SURE = frozenset(
    {"received", "message-id", "return-path", "mime-version", "content-type", "x-mailer", "dkim-signature"}
)
_KNOWN = _SURE | frozenset({"from", "to", "date", "subject", "cc", "reply-to", "sender", "content-transfer-encoding"})


def cut(text: str) -> tuple[str, str]:
    """A text before and from the returned message's beginning; the second is empty where nothing is returned."""
    lines = text.split("\n")
    at = _opening(lines)
    return "\n".join(lines[:at]), "\n".join(lines[at:])


def returned_fields(parts: list[Part], remainder: str) -> Fields:
    """The returned message's header: of the first part that is one, else of what ``cut`` found."""
    for part in parts:
        if part.kind in KINDS:
            return read_fields(part.text) or part.fields
    lines = remainder.split("\n")
    for at in range(min(len(lines), 60)):
        field = _HEADER_LINE.match(lines[at])
        if field and field[1].lower() in _KNOWN and _is_header(lines[at : _run_end(lines, at)]):
            # An indented or quoted header is still one.
            indent = len(lines[at]) - len(lines[at].lstrip(" \t"))
            return read_fields("\n".join(line[indent:] if line[:indent].isspace() else line for line in lines[at:]))
    return ()


def _opening(lines: list[str]) -> int:
    judged = 0
    for at, line in enumerate(lines):
        words = line.strip(_RULE) if 4 < len(line) < 200 else ""
        if words and any(opening.match(words) for opening in OPENINGS):
            return at
        # What isn't a header from its first line on isn't one from a later line on: each line is judged once.
        if at >= judged and (field := _HEADER_LINE.match(line)) and field[1].lower() in _KNOWN:
            end = _run_end(lines, at)
            if _is_header(lines[at:end]):
                return at
            judged = end
    return len(lines)


def _run_end(lines: list[str], at: int) -> int:
    """Where the fields that begin in a line end: at a blank line, or one that can be none of them."""
    for end in range(at, len(lines)):
        line = lines[end]
        if not line.strip() or (line[0] not in " \t" and not _HEADER_LINE.match(line)):
            return end
    return len(lines)


def _is_header(run: list[str]) -> bool:
    """Whether fields are a message's header: three or more that headers have, one of which nothing else has."""
    names = [field[1].lower() for line in run if (field := _HEADER_LINE.match(line))]
    known = [name for name in names if name in _KNOWN or name.startswith("x-")]
    return len(known) > 2 and not _SURE.isdisjoint(known)

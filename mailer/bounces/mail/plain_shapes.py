"""How mailers that never heard of RFC 3464 write down recipients: ordered data, the first shape found wins.

``SHAPES`` are lines with a recipient, ``LISTS`` lines after which recipients stand, ``ASIDES`` lines whose addresses
are somebody else's. A test proves that each rule fires.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailer.bounces.mail.addresses import NO_WORD


@dataclass(frozen=True, slots=True)
class Shape:
    """A line with one recipient, in the group ``address``."""

    name: str
    line: re.Pattern[str]


_IN = rf"(?P<address>(?:\"[^\"\s@]{{1,64}}\"|[^{NO_WORD}@]{{1,128}})@[\w.-]{{1,255}})"

# How a line names a recipient, surest first. All lines of the surest shape found are the recipients.
SHAPES: tuple[Shape, ...] = (
    # qmail, Postfix before DSNs, courier: "<user@example.com>:" and the reason behind or below it.
    Shape("angles and a colon", re.compile(rf"[ \t]{{0,12}}<{_IN}>:?(?:\s.*)?:?\s*$")),
    # Yahoo, Novell, Netscape: "<user@example.com>" or "user@example.com:" alone, and a reason in other lines.
    Shape("a colon", re.compile(rf"[ \t>*•·-]{{0,12}}[\"'\[(]?{_IN}[\"'\])]?\s?:(?:\s.*)?$")),
    # Exim, Gmail, sendmail, m-FILTER, Zoho and most others: an address alone in its line, marked or not.
    Shape(
        "alone",
        re.compile(
            rf"[ \t>*•·-]{{0,30}}(?:\d{{1,3}}[.)] )?(?:(?:\"[^\"]{{0,100}}\"|"
            rf"[\w .,'@+-]{{1,100}})[ \t]?(?=<))?[\"'<(\[]{{0,2}}(?:mailto:|SMTP:|"
            rf"rfc822;)?{_IN}[\"'>)\].,;]{{0,3}}\s*$",
            re.I,
        ),
    ),
    # Domino, Exchange, GroupWise, MDaemon, IMail, Courier's transcript: the address, then the reason.
    Shape(
        "a reason behind it",
        re.compile(
            rf"[ \t>*•·-]{{0,30}}(?:c=\w\w;[^@]{{0,200}}?SMTP=)?[\"'<]?{_IN}[\"'>]?(?:[ \t]{{0,8}}[(\[,;]|"
            rf"[ \t]+(?:on|-|–|\(|\d{{3}}|[A-Z])).*$"
        ),
    ),
    # Labelled: "Recipient: user@example.com", "To: …", "unknown user: …", "Original-Recipient: rfc822;…".
    Shape(
        "labelled",
        re.compile(
            r"[ \t>*•·-]{0,30}(?:(?:the |your |following |failed |final |original |intended |invalid |unknown |bad |"
            r"no such )"
            r"{0,3}(?:recipient|address|user|addressee|rcpt|e-?mail|mailbox|to|delivered to|empf[äa]nger|adresse|"
            r"destinataire|"
            r"destinatario|destinat[áa]rio|ontvanger|odbiorca|получатель|收件人|"
            r"宛先)\w{0,4}(?: ?\(\w{1,3}\))?(?: address(?:es)?)?)"
            rf"\s?[:=：]+\s{{0,20}}[\"'<\[]{{0,2}}(?:mailto:|SMTP:|rfc822;\s?)?{_IN}",
            re.I,
        ),
    ),
    # In a sentence: "Your message to user@example.com couldn't be delivered".
    Shape(
        "in a sentence",
        re.compile(
            r".{0,300}?\b(?:addressed(?: to)?|recipients?|user|mailbox|address|deliver(?:ed|y)?(?: your (?:mail|"
            r"message|e-?mail))?"
            r"(?: to)?|(?:mail|message|e-?mail)(?: sent)? to|sent to|f[üu]r|an|[àa]|para|to)(?:\(e?s\))?,?:?"
            rf"\s{{1,4}}[\"'<\[(]{{0,2}}{_IN}",
            re.I,
        ),
    ),
    # A transcript: ">>> RCPT To:<user@example.com>", "550 5.1.1 <user@example.com>... User unknown".
    Shape(
        "a transcript",
        re.compile(
            rf".{{0,200}}?(?:RCPT TO:|[45]\d\d[ -](?:\d\.\d{{1,3}}\.\d{{1,3}} )?[^<@]{{0,80}}?)\s?<?{_IN}>?", re.I
        ),
    ),
)

# A line after which, or in which, the recipients are listed; where there is one, nobody before it is.
LISTS = re.compile(
    r"(?:following|these|this|all|more|individual|intended|some|specified)(?: \w{1,15}){0,4} (?:recipient|address|"
    r"user|mailbox|person|people|"
    r"destination|distribution)|address\(?es\)? failed|failed (?:recipient|address)|(?:fatal|delivery) (?:errors?|"
    r"problems?) ?-"
    r"|failure reasons"
    r"|(?:delivered|undeliverable) to the following"
    r"|folgende[rn]? (?:empf[äa]nger|adresse|e-?mail)|empf[äa]nger nicht|destinataires? (?:suivant|"
    r"ci-dessous)|aux? destinataire"
    r"|siguientes? (?:destinatario|direcc)|a estos destinatarios|seguintes? destinat|seguenti destinatari",
    re.IGNORECASE,
)

# Mail systems that name their own users without the domain, below a line of LISTS.
BARE_NAMES_OF = frozenset({"aol.com"})
BARE_NAME = re.compile(r"\s{1,12}(?P<name>[\w.-]{3,64})\s*$")

# The address that was written to, where a recipient's own line names what it was expanded to (Postfix, sendmail; Exim's
# aliases only where it hides the result).
EXPANDED = re.compile(
    r"(?:expanded from:?|undisclosed address\s{1,4}\(generated from)\s{1,20}"
    r"<?(?P<address>[^\s<>()]{1,128}@[^\s<>()]{1,255})>?\)",
    re.IGNORECASE,
)

# Words after which an address is that of somebody who may help.
ASK = re.compile(
    r"contact|further (?:assistance|information)|if you (?:have|need|feel|believe|think)"
    r"|please (?:send|forward|e-?mail|write|call)"
    r"|questions?\b|help ?desk|assistance|for help|support|complain|wenden sie sich|kontakt"
    r"|write to|mail me at|new (?:e-?mail )?address|please use|\binstead\b|from now on"
    r"|schreiben sie|neue (?:e-?mail-?)?adresse|stattdessen|k[üu]nftig|ab sofort"
    r"|bitte (?:nutzen|verwenden|benutzen)|[ée]cri(?:re|vez) [àa]|"
    r"escriba a",
    re.IGNORECASE,
)

# Addresses of roles: recipients only where a list of recipients names them.
ROLES = re.compile(r"(?:postmaster|mailer-daemon|abuse|helpdesk|webmaster|hostmaster|noreply|no-reply)@", re.IGNORECASE)

# What stands before an address that is no recipient: whom to ask, who sent it, where it ran.
ASIDES: tuple[re.Pattern[str], ...] = (
    ASK,
    re.compile(r"\b(?:from|sender|von|absender|de|exp[ée]diteur|remitente|reply-to|return-path|mail from)\s?:", re.I),
    re.compile(
        r"(?:mail from|sent by|message from|email from|sender (?:address )?(?:is|was)?|"
        r"de la part de)\s?:?\s?<?\S{1,100}@",
        re.I,
    ),
    re.compile(r"message-?id|\bid[ =:#]|in-reply-to|https?://|references:|subject:|betreff:|objet:|asunto:", re.I),
    re.compile(r"[ \t]{0,8}(?:received|x-[\w-]{1,40}|reporting-mta|remote-mta)\s?:", re.I),
)

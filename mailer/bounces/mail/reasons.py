"""Why, out of what servers say: ordered data, the first match wins. A test proves that each rule fires.

Words before codes: servers answer ``550 5.7.1 No such user`` and ``554 5.0.0 mailbox full``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailer.bounces.event import Reason


@dataclass(frozen=True, slots=True)
class Rule:
    """``detail``: the subject and detail of an enhanced status code (RFC 3463) that says the same as the words."""

    name: str
    words: re.Pattern[str]
    reason: Reason
    detail: str


def _rule(name: str, reason: Reason, detail: str, *alternatives: str) -> Rule:
    return Rule(name, re.compile("|".join(alternatives), re.IGNORECASE), reason, detail)


_MAILBOX = r"(?:user|recipient|mailbox|address|account|mail ?box|addressee|destinatario|empf[aä]nger|konto)"

RULES: tuple[Rule, ...] = (
    # The content was taken for spam, or carried a virus. Before reputation: "blocked as spam" names the content.
    _rule(
        "spam",
        Reason.SPAM,
        "7.1",
        r"(?:message|mail|content|email)[\w ]{0,30} (?:as|like|contain(?:s|ed|ing)?|be|is|considered) (?:to be )?"
        r"(?:\w+ )?(?:spam|uce|ube|junk|bulk)\b",
        r"\bspam (?:score|content|message|mail|filter|detected|rejected|refused|firewall)",
        r"(?:rejected|blocked|refused|identified|classified|flagged|detected|looks? like|suspected|probable|probably|"
        r"possible|high|similar to)[\w ]{0,30} spam\b",
        r"unsolicited (?:bulk )?(?:e?-?mail|messages?)|\bube\b|antispam|bulk e?-?mail",
        r"spamassassin|\buri?bl\b|\bsurbl\b|als spam|spam[- ]id",
    ),
    _rule("virus or attachment", Reason.SPAM, "7.0", r"\bvirus\b", r"infected", r"banned (?:file|attachment|content)"),
    # The sender, its address or its server is refused: ours, whatever is said of addresses and hosts that don't exist.
    _rule(
        "sender refused",
        Reason.BLOCKED,
        "7.1",
        r"\b(?:sender|sending|client|envelope from|mail from|return[- ]path)\b[^.;]{0,80}"
        r" (?:reject|denied|refus|block|unknown|invalid|not |doesn'?t |does not |verif|fail)",
        r"\b(?:your|sending|connecting) (?:ip|server|host|domain|network|mail ?server)\b",
        r"\bip(?: address)? [^;]{0,60}(?:reject|denied|refus|block|listed|unknown|not )",
        r"reverse dns|\bptr\b|\bhelo\b|\behlo\b",
    ),
    # The message is too large; before the mailbox, whose limit is of the same words.
    _rule(
        "message too large",
        Reason.OTHER,
        "3.4",
        r"(?:message|mail)\b(?: size)?[\w ]{0,20} (?:too (?:large|big)|exceed\w*)[\w ]{0,30} "
        r"(?:limit|size|maximum|length)",
        r"(?:message|mail|size)(?: is|:)? too (?:large|big|long)|max(?:imum)? (?:message|mail) size|mail size limit",
        r"(?:RecipSizeLimit|SendSizeLimit)|nachricht (?:ist )?zu gro[ßs]",
    ),
    # The mailbox is full, or takes nothing now.
    _rule(
        "mailbox full",
        Reason.BOUNCED,
        "2.2",
        r"quota",
        r"zu ?viele mails|too many (?:mails|messages) (?:on|in)|exceeds allowed size|number of messages in",
        r"mailbox (?:is )?(?:too )?(?:full|over)",
        r"(?:inbox|mail ?box|mail ?folder|postfach|account|user'?s? mailbox)[\w ]{0,20} (?:full|voll|storage)",
        r"(?:exceed|insufficient|not enough)[\w ]{0,30} (?:storage|disk|space)",
        r"mailbox size limit|size of (?:the )?mailbox",
        r"(?:bo[iî]te|casilla|buz[oó]n|cuenta)[^.]{0,40} (?:pleine?|llen[ao])|skrzynka[^.]{0,40} (?:prze)?pełn",
    ),
    # The mailbox is closed.
    _rule(
        "mailbox disabled",
        Reason.BOUNCED,
        "2.1",
        rf"{_MAILBOX}[^.;]{{0,60}}? (?:disabled|inactive|suspended|deactivated|closed|discontinued|not active|"
        r"no longer (?:active|in use|valid)|expired|locked|gesperrt|deaktiviert)",
        rf"(?:disabled|inactive|suspended|deactivated) {_MAILBOX}",
        r"not accepting (?:mail|messages)",
    ),
    # There is no such mailbox.
    _rule(
        "no such mailbox",
        Reason.BOUNCED,
        "1.1",
        rf"{_MAILBOX}s?[^.;]{{0,80}}? (?:unknown|unbekannt|inconnue?|desconocido|(?:is |was |does )?(?:not|"
        rf"n't) (?:found|"
        r"exist|known|listed|valid|a valid|recogni[sz]ed|available|local|here)|doesn'?t exist|rejected|invalid|"
        r"unavailable|no longer|has been (?:deleted|removed))",
        r"(?:unknown|no such|invalid|unrouteable|bad|illegal|non-?exist\w{0,6}|undeliverable|unavailable)[ -]"
        r"(?:\w{1,12} ){0,2}(?:user|recipient|mailbox|address|account|person|alias|userid|local|mail drop)",
        r"no (?:mail ?box|account|user|recipient|valid recipient|one)\b",
        r"(?:not|isn'?t) (?:our|a) (?:customer|valid (?:user|recipient|mailbox)|known user|local user)",
        r"not listed in (?:domino|public name)|ディレクトリのリストにありません",
        r"(?:doesn'?t|does not|don'?t|do not) have an? .{0,60} account",
        r"mailbox (?:is )?(?:unavailable|not available)|account (?:is )?unavailable",
        r"badrcptto|bad_recipient|recipnotfound",
        r"user not found|not found in (?:directory|the)|does not like recipient",
        r"couldn'?t be found|wasn'?t found|nicht gefunden|introuvable|no se encontr",
        r"existiert nicht|n'existe pas|no existe|nie istnieje|不存在",
    ),
    # The domain takes no mail, or what stands there is no address.
    _rule(
        "no such host",
        Reason.INVALID,
        "1.2",
        r"(?:host|domain|name)[\w ]{0,30} (?:unknown|not found|not exist)",
        r"(?:unknown|no such|illegal) (?:host|domain)|name or service not known|could not find a gateway",
        r"nxdomain|null ?mx|name service error|couldn'?t find any host|no mx\b|no route to host|host/domain name",
    ),
    _rule("no address", Reason.INVALID, "1.3", r"bad address syntax|malformed address|syntax error in|unrouteable"),
    _rule(
        "no relay",
        Reason.INVALID,
        "7.1",
        r"relay(?:ing)? (?:access )?(?:denied|not permitted|not allowed)|unable to relay|list of allowed rcpthosts",
    ),
    _rule("a loop", Reason.BOUNCED, "4.6", r"(?:mail|too many|maximum)[\w ]{0,20} (?:loops?|looping|hops?)\b"),
    # Nobody answered, and the mailer stopped trying.
    _rule(
        "nobody answered",
        Reason.TIMED_OUT,
        "4.7",
        r"timed[ -]?out|time-?out|zeitüberschreitung",
        r"connection (?:was )?(?:refused|reset|dropped)|no answer from host|lost connection",
        r"could(?:n't| not) (?:connect|establish|be reached)|wasn't able to establish|did not accept our requests",
        r"too long|retry time|(?:time|delivery) expired|in (?:the )?queue",
        r"giv(?:e|ing) up|gave up|all hosts have been failing|delivery failed \d+ attempts",
        r"not (?:yet )?been delivered (?:for|within|after)|server unavailable or busy",
    ),
    # Policy and reputation.
    _rule(
        "blocked",
        Reason.BLOCKED,
        "7.1",
        r"block(?:ed|list|ing)|black ?list|\b(?:dns)?rbl\b|\bdnsbl\b|spamhaus|spamcop|barracuda|reputation",
        r"polic(?:y|ies)|access denied|not authori[sz]ed|authenticat|\bspf\b|\bdkim\b|\bdmarc\b|refused by",
        r"(?:sender|mail from)[^.]{0,60} (?:rejected|denied|refused|not allowed)",
        r"gr[ea]y ?list|rate limit|too many (?:connections|messages|recipients)|throttl",
        r"\bbanned\b|permission|prohibited|restricted",
        r"\bspam|\bjunk\b|unsolicited|mass mailer|reverse dns",
    ),
)

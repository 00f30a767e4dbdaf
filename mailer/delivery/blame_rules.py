"""The rules of ``blame``, as ordered data. Each has an example: a reply that this rule, and none before it, decides.

Patterns: ``code`` and ``status`` must match as a whole, ``text`` is searched for, in any case. No pattern has two
unbounded repetitions beside each other, so that the time is linear.
Sources: RFC 5321 §4.2, RFC 3463 and the IANA registry of enhanced status codes; what postmaster.gmx.net,
postmaster.t-online.de, Google's "Gmail SMTP errors and codes", Microsoft's "NDR codes", senders.yahooinc.com document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Blame(StrEnum):
    """Whose fault a refusal is."""

    RECIPIENT = "recipient"  # the address is no good: suppress it
    MAILBOX = "mailbox"  # full, busy, disabled, or doubtful: counted, forgotten in time, suppressed when it keeps on
    US = "us"  # policy, content, reputation, authentication, volume: suppress nobody; the destination is left alone
    RELAY = "relay"  # trouble or a limit of whoever we talk to: back off, blame nobody
    OTHER = "other"  # it failed for this recipient, and nothing more can be concluded


@dataclass(frozen=True, slots=True)
class Rule:
    """``code``, ``status`` and ``text`` must all fit, as far as given."""

    blame: Blame
    example: str
    code: re.Pattern[str] | None
    status: re.Pattern[str] | None
    text: re.Pattern[str] | None


def _rule(blame: Blame, example: str, *, code: str = "", status: str = "", text: str = "") -> Rule:
    code_, status_, text_ = (
        re.compile(pattern, re.IGNORECASE) if pattern else None for pattern in (code, status, text)
    )
    return Rule(blame, example, code_, status_, text_)


BLOCKLISTS = re.compile(
    r"spamhaus|spamcop|barracudacentral|sorbs\.net|uceprotect|surbl|uribl|manitu\.net|abuseat|senderscore|mailspike|"
    r"invaluement|ivmsip|psbl|backscatterer|spfbl|0spam|dnsbl|nixspam|ipcheck\.proofpoint|csi\.cloudmark",
    re.IGNORECASE,
)
"""Names of public lists of senders, wherever they stand: also within URLs and host names."""

# A word that isn't part of a host's name: "spam", but not mx.spam.example or anti-spam.example.
_APART, _END = r"(?<![\w.-])", r"(?![\w-]|\.\w)"

# Up to so many words in between.
_FEW = r"(?:\W{1,5}\w{1,30}){0,4}?\W{1,5}"

_WHO = r"\b(?:user|account|mail-?box|inbox|recipient|address|addressee|alias)(?:'s)?\b"

PERMANENT, TEMPORARY = r"5..", r"4.."
NO_STATUS, NOT_POLICY = r"|[45]\.0\.0", r"|5\.[0-6]\.\d+"

RULES: tuple[Rule, ...] = (
    # --- the relay, before all: nobody is to be blamed for a session that ends ----------------------------------------
    _rule(Blame.RELAY, "421 4.7.0 Try again later, closing connection", code="421"),
    _rule(
        Blame.RELAY,
        "454 Throttling failure: Daily message quota exceeded",
        text=r"\b(?:sending|daily|hourly|message) (?:\w{1,20} )?(?:quota|rate|limit) exceeded|maximum sending rate",
    ),
    _rule(
        Blame.RELAY,
        "452 4.3.1 Insufficient system storage",
        text=r"insufficient (?:system|disk) (?:storage|space|resources)",
    ),
    # --- greylisting says 4.7.1 as often as 4.2.0, and means nothing but "come again" ---------------------------------
    _rule(
        Blame.OTHER,
        "450 4.7.1 <a@example.org>: Recipient address rejected: Greylisted, see https://example.org/greylist",
        code=TEMPORARY,
        text=r"gr[ea]y-?\s?list|try again in \d{1,5} (?:second|minute)",
    ),
    # --- the recipient's own wish, or the wish of whoever runs the list behind the address ----------------------------
    _rule(
        Blame.OTHER,
        "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required",
        status=r"5\.7\.1[23]\d",
    ),
    _rule(
        Blame.OTHER,
        "550 5.7.1 RESOLVER.RST.NotAuthorized; not authorized",
        text=r"resolver\.rst\.|blocked by (?:the |this )?(?:recipient|user)|recipient(?:'s)? preferences|"
        r"only accept(?:s|ing) (?:e-?)?mail from",
    ),
    # --- us, by evidence in the text; whatever the codes say ----------------------------------------------------------
    _rule(
        Blame.US,
        "550 5.1.1 <a@example.org>: Recipient address rejected: blocked using zen.spamhaus.org",
        text=BLOCKLISTS.pattern,
    ),
    _rule(
        Blame.US,
        "550 5.1.1 User unknown: your IP is on our block list (S3150)",
        text=rf"\b(?:block|black|deny)[ -]?(?:list|hole)|{_APART}rbl{_END}|\blisted (?:in|on|at|by)\b|\bS31[45]\d\b",
    ),
    _rule(
        Blame.US,
        "554 IP=192.0.2.1 - None/bad reputation. Ask your postmaster for help. (NOWL)",
        text=r"reputation|\((?:BL|NOWL)\)|poor (?:domain|ip|sender)|user complaints",
    ),
    _rule(
        Blame.US,
        "550 5.1.1 Message rejected as spam",
        text=rf"{_APART}(?:spam\w{{0,10}}|junk(?: ?mail)?|unsolicited|bulk (?:e-?)?mail\w{{0,6}}|phishing|virus|"
        rf"malware|ube){_END}|suspicious|werbung",
    ),
    _rule(
        Blame.US,
        "550 5.7.26 This mail has been blocked because the sender is unauthenticated: SPF did not pass",
        text=rf"{_APART}(?:spf|dkim|dmarc|arc){_END}|unauthenticated|"
        r"authenticat\w{1,6} (?:is )?(?:required|failed|check)",
    ),
    _rule(
        Blame.US,
        "550 5.7.25 The sending IP does not have a PTR record",
        text=rf"{_APART}(?:ptr|rdns|reverse dns|reverse hostname|helo|ehlo){_END}|cannot find your (?:reverse )?host",
    ),
    _rule(
        Blame.US,
        "550 Requested action not taken: mailbox unavailable. Reject due to policy restrictions.",
        text=r"\bpolic(?:y|ies) (?:reasons?|restrictions?|violations?|rejections?)|"
        rf"\b(?:due to|by|for|violates?|against|of){_FEW}polic(?:y|ies)\b|richtlinie",
    ),
    _rule(
        Blame.US,
        "550 Requested action not taken: mailbox unavailable. Sender address is not allowed.",
        text=rf"\bsender\b{_FEW}(?:rejected|refused|denied|blocked|invalid|unknown|not (?:allowed|accepted|verified)|"
        rf"does(?:n't| not) exist)|\b(?:invalid|bad|unknown|forged) sender|\bdomain of sender|sender verif",
    ),
    _rule(
        Blame.US,
        "451 4.3.2 Rate limit reached. Please try again later",
        code=TEMPORARY,
        text=r"\brate[ -]?limit|throttl|too (?:fast|quickly from)|unusual (?:rate|volume|traffic)|unexpected volume|"
        r"too many (?:concurrent|connections|sessions|mails|e-?mails|recipients|messages (?:from|in|per))|"
        r"(?:e-?mails|messages) in too short|temporarily (?:blocked|rejected due)",
    ),
    _rule(
        Blame.US,
        "554 5.7.1 <a@example.org>: Relay access denied",
        text=r"\brelay(?:ing)?\b(?: access)? (?:is )?(?:denied|not (?:permitted|allowed)|prohibited)|unable to relay|"
        r"isn't allowed to relay",
    ),
    # --- the mailbox: full --------------------------------------------------------------------------------------------
    _rule(
        Blame.MAILBOX,
        "550 5.1.1 User over quota. (#5.1.1)",
        text=r"\b(?:over)?quota|exceeded storage|out of storage|not enough (?:storage |disk )?space|"
        rf"storage (?:is )?full|(?:mail-?box|inbox|mailfolder|account)\b{_FEW}\bfull\b|\bfull mailbox|"
        rf"(?:exceed|reach)\w{{0,3}}\b{_FEW}(?:storage|space|mailbox size)|mailbox (?:size )?limit|"
        r"too many messages on",
    ),
    _rule(
        Blame.MAILBOX,
        "550 Benutzer hat das Speichervolumen überschritten",
        text=r"speicher(?:volumen|platz)|postfach (?:\w{1,20} ){0,3}(?:voll|überfüllt|ueberfuellt)|"
        r"bo[iî]te (?:\w{1,20} ){0,3}pleine|buz[oó]n lleno|casella piena",
    ),
    # --- the mailbox: gone for good -----------------------------------------------------------------------------------
    _rule(
        Blame.RECIPIENT,
        "550 5.2.1 This account has been closed, please remove it from your list",
        code=PERMANENT,
        status=NOT_POLICY,
        text=rf"{_WHO}{_FEW}(?:closed|terminated|deleted|discontinued|"
        r"no longer (?:exists?|valid|available|in use|active))\b",
    ),
    # --- the mailbox: disabled, which may pass ------------------------------------------------------------------------
    _rule(
        Blame.MAILBOX,
        "554 5.1.1 Sorry, your message cannot be delivered. This mailbox is disabled (554.30).",
        text=rf"{_WHO}{_FEW}(?:disabled|suspended|inactive|deactivated|not (?:yet )?activ\w{{1,4}}|locked|frozen|"
        r"blocked|archived|temporarily unavailable)\b|inactivity|"
        r"\b(?:inactive|disabled|suspended|deactivated) (?:user|account|mailbox)",
    ),
    # --- no such recipient. A 4xx never says so for good, and a 5.7.x contradicts it ----------------------------------
    _rule(
        Blame.RECIPIENT,
        "550 5.1.1 <a@example.org>: Recipient address rejected: User unknown in virtual mailbox table",
        code=PERMANENT,
        status=NOT_POLICY,
        text=rf"{_WHO}{_FEW}(?:unknown|unrecogni[sz]ed|not (?:be )?(?:found|known|present|exist)|"
        r"does(?:n't| not) exist|not (?:a )?valid|invalid|undeliverable|not listed)\b",
    ),
    _rule(
        Blame.RECIPIENT,
        "553 5.3.0 Sorry, no mailbox here by that name",
        code=PERMANENT,
        status=NOT_POLICY,
        text=r"\b(?:no(?: such)?|unknown|invalid|nonexist[ae]nt|non-exist[ae]nt|bad|wrong|illegal|unrout[e]?able) "
        r"(?:(?:local|virtual|destination|e-?mail|mail|valid) ?)?"
        r"(?:user|account|mail-?box|recipients?|address(?:ee)?|person|alias|local[ -]?part|part|customer|id)\b",
    ),
    _rule(
        Blame.RECIPIENT,
        "554 delivery error: dd This user doesn't have a yahoo.de account",
        code=PERMANENT,
        status=NOT_POLICY,
        text=rf"does(?:n't| not) have an?{_FEW}account|no one (?:at|by) this|not our customer|not a (?:valid|known) "
        r"(?:user|mailbox|recipient|address)|user not local|email account that you tried to reach does not exist",
    ),
    _rule(
        Blame.RECIPIENT,
        "550 Requested action not taken: mailbox unavailable",  # GMX and Outlook.com document it as "does not exist"
        code="550",
        status=NOT_POLICY,
        text=r"mailbox (?:is )?unavailable",
    ),
    _rule(
        Blame.RECIPIENT,
        "550 Benutzer nicht bekannt",
        code=PERMANENT,
        status=NOT_POLICY,
        text=r"\b(?:benutzer|empf(?:ä|ae)nger|adresse|postfach|teilnehmer|mailbox)\b (?:\w{1,20} ){0,3}"
        r"(?:unbekannt|nicht bekannt|existiert nicht|nicht vorhanden|ung(?:ü|ue)ltig)|"
        r"unbekannte[rn]? (?:benutzer|empf|adresse)|(?:utilisateur|destinataire|adresse) (?:inconnue?|invalide)|"
        r"usuario (?:desconocido|no existe)|utente (?:sconosciuto|inesistente)|no existe (?:ese|dicha|el) ",
    ),
    # The same words with 5.7.x: one of the two is wrong.
    _rule(
        Blame.MAILBOX,
        "554 5.7.1 <a@example.org>: Recipient address rejected: User unknown",
        code=PERMANENT,
        status=r"5\.7\.\d+",
        text=rf"{_WHO}{_FEW}(?:unknown|not found|does(?:n't| not) exist)|\bno such (?:user|mailbox|recipient)",
    ),
    # Microsoft 365: mostly "not in the directory", at times a tenant's mistake.
    _rule(
        Blame.MAILBOX,
        "550 5.4.1 Recipient address rejected: Access denied. AS(201806281)",
        code=PERMANENT,
        text=r"recipient address rejected: access denied",
    ),
    # A domain that nobody receives for may be a slip in its DNS.
    _rule(
        Blame.MAILBOX,
        "550 5.4.4 Host or domain name not found. Name service error for name=example.org type=MX: Host not found",
        code=PERMANENT,
        text=r"\b(?:host|domain)\b(?: or domain)?(?: name)? (?:not found|unknown|does(?:n't| not) exist)|nxdomain|"
        r"no mx|allowed rcpthosts|we do not relay|domain (?:is )?not (?:hosted|local)",
    ),
    # --- by status code (RFC 3463) ------------------------------------------------------------------------------------
    _rule(
        Blame.RECIPIENT,
        "550 5.1.1 rejected",
        code=PERMANENT,
        status=r"5\.1\.(?:1|2|3|6|10)",  # 10: the domain takes no mail at all (RFC 7505)
    ),
    _rule(Blame.US, "553 5.1.8 not from there", status=r"[45]\.1\.[78]"),
    _rule(Blame.MAILBOX, "550 5.1.0 Address rejected", code=PERMANENT, status=r"5\.1\.[04]"),
    _rule(Blame.OTHER, "552 5.2.3 too long for this one", status=r"[45]\.(?:2\.3|3\.4)"),  # the message is too large
    _rule(Blame.MAILBOX, "450 4.2.1 is receiving mail at a rate that prevents more", status=r"[45]\.2\.\d+"),
    _rule(Blame.RELAY, "451 4.3.0 Mail server temporarily rejected message", status=r"4\.3\.\d+"),
    _rule(Blame.RELAY, "552 5.5.3 for one message", status=r"[45]\.5\.3"),  # too many recipients
    _rule(Blame.OTHER, "554 5.6.0 no", status=r"[45]\.6\.\d+"),  # the message's form or content; others may take it
    _rule(Blame.US, "550 5.7.1 Delivery not authorized", status=r"[45]\.7\.\d+"),
    # --- by words that are weak evidence, and by code, where there is no status ---------------------------------------
    _rule(
        Blame.US,
        "554 Message refused",
        text=r"\b(?:message|mail|e-?mail|content|connection|client|host|ip|access)\b(?:\W{1,5}\w{1,30}){0,3}?\W{1,5}"
        r"(?:refused|rejected|blocked|denied|banned)\b|\b(?:banned|abuse)\b|content (?:filter|rejected|denied)",
        code=r"5(?!52).{2}",
    ),
    _rule(Blame.US, "530 Must issue a STARTTLS command first", code=r"53[0-9]"),
    _rule(Blame.RELAY, "451 Requested action aborted: local error in processing", code="451", status=NO_STATUS),
    _rule(Blame.MAILBOX, "450 Requested mail action not taken: mailbox unavailable", code="450", text=r"mailbox"),
)

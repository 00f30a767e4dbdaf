"""Which words say that a mail in prose is a bounce, and whether it is over: ordered data, the first match wins.

These mailers never heard of RFC 3464. A test proves that each rule fires.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailer.bounces.mail.outcome import Action


@dataclass(frozen=True, slots=True)
class Verdict:
    """``action`` None: it bounced, and the codes that the text gives say for how long. ``alone``: no mailer
    daemon or subject is needed to believe it."""

    name: str
    words: re.Pattern[str]
    action: Action | None
    alone: bool = False


def _any(*alternatives: str) -> re.Pattern[str]:
    """Alternatives in which a blank stands for any white space: prose is wrapped anywhere."""
    return re.compile("|".join(alternatives).replace(" ", r"\s{1,4}"), re.IGNORECASE)


VERDICTS: tuple[Verdict, ...] = (
    # A warning says so of itself, and often describes the failure that may follow.
    Verdict(
        "warning only",
        _any(
            r"this is (?:only )?a warning message only|warning message only",
            r"you do not need to resend",
            r"delivery attempts will continue",
            r"no action is required on your part",
            r"will (?:keep|continue) trying|will continue to (?:try|attempt)|still trying",
            r"not yet been delivered",
            r"will (?:be|automatically be) retried|will (?:re-?try|try again|be attempted)",
            r"could not send (?:message )?for (?:the )?past",
            r"n[ãa]o [ée] necess[áa]rio reenviar|wird weiterhin versucht|weitere zustellversuche",
        ),
        Action.DELAYED,
    ),
    Verdict(
        "qmail",
        _any(r"this is the qmail-send program", r"i've given up\. sorry it didn't work out"),
        Action.FAILED,
        True,
    ),
    Verdict(
        "permanent, in the mailer's own words",
        _any(
            r"permanent fatal errors?",
            r"failed permanently",
            r"this is a permanent error",
            r"permanent (?:delivery )?(?:error|failure)",
            r"has been deemed undeliverable|giving up|given up",
            r"will be deleted from (?:the )?queue|message (?:will be )?(?:removed|deleted) from (?:the )?queue",
            r"endg[üu]ltig nicht zugestellt|dauerhafter fehler|permanenter fehler",
            r"could not be delivered for (?:the last )?\d+ (?:days|hours)|in the time limit specified|aborted after|"
            r"after \d+ (?:delivery )?attempt",
            r"not going to try again|(?:been )?in the queue too long|delivery failed \d+ attempts|no further attempts",
        ),
        Action.FAILED,
    ),
    Verdict(
        "delayed",
        _any(
            r"delivery (?:to the following recipients? )?has been delayed|message (?:has been |is |was )?delayed",
            r"delayed (?:mail|message|delivery)|delivery (?:is )?delayed|temporarily (?:delayed|unable to deliver)",
            r"transient (?:non-fatal )?errors?|temporary (?:non-fatal )?errors",
            r"verz[öo]gert",
        ),
        Action.DELAYED,
    ),
    Verdict(
        "delivered",
        _any(
            r"\((?:success|relayed?|delivered|expanded)\)",
            r"(?:was|were|has been|have been) successfully (?:delivered|relayed|sent)|successfully delivered",
            r"(?:was|were|has been|have been) (?:delivered|relayed) to (?:the |these |this )?(?:following |next )?"
            r"(?:recipient|mail ?box|destination|address|user)",
            r"(?:delivery|mail) (?:was )?success(?:ful)?|erfolgreich zugestellt|remis avec succ[èe]s|"
            r"entregado correctamente",
        ),
        Action.DELIVERED,
    ),
    Verdict(
        "undelivered, in English",
        _any(
            r"(?:could|can|was|were|has|have|is|be|would|had)(?: ?not|n't)[^.]{0,30} (?:delivered|deliverable|sent|"
            r"reached)",
            r"(?:un|not )able to (?:be )?(?:deliver|send|complete|reach|transmit)|unable to relay",
            r"undeliver(?:able|ed)|non-?deliver(?:y|able|ed)",
            r"(?:delivery|transmission) (?:of (?:your|the) [^.]{0,60} |to [^.]{0,80} |attempt )?(?:has )?(?:failed|"
            r"error|failure)",
            r"(?:mail|message|delivery) (?:delivery )?(?:failure|failed|problem|error)",
            r"failed to deliver|fail(?:ed|ing)? to reach|did not reach|not reached",
            r"(?:could|can)(?:not| not|n't) (?:deliver|send|be (?:sent|relayed|completed))|delivery problems?",
            r"fatal errors?|failed (?:addresses|recipients?)|(?:was|were|been|be) (?:rejected|refused|returned|"
            r"bounced|blocked)",
            r"returned to sender|returning (?:your )?(?:message|mail)|mail (?:was )?(?:rejected|refused|returned)",
            r"(?:not|n't)(?: a)? (?:valid|known) (?:user|address|recipient|mailbox)|did not (?:exactly )?match an?",
            r"no valid recipients?|failed mail|mail failed|failure notice|failure delivery|delivery aborted",
            r"not delivered|no longer (?:valid|in use)|user unknown|unknown user|no such user",
            r"(?:unable to|can(?: ?not|'t)|could(?: not|n't)) find (?:the |this )?(?:user|recipient|mailbox|address)",
            # OpenSMTPD, and texts whose only plain words are the reason.
            r"error (?:has )?occurred while (?:attempting|trying) to (?:deliver|send)",
            r"(?:recipient|mailbox|domain|host)(?: name)? (?:does not|doesn't) exist",
            r"not listed in (?:domino|public)|recipients? (?:were affected|rejected)|recipients? refused",
            r"account (?:is |has been )?(?:disabled|closed|inactive|suspended)|invalid (?:recipient|address)",
            r"(?:mailbox|quota|inbox) (?:is )?(?:full|exceed\w{0,3})|exceeded (?:the |their |its )?(?:quota|storage)",
        ),
        None,
    ),
    Verdict(
        "undelivered, in German",
        _any(
            r"(?:konnte|kann|wurde|werden)[^.]{0,120} nicht [^.]{0,60}(?:zugestellt|zustellen|[üu]bermittelt|"
            r"gesendet|geliefert|erreicht)",
            r"nicht zugestellt|unzustellbar|nicht zustellbar|zustellung [^.]{0,60}(?:fehlgeschlagen|gescheitert|"
            r"nicht m[öo]glich)",
            r"empf[äa]nger (?:ist )?(?:unbekannt|nicht bekannt|existiert nicht)|postfach [^.]{0,40}(?:voll|"
            r"existiert nicht)",
            r"fehler bei der (?:zustellung|[üu]bermittlung)",
        ),
        None,
    ),
    Verdict(
        "undelivered, in other languages",
        _any(
            # French, Spanish, Italian, Portuguese, Dutch, Polish, Russian, Japanese, Chinese.
            r"n'a (?:pas )?pu [êe]tre (?:remis|livr|distribu|envoy)|n'(?:a|ont) pas [ée]t[ée] (?:remis|livr|"
            r"distribu|re[çc]u)",
            r"non remis|[ée]chec de (?:la )?(?:remise|distribution|livraison)|impossible de (?:remettre|distribuer|"
            r"livrer)",
            r"no (?:se )?(?:ha )?(?:pudo|podido|puede)[^.]{0,30} (?:entrega|enviar|ser entregado)|"
            r"no se (?:ha )?(?:entreg|pudo)",
            r"no entregado|error (?:en la|de) entrega|imposible (?:entregar|enviar)",
            r"non (?:[èe] stato (?:possibile )?|pu[òo] essere )?(?:recapitat|consegnat)|impossibile (?:recapitare|"
            r"consegnare)|mancat[ao] (?:consegna|recapito)|messaggio [èe] stato rifiutato",
            r"n[ãa]o (?:p[ôo]de|foi|pode) (?:ser )?(?:entreg|enviad)|falha (?:na|de) entrega|n[ãa]o entregue",
            r"niet (?:worden )?(?:afgeleverd|bezorgd|besteld)|kon niet",
            r"nie (?:mo[żz]e|mog[łl]a|zosta[łl]a?)[^.]{0,40} (?:dostarczon|dor[ęe]czon)|nie istnieje|niedostarczon",
            r"не (?:может быть |было |удалось |удается )?(?:достав|отправ)|недостав|не существует",
            r"配信(?:できま|に失敗|不能|エラー)|送信(?:できま|に失敗)|届け(?:でき|られ)|宛先|エラーメール",
            r"退信|无法(?:送达|投递|发送)|無法(?:送達|投遞)|被退回|投递失败|发送失败|投递错误",
        ),
        None,
    ),
)

# Subjects that only bounces have.
SUBJECTS: tuple[re.Pattern[str], ...] = (
    re.compile(
        r"undeliver|non-?deliver|not delivered|deliver\w* (?:status notification|failure|failed|error|problem|"
        r"report|notif|delay)"
        r"|failure notice|returned (?:mail|message|e-?mail|to sender)|mail (?:delivery|failure|system error|"
        r"could not|returned)"
        r"|(?:message|delivery|mail)\S* (?:delivery )?(?:failed|failure|error|undeliver|rejected|refused|blocked|"
        r"bounced|delayed)"
        r"|warning: (?:could not|message|e-?mail)|(?:could|can)(?:n't| ?not) (?:be )?(?:send|sent|deliver)|"
        r"permanent delivery"
        r"|failed (?:mail|delivery|message)|bounce|unknown (?:user|recipient|address)|notification (?:d'|"
        r"d’)?[ée]tat|\bndn\b"
        r"|user unknown|delivery notification|delayed mail|unable to deliver|mail delivery|notice: mail|rejected",
        re.I,
    ),
    re.compile(r"unzustellbar|nicht zugestellt|zustell|fehlgeschlagen|mailzustellung|[üu]bermittlungsfehler", re.I),
    re.compile(
        r"non remis|[ée]chec|non distribu|no entreg|devuelto|rechazado|non recapitat|mancat|n[ãa]o entreg|devolvid",
        re.I,
    ),
    re.compile(
        r"niet bezorgd|onbestelbaar|niedostarcz|zwrot|недостав|配信|送信|エラー|退信|退回|系统退信|无法投递", re.I
    ),
)

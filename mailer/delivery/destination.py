"""Who receives for an address: the domain, or the provider that receives for many domains.

Limits, throttles and breakers are kept per destination: whoever slows us down at ``hotmail.de`` does so at
``outlook.com`` as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import idna

_COUNTRY = r"(?:com|net|org|info|biz|eu|tm|co\.[a-z]{2}|com\.[a-z]{2}|[a-z]{2})"
"""What follows a family's name: ``hotmail.de``, ``yahoo.co.uk``, ``live.com.au``; not ``live.example.com``."""

GROUPS: dict[str, tuple[str, ...]] = {
    # Name of the destination: its domains; ``hotmail.*`` stands for the name under every country's ending.
    "gmail.com": ("gmail.com", "googlemail.com", "google.com"),
    # Microsoft's consumer mail. Companies at Microsoft 365 have domains of their own and filters of their own.
    "outlook.com": (
        *("outlook.com", "outlook.de", "outlook.at", "outlook.fr", "outlook.es", "outlook.it", "outlook.dk"),
        *("outlook.be", "outlook.ie", "outlook.pt", "outlook.cz", "outlook.sk", "outlook.hu", "outlook.jp"),
        *("outlook.co.id", "outlook.co.th", "outlook.com.ar", "outlook.com.au", "outlook.com.br", "outlook.com.gr"),
        *("outlook.com.tr", "outlook.com.vn", "outlook.in", "outlook.kr", "outlook.lv", "outlook.my", "outlook.ph"),
        *("outlook.sa", "outlook.sg", "outlook.cl"),
        *("hotmail.*", "live.*", "msn.com", "passport.com", "windowslive.com"),
    ),
    # 1&1 Mail & Media: GMX, WEB.DE and mail.com take mail in on one platform (postmaster.gmx.net).
    "gmx.net": (
        *("gmx.*", "mein.gmx", "caramail.com", "caramail.fr", "web.de", "email.de", "mail.com", "email.com", "usa.com"),
        *("post.com", "consultant.com", "engineer.com", "europe.com", "iname.com", "myself.com", "dr.com", "asia.com"),
        *(
            "techie.com",
            "writeme.com",
            "cheerful.com",
            "accountant.com",
            "activist.com",
            "journalist.com",
            "linuxmail.org",
        ),
    ),
    # Yahoo receives for AOL, and since 2025 for Comcast's and AT&T's customers (senders.yahooinc.com).
    "yahoo.com": (
        *("yahoo.*", "ymail.com", "rocketmail.com", "myyahoo.com", "y7mail.com", "aol.com", "aol.de", "aol.co.uk"),
        *("aol.fr", "aol.at", "aim.com", "netscape.net", "verizon.net", "att.net", "sbcglobal.net", "bellsouth.net"),
        *("ameritech.net", "pacbell.net", "swbell.net", "flash.net", "nvbell.net", "prodigy.net", "snet.net"),
        *("wans.net", "worldnet.att.net", "currently.com"),
    ),
    "icloud.com": ("icloud.com", "me.com", "mac.com"),
    "t-online.de": ("t-online.de", "magenta.de", "email.t-online.de"),
    "freenet.de": ("freenet.de", "freenetmail.de", "01019freenet.de"),
    "vodafone.de": ("vodafone.de", "vodafonemail.de", "arcor.de", "arcormail.de", "nexgo.de"),
    "mail.ru": ("mail.ru", "bk.ru", "list.ru", "inbox.ru", "internet.ru", "xmail.ru"),
    "yandex.ru": ("yandex.ru", "yandex.com", "yandex.ua", "yandex.by", "yandex.kz", "ya.ru"),
    "orange.fr": ("orange.fr", "wanadoo.fr"),
    "free.fr": ("free.fr", "freesbee.fr", "libertysurf.fr", "online.fr", "aliceadsl.fr"),
    "proton.me": ("proton.me", "protonmail.com", "protonmail.ch", "pm.me"),
    "qq.com": ("qq.com", "foxmail.com", "vip.qq.com"),
    "163.com": ("163.com", "126.com", "yeah.net", "vip.163.com"),
}
"""Providers with more than one domain."""

_BY_DOMAIN = {domain: name for name, domains in GROUPS.items() for domain in domains if not domain.endswith(".*")}
_BY_FAMILY = {domain[:-2]: name for name, domains in GROUPS.items() for domain in domains if domain.endswith(".*")}
_FAMILY = re.compile(rf"({'|'.join(_BY_FAMILY)})\.{_COUNTRY}")


def destination(email: str) -> str:
    """The destination of an address, or of a bare domain: a group's name, else the domain in lower-case punycode.

    Takes anything: what isn't a domain comes back in lower case.
    """
    domain = email.rpartition("@")[2].strip().rstrip(".").lower()
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except idna.IDNAError:
            return domain
    found = _BY_DOMAIN.get(domain)
    if found is None and (family := _FAMILY.fullmatch(domain)):
        found = _BY_FAMILY[family[1]]
    return found or domain


def same_destination(domains: Iterable[str]) -> list[tuple[str, str, str]]:
    """Domains that are the same destination: the first of them, each later one, and what both are called."""
    first: dict[str, str] = {}
    twice = []
    for domain in domains:
        name = destination(domain)
        if name in first:
            twice.append((first[name], domain, name))
        first.setdefault(name, domain)
    return twice

"""E-mail addresses: what is one, and when two are the same.

Syntax is RFC 5321 with RFC 6531 (internationalised), checked by ``email-validator``; nothing is looked up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import idna
from email_validator import EmailNotValidError, validate_email

from mailer.errors import AddressError

_MOST = 254  # characters of an address (RFC 5321 §4.5.3.1.3, without the angle brackets)
_LONGEST = "a" * 64  # a local part (§4.5.3.1.1)
_ORDINARY = re.compile(r"[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*")
"""Local parts that are addresses' as they stand, before every domain; there are many others."""


@dataclass(frozen=True, slots=True)
class Address:
    """``local`` keeps its case; ``domain`` is in Unicode, ``ascii_domain`` the same as punycode (RFC 5890)."""

    local: str
    domain: str
    ascii_domain: str

    @property
    def text(self) -> str:
        """As a person writes it."""
        return f"{self.local}@{self.domain}"

    @property
    def wire(self) -> str:
        """As SMTP sends it: the domain in punycode. Needs SMTPUTF8 where ``needs_smtputf8``."""
        return f"{self.local}@{self.ascii_domain}"

    @property
    def needs_smtputf8(self) -> bool:
        """Whether the local part can only travel over a relay that offers SMTPUTF8 (RFC 6531)."""
        return not self.local.isascii()

    @property
    def key(self) -> str:
        """Equal for addresses that differ only in case or in how the domain is written."""
        return f"{self.local.casefold()}@{self.ascii_domain.lower()}"


def parse_address(text: str) -> Address:
    """The address a text is. Raises ``AddressError`` with the reason.

    Surrounding blanks are dropped; a display name, a quoted local part or a domain literal is refused.
    """
    text = text.strip(" \t")
    local, _, domain = text.partition("@")
    if len(text) <= _MOST and len(local) <= len(_LONGEST) and _ORDINARY.fullmatch(local):
        known = _checked_domain(domain)
        if known is not None:
            return Address(local, *known)
    try:
        return _checked(text)
    except EmailNotValidError as error:
        raise AddressError(str(error).rstrip(".")) from None


def stored_address(text: str) -> Address:
    """The same for an address that was parsed before it was stored: no checks, so cheap enough for each message."""
    local, _, domain = text.rpartition("@")
    if domain.isascii():
        return Address(local, domain, domain)
    return Address(local, domain, idna.encode(domain, uts46=True).decode())


def _checked(text: str) -> Address:
    found = validate_email(text, check_deliverability=False, allow_smtputf8=True, test_environment=True)
    return Address(found.local_part, found.domain, found.ascii_domain)


@lru_cache(maxsize=4096)
def _checked_domain(domain: str) -> tuple[str, str] | None:
    """``domain`` and ``ascii_domain`` behind any ordinary local part; None for what is no domain, or a very long one.

    The library takes longer to check an address than all else that is done about an event or a line of an import, and
    most people's are in few domains.
    """
    try:
        found = _checked(f"{_LONGEST}@{domain}")
    except EmailNotValidError:
        return None
    return (found.domain, found.ascii_domain) if found.local == _LONGEST else None

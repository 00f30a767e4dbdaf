"""E-mail addresses: what is one, and when two are the same.

Syntax is RFC 5321 with RFC 6531 (internationalised), checked by ``email-validator``; nothing is looked up.
"""

from __future__ import annotations

from dataclasses import dataclass

import idna
from email_validator import EmailNotValidError, validate_email

from mailer.errors import AddressError


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
    try:
        found = validate_email(
            text.strip(" \t"), check_deliverability=False, allow_smtputf8=True, test_environment=True
        )
    except EmailNotValidError as error:
        raise AddressError(str(error).rstrip(".")) from None
    return Address(found.local_part, found.domain, found.ascii_domain)


def stored_address(text: str) -> Address:
    """The same for an address that was parsed before it was stored: no checks, so cheap enough for each message."""
    local, _, domain = text.rpartition("@")
    if domain.isascii():
        return Address(local, domain, domain)
    return Address(local, domain, idna.encode(domain, uts46=True).decode())

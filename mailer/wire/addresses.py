"""Addresses and URLs as they stand on the wire: ours from the configuration, recipients' from the store."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit, urlunsplit

import idna

from mailer.errors import AddressError, CompileError
from mailer.model.address import Address, parse_address, stored_address
from mailer.wire import headers

_MAILBOX = re.compile(r"\s*(?P<name>.*?)\s*<\s*(?P<address>[^<>]+?)\s*>\s*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_BARE = re.compile(r"[^\s<>\x00-\x20\x7f]+")


def own_mailbox(text: str, key: str) -> tuple[str, Address]:
    """Name and address of ``Name <address>``, or of an address alone. ``key`` names it in the ``CompileError`` that is
    raised where mail can't be sent from it."""
    found = _MAILBOX.fullmatch(headers.clean(text))
    name, address = (unquoted(found["name"]), found["address"]) if found else ("", text)
    return name, own_address(address, key)


def own_address(text: str, key: str) -> Address:
    """An address that mail is sent from. Raises ``CompileError``, as ``own_mailbox`` does."""
    todo = f"Write '{key}' as 'Name <name@example.com>'."
    try:
        address = parse_address(text)
    except AddressError as error:
        raise CompileError(f"'{text}' is no address to send from: {error}", where=key, todo=todo) from None
    if address.needs_smtputf8:
        raise CompileError(
            f"'{address.local}' in '{text}' isn't ASCII, which many mail servers refuse", where=key, todo=todo
        )
    return address


def wire_address(email: str) -> Address:
    """A stored address, proven once more to hold nothing that could end a command or a field.

    Raises ``AddressError``.
    """
    if not _BARE.fullmatch(email):
        raise AddressError(f"{email!r} is no e-mail address")
    try:
        return stored_address(email)
    except UnicodeError as error:
        raise AddressError(f"the domain of {email!r} can't be written in ASCII: {error}") from None


def ascii_url(url: str) -> str:
    """The URL with its host in punycode and everything else percent-encoded: it stands raw in a header.

    Raises ``CompileError``.
    """
    parts = urlsplit(url.rstrip("/"))
    try:
        name, colon, port = parts.netloc.partition(":")
        host = parts.netloc if parts.netloc.isascii() else idna.encode(name, uts46=True).decode() + colon + port
    except idna.IDNAError as error:
        raise CompileError(f"the host of '{url}' can't be written in ASCII: {error}", where="base_url") from None
    return urlunsplit((parts.scheme, host, quote(parts.path, safe="/%:@-._~!$&'()*+,;="), "", ""))


def unquoted(name: str) -> str:
    """A display name without the quotes around it (RFC 5322 §3.2.4)."""
    found = _QUOTED.fullmatch(name)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else name

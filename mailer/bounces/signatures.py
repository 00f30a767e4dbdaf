"""Proofs that a provider sent a request: passwords, HMACs and times. Comparisons take constant time."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping

from mailer.bounces.errors import WebhookRefused
from mailer.bounces.request import Secrets

WINDOW = 300.0
"""Seconds that a signed time may lie in the future; and in the past, where retries are signed anew."""


def required(secrets: Secrets, provider: str, key: str) -> tuple[str, ...]:
    """The values of a key, at least one. Raises ``WebhookRefused``: without a secret nothing is accepted."""
    found = tuple(secrets.get(key, ()))
    if not found:
        raise WebhookRefused(
            f"[webhooks.{provider}] has no {key}", where=provider, todo=f"Set {key}; until then nothing is accepted."
        )
    return found


def header(headers: Mapping[str, str], provider: str, name: str) -> str:
    """The value of a header (``name`` in lower case). Raises ``WebhookRefused`` (401) where it is missing or empty."""
    found = headers.get(name, "").strip()
    if not found:
        raise WebhookRefused(f"the request has no {name} header", status=401, where=provider)
    return found


def any_equal(given: bytes, wanted: Iterable[bytes]) -> bool:
    """Whether ``given`` is one of the wanted; all are compared, each in constant time."""
    found = False
    for one in wanted:
        found |= hmac.compare_digest(given, one)
    return found


def decode_base64(value: str, provider: str) -> bytes:
    """Standard base64, strictly. Raises ``WebhookRefused`` (403): such a signature proves nothing."""
    try:
        return base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise WebhookRefused("the signature isn't base64", where=provider) from None


def decode_hex(value: str, provider: str) -> bytes:
    """Hexadecimal digits in either case. Raises ``WebhookRefused`` (403): such a signature proves nothing."""
    try:
        return binascii.unhexlify(value.encode("ascii"))
    except ValueError:
        raise WebhookRefused("the signature isn't hexadecimal", where=provider) from None


def check_hmac(provider: str, given: bytes, message: bytes, keys: Iterable[bytes], digest: str) -> None:
    """``given`` must be the HMAC (RFC 2104) with one of the keys, else ``WebhookRefused``.

    ``digest``: ``sha256`` or ``sha1``.
    """
    if not any_equal(given, [hmac.digest(key, message, digest) for key in keys]):
        raise WebhookRefused("the signature is wrong", where=provider, todo="Is it the secret of this webhook?")


def check_time(provider: str, signed: float | None, now: float, window: float = WINDOW) -> None:
    """A signed time must be at most ``window`` seconds old (Unix seconds), else ``WebhookRefused``: it may be a replay.

    Nor may it lie more than ``WINDOW`` in the future.
    """
    if signed is None or not -WINDOW <= now - signed <= window:
        raise WebhookRefused("the signature's time is too far from ours", where=provider, todo="Is our clock right?")


def check_basic_auth(provider: str, headers: Mapping[str, str], secrets: Secrets) -> None:
    """HTTP Basic authentication (RFC 7617) with ``username`` and ``password``. Raises ``WebhookRefused``."""
    users = required(secrets, provider, "username")
    passwords = required(secrets, provider, "password")
    scheme, _, given = header(headers, provider, "authorization").partition(" ")
    try:
        pair = base64.b64decode(given.strip().encode("ascii"), validate=True) if scheme.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        pair = b""
    if not any_equal(pair, [f"{user}:{password}".encode() for user in users for password in passwords]):
        raise WebhookRefused("user name or password is wrong", status=401, where=provider)

"""A webhook request as the providers' modules see it: names in lower case, the body unpacked and within its bounds."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import SecretStr

from mailer.bounces.errors import WebhookMalformed, WebhookTooLarge
from mailer.bounces.reading import read_json

MAX_BODY = 5 * 1024 * 1024
"""Bytes of a body, as sent and after gunzip. SendGrid's largest batch is 768 KB, SparkPost's about 2 MB."""

Secrets = Mapping[str, Sequence[str]]
"""A provider's section of the configuration: each key with one value, or several while a secret is replaced."""

Section = Mapping[str, str | SecretStr | Sequence[str | SecretStr] | None]
"""The same as the settings hold it; None where nothing is set."""


@dataclass(frozen=True)
class Request:
    """``headers`` have their names in lower case. ``body``: the bytes that the provider wrote and signed.

    ``url``: where the request arrived, for signatures over it. ``certificates``: PEM by URL, what was fetched to check
    a signature.
    """

    headers: Mapping[str, str]
    body: bytes
    url: str = ""
    certificates: Mapping[str, bytes] = field(default_factory=dict)

    @cached_property
    def document(self) -> object:
        """The JSON document that the body is, read once for whoever asks. Raises ``WebhookMalformed``."""
        return read_json(self.body)


def unpack(
    headers: Mapping[str, str], body: bytes | str, url: str = "", certificates: Mapping[str, bytes] | None = None
) -> Request:
    """A request as it came: names of headers in any case, the body with its ``Content-Encoding`` (gzip, or none).

    Raises ``WebhookTooLarge`` and ``WebhookMalformed``.
    """
    lower = {str(name).lower(): str(value) for name, value in headers.items()}
    data = body.encode(errors="surrogatepass") if isinstance(body, str) else bytes(body)
    if len(data) > MAX_BODY:
        raise _too_large()
    coding = lower.get("content-encoding", "").strip().lower()
    if coding in {"gzip", "x-gzip"}:
        data = _gunzip(data)
    elif coding not in {"", "identity"}:
        raise WebhookMalformed(f"the body's Content-Encoding is {coding[:40]!r}, which isn't gzip")
    return Request(lower, data, url, certificates or {})


def read_section(section: Section) -> dict[str, tuple[str, ...]]:
    """Each key of a provider's section with its values as plain strings; empty ones are left out."""
    found = {}
    for key, value in section.items():
        several = (value,) if isinstance(value, str | SecretStr) else tuple(value or ())
        plain = (item.get_secret_value() if isinstance(item, SecretStr) else str(item) for item in several)
        found[key] = tuple(item for item in plain if item)
    return found


def _gunzip(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        plain = unpacker.decompress(data, MAX_BODY + 1)
    except zlib.error:
        raise WebhookMalformed("the body isn't gzip, although its Content-Encoding says so") from None
    if len(plain) > MAX_BODY:
        raise _too_large()
    if not unpacker.eof or unpacker.unused_data:
        raise WebhookMalformed("the gzip body is cut off, or something follows it")
    return plain


def _too_large() -> WebhookTooLarge:
    return WebhookTooLarge(f"the body is larger than {MAX_BODY // 1024 // 1024} MiB")

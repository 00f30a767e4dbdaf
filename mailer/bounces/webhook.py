"""Any provider's webhook: what a request says, and whether the provider sent it.

Neither does I/O. Bodies, nesting and numbers of events are bounded, and only ``WebhookError`` leaves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlencode

from mailer.bounces.errors import UnknownProvider, WebhookError
from mailer.bounces.event import Event
from mailer.bounces.providers import PROVIDERS, Provider
from mailer.bounces.request import Section, read_section, unpack
from mailer.errors import nearest


def parse_webhook(provider: str, headers: Mapping[str, str], body: bytes | str) -> list[Event]:
    """The events of a request, in its order; none for a probe. Verifies nothing and needs no secret.

    Header names may be in any case. What the provider's module doesn't know is an event of type ``unknown``. Raises
    ``UnknownProvider``, ``WebhookMalformed``, ``WebhookTooLarge``.
    """
    return find_provider(provider).parse(unpack(headers, body))


def parse_kept(provider: str, raw: str) -> list[Event]:
    """The events of what was kept of one (``Event.raw`` as JSON), read by today's rules. Event ids may be others.

    None where it can't be read: it is cut off, or isn't of a provider's webhook.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return []
    if not isinstance(document, dict) or provider not in PROVIDERS:
        return []
    body = json.dumps(document)
    if provider == "mailgun" and "signature" not in document:  # the old form's fields stand beside its signature
        body = json.dumps({"event-data": document})
    elif provider == "mandrill":
        body = urlencode({"mandrill_events": f"[{body}]"})
    try:
        return parse_webhook(provider, {}, body)
    except WebhookError:
        return []


def verify_webhook(
    provider: str,
    headers: Mapping[str, str],
    body: bytes | str,
    settings: Section,
    now: float | datetime,
    *,
    url: str = "",
    certificates: Mapping[str, bytes] | None = None,
) -> None:
    """Return if the provider sent this request; raise ``WebhookRefused`` if that isn't proven.

    ``settings``: the provider's section of the configuration. ``now``: Unix seconds, or a datetime with a zone.
    ``url``: where the request arrived (Mandrill signs it). ``certificates``: PEM by URL. Also raises
    ``CertificateNeeded`` (fetch it and call again), ``UnknownProvider``, ``WebhookMalformed``, ``WebhookTooLarge``.
    """
    module = find_provider(provider)
    clock = now.timestamp() if isinstance(now, datetime) else float(now)
    module.verify(unpack(headers, body, url, certificates), read_section(settings), clock)


def find_provider(provider: str) -> Provider:
    """A provider's module. Raises ``UnknownProvider``."""
    found = PROVIDERS.get(provider)
    if found is None:
        raise UnknownProvider(f"there is no provider {provider[:40]!r}", todo=nearest(provider[:40], sorted(PROVIDERS)))
    return found

"""Fetching a small thing from Amazon SNS: the certificate that signed a message, or a subscription's confirmation."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from mailer.errors import MailerError

SECONDS = 5.0
"""How long the other side may keep silent."""

LONGEST = 65_536
"""Bytes of an answer. A certificate has two thousand."""

Fetch = Callable[[str], bytes]
"""GETs an https URL; blocks; raises ``FetchError``."""


class FetchError(MailerError):
    """Something couldn't be fetched; it may work later."""


def fetch(url: str) -> bytes:
    """What an https URL answers with 200. Follows no redirect, sends no cookies. Raises ``FetchError``.

    Which hosts may be asked is the caller's business.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise FetchError("only https URLs are fetched", where=url[:200])
    connection = http.client.HTTPSConnection(
        parts.hostname, parts.port or 443, timeout=SECONDS, context=ssl.create_default_context()
    )
    try:
        connection.request("GET", f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}")
        response = connection.getresponse()
        if response.status != 200:
            raise FetchError(f"the answer is {response.status}", where=parts.hostname)
        found = response.read(LONGEST + 1)
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(f"it can't be fetched: {error or type(error).__name__}", where=parts.hostname) from error
    finally:
        connection.close()
    if len(found) > LONGEST:
        raise FetchError(f"the answer has more than {LONGEST} bytes", where=parts.hostname)
    return found

"""Questions to the database, with an end to waiting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from mailer.errors import StoreError

T = TypeVar("T")

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds to wait for the database. What is written later than that is valid all the same."""

RETRY_AFTER = "60"
"""Seconds (RFC 9110 §10.2.3)."""


class Unavailable(Exception):
    """The database doesn't answer; the same request may be answered later."""


async def asked(question: Callable[[], T]) -> T:
    """The answer of a function that blocks. Raises ``Unavailable``; why is for the log, not for whoever asks."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.to_thread(question)
    except (StoreError, TimeoutError) as error:
        log.warning("a page can't be answered: %s", str(error) or "the database doesn't answer")
        raise Unavailable from error

"""A Redis that is away: it isn't asked for a moment, and both its going and its coming back are said once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from mailer.queue.failure import queue_error

ASK_AGAIN = 2.0
"""Seconds between two tries to reach a Redis that is gone."""


class Absence:
    """``meanwhile`` is what happens without Redis, ``back`` what is again as it was: sentences for the log.
    ``clock``: seconds."""

    def __init__(
        self,
        url: str,
        log: logging.Logger,
        meanwhile: str,
        back: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._log, self._meanwhile, self._back, self._clock = url, log, meanwhile, back, clock
        self._ask_at = float("-inf")
        self._away = False

    @property
    def may_ask(self) -> bool:
        """Whether it is of use to ask."""
        return self._clock() >= self._ask_at

    def failed(self, error: BaseException) -> None:
        """It was asked and couldn't answer."""
        self._ask_at = self._clock() + ASK_AGAIN
        if not self._away:
            self._log.warning("%s %s", queue_error(error, self._url), self._meanwhile)
        self._away = True

    def answered(self) -> None:
        """It was asked and answered."""
        if self._away:
            self._log.info("Redis is back: %s", self._back)
        self._away = False

"""A limit to how long something may take, for very many at once."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Patience:
    """As ``asyncio.timeout(seconds)``, but one for all requests, with one timer: a timer for each costs as much as
    reading a small webhook.

    ``with patience:`` cancels what its task waits for when it has taken ``seconds``, and then raises ``TimeoutError``.
    For use by the tasks of one event loop, each at one place at a time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[asyncio.Task[object], float] = {}  # in the order in which they end
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._until[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._end_some, loop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        ended = self._until.pop(task, None) is None
        # Somebody else may have cancelled the task too: that stays a cancellation.
        if ended and task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _end_some(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        while self._until:
            task, until = next(iter(self._until.items()))
            if until > loop.time():
                self._timer = loop.call_at(until, self._end_some, loop)
                return
            del self._until[task]
            task.cancel()

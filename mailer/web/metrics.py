"""``/metrics`` in Prometheus' text format 0.0.4.

What it says names no person, but how many people a publication has is nobody's business either: so it is answered only
to who asks directly from this machine or a private network. A request that came through a reverse proxy is refused,
whoever it is from.

Where several processes serve, whichever is asked counts the requests of all:
https://prometheus.github.io/client_python/multiprocess/.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from mailer.errors import ConfigError
from mailer.web.client_address import FORWARDING, client_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

TOGETHER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names a folder for the counters of several processes, when they are started."""

_COUNTERS = 1 << 16
"""Bytes of the file in which prometheus_client keeps a process's counters."""

FRESH = 5.0
"""Seconds for which figures are given again."""

SHARE = 20
"""Reading them takes no more than one part in so many of the time …"""

STALE = 60.0
"""… unless they would be older than this, in seconds."""

Source = Callable[[], Iterable[Metric]]
"""Reads some figures; may block, and mustn't raise for a database or Redis that is away."""


class Metrics:
    """The web's figures: its requests, what ``sources`` say, and a single process's use of the machine."""

    def __init__(self, sources: Sequence[Source] = ()) -> None:
        """Raises ``ConfigError`` where the counters of several processes have no room."""
        self._registry = CollectorRegistry(auto_describe=False)
        together = TOGETHER in os.environ
        if together:
            _reserve(os.environ[TOGETHER])
        (MultiProcessCollector if together else ProcessCollector)(registry=self._registry)
        for source in sources:
            self._registry.register(_Collected(source))
        self._requests = Counter(
            "mailer_web_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=None if together else self._registry,
        )
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._lock = asyncio.Lock()
        self._text, self._until = b"", float("-inf")

    def count(self, method: str, route: str, status: int) -> None:
        """Counts a request that was answered; ``method`` and ``route`` are words from a short list."""
        counter = self._counters.get((method, route, status))
        if counter is None:
            counter = self._counters[method, route, status] = self._requests.labels(method, route, str(status))
        counter.inc()

    def routes(self) -> list[BaseRoute]:
        """For ``mailer.web.app.create_app``."""
        return [Route("/metrics", self._answer)]

    async def text(self) -> bytes:
        """All figures, a few seconds old at most. One reading at a time."""
        async with self._lock:
            began = time.monotonic()
            if began >= self._until:
                self._text = await asyncio.to_thread(generate_latest, self._registry)
                ended = time.monotonic()
                self._until = ended + min(max(FRESH, (ended - began) * SHARE), STALE)
            return self._text

    async def _answer(self, request: Request) -> Response:
        if not is_inside(request):
            return PlainTextResponse("There is nothing here.\n", status_code=404)
        return Response(await self.text(), headers={"Content-Type": CONTENT_TYPE})


def is_inside(request: Request) -> bool:
    """Whether somebody on this machine or in a private network asks, and no proxy has handed it on."""
    address = client_of(request.scope)
    direct = not any(name in request.headers for name in FORWARDING)
    return direct and (address is None or not address.is_global)


def _reserve(folder: str) -> None:
    """Makes the file of this process's counters, unless it is there. prometheus_client would make it with a hole, and
    map it: to count on a full disk would end the process (SIGBUS). It appears whole: others read it. (A file system
    that compresses zeros, or copies on write, reserves nothing.)"""
    if not folder:
        raise _uncountable(folder, "No such directory")
    counters = Path(folder, f"counter_{os.getpid()}.db")
    made = counters.with_suffix(".new")
    try:
        if not counters.exists():
            made.write_bytes(bytes(_COUNTERS))
            made.rename(counters)
    except OSError as error:
        with suppress(OSError):
            made.unlink()
        raise _uncountable(folder, error.strerror) from error


def _uncountable(folder: str, why: str | None) -> ConfigError:
    return ConfigError(
        f"the web's requests can't be counted in {folder!r}: {why}",
        where=TOGETHER,
        todo="Make room there; if you have set the variable yourself, leave it out.",
    )


class _Collected(Collector):
    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        return self._source()

"""Limits for public forms: a token bucket for each client address, in this process's memory, and then one that all web
processes share, if they do.

IPv6 addresses count by their /64, which is what one customer has. There are at most ``capacity`` buckets: the one that
wasn't asked for longest is forgotten first, which only ever lets somebody through.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_network
from typing import Protocol

from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mailer.web.client_address import Address, client_of

CAPACITY = 10_000


class Shared(Protocol):
    """Limits that web processes have together."""

    async def take(self, name: str, whom: str, per_second: float, burst: float) -> float:
        """As ``RateLimit.take``, of the limit of that name."""


class RateLimit:
    """``burst`` at once, ``per_second`` in the long run. ``clock`` gives seconds that never go back."""

    def __init__(
        self,
        per_second: float,
        burst: float,
        *,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.per_second, self.burst, self._capacity, self._clock = per_second, burst, capacity, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what was left, and when

    def take(self, whom: str) -> float:
        """Takes one. 0: go ahead; else the seconds until there is one again, and nothing is taken."""
        now = self._clock()
        left, at = self._buckets.pop(whom, (self.burst, now))
        left = min(self.burst, left + (now - at) * self.per_second)
        allowed = left >= 1.0
        self._buckets[whom] = (left - 1.0 if allowed else left, now)
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) / self.per_second

    def __len__(self) -> int:
        return len(self._buckets)


def whom(address: Address | None) -> str:
    """Whose bucket an address draws on; all that have none share one."""
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return str(address)


class PostsLimited:
    """ASGI middleware: a POST beyond the limit gets ``refused(seconds to wait)``. ``name``: of the ``shared`` limit."""

    def __init__(
        self, app: ASGIApp, limit: RateLimit, refused: Callable[[int], Response], name: str, shared: Shared | None
    ) -> None:
        self._app, self._limit, self._refused, self._name, self._shared = app, limit, refused, name, shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wait = await self._wait(whom(client_of(scope))) if scope["method"] == "POST" else 0.0
        app = self._refused(math.ceil(wait)) if wait else self._app
        await app(scope, receive, send)

    async def _wait(self, client: str) -> float:
        own = self._limit.take(client)
        if own or self._shared is None:
            return own
        return await self._shared.take(self._name, client, self._limit.per_second, self._limit.burst)


def limited(
    routes: Iterable[BaseRoute],
    limit: RateLimit,
    refused: Callable[[int], Response],
    name: str = "",
    shared: Shared | None = None,
) -> list[BaseRoute]:
    """The same routes behind ``PostsLimited``; all of them share the limit."""
    guard = Middleware(PostsLimited, limit, refused, name, shared)
    return [
        Route(route.path, route.endpoint, methods=route.methods, middleware=[guard])
        if isinstance(route, Route)
        else route
        for route in routes
    ]

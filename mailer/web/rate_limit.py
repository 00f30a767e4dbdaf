"""Limits for public forms: a token bucket for each client address, in this process's memory.

IPv6 addresses count by their /64, which is what one customer has. There are at most ``capacity`` buckets: the one that
wasn't asked for longest is forgotten first, which only ever lets somebody through.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_network

from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mailer.web.client_address import Address, client_of

CAPACITY = 10_000


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
        self._per_second, self._burst, self._capacity, self._clock = per_second, burst, capacity, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what was left, and when

    def take(self, whom: str) -> float:
        """Takes one. 0: go ahead; else the seconds until there is one again, and nothing is taken."""
        now = self._clock()
        left, at = self._buckets.pop(whom, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_second)
        allowed = left >= 1.0
        self._buckets[whom] = (left - 1.0 if allowed else left, now)
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) / self._per_second

    def __len__(self) -> int:
        return len(self._buckets)


def whom(address: Address | None) -> str:
    """Whose bucket an address draws on; all that have none share one."""
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return str(address)


class PostsLimited:
    """ASGI middleware: a POST beyond the limit gets ``refused(seconds to wait)``."""

    def __init__(self, app: ASGIApp, limit: RateLimit, refused: Callable[[int], Response]) -> None:
        self._app, self._limit, self._refused = app, limit, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wait = self._limit.take(whom(client_of(scope))) if scope["method"] == "POST" else 0.0
        app = self._refused(math.ceil(wait)) if wait else self._app
        await app(scope, receive, send)


def limited(routes: Iterable[BaseRoute], limit: RateLimit, refused: Callable[[int], Response]) -> list[BaseRoute]:
    """The same routes behind ``PostsLimited``; all of them share the limit."""
    guard = Middleware(PostsLimited, limit, refused)
    return [
        Route(route.path, route.endpoint, methods=route.methods, middleware=[guard])
        if isinstance(route, Route)
        else route
        for route in routes
    ]

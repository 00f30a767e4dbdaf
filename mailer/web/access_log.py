"""The access log: method, route and status of each request, and how long it took.

Events that were taken in are told together (``mailer.web.webhooks``): a provider that tells one a request would write
more than all others, and a line costs a tenth of taking it.

The route is said by its template, never by the path: the paths of links have tokens in them. Who asked isn't said.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mailer.web.webhooks import ROUTE

log = logging.getLogger(__name__)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
QUIET = frozenset({"/", "/healthz", "/readyz", "/metrics"})
"""Routes whose requests aren't logged: machines ask for them all the time."""

TAKEN = ("POST", ROUTE, 200)
"""Requests that ``mailer.web.webhooks`` logs."""

Note = Callable[[str, str, int, float], None]
"""Method, route and status of a request, and when it began (``time.monotonic``)."""


class AccessLog:
    """ASGI middleware. ``count`` is told method, route and status of every request."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute], count: Callable[[str, str, int], None]) -> None:
        self._app, self._count = app, count
        known = [one for one in routes if isinstance(one, Route)]
        # The routes live as long as this does, so no other endpoint can have an id of theirs.
        self._templates = {(id(one.endpoint), *one.param_convertors): one.path.replace(":path}", "}") for one in known}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = 500, time.monotonic()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            self.note(scope["method"], self._template(scope), status, began)

    def note(self, method: str, route: str, status: int, began: float) -> None:
        """A request that was answered now; it began at that time of ``time.monotonic``."""
        method = method if method in METHODS else "other"
        self._count(method, route, status)
        if route not in QUIET and (method, route, status) != TAKEN:
            log.info("%s %s %d %.0f ms", method, route, status, (time.monotonic() - began) * 1000)

    def _template(self, scope: Scope) -> str:
        # Starlette's router has left in the scope what it found: whose request it is, and the path's parameters.
        return self._templates.get((id(scope.get("endpoint")), *scope.get("path_params", ())), "other")

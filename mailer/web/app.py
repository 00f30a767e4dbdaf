"""The web process's routes. What they need is handed in, so they run in tests without a server."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from html import escape

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mailer.web.access_log import AccessLog, Note
from mailer.web.client_address import ClientAddress, Networks
from mailer.web.headers import SecurityHeaders
from mailer.web.metrics import Metrics
from mailer.web.pages import page_headers
from mailer.web.webhooks import PREFIX, ROUTE, Webhooks

log = logging.getLogger(__name__)

Probe = Callable[[], Awaitable[None]]
"""Returns when something can be used, raises when it can't."""

PATIENCE = 3.0
"""Seconds a probe may take."""

_INDEX = """<!doctype html>
<html lang="{language}">
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">
<title>{name}</title>
<style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:4rem auto;padding:0 1rem}}</style>
<h1>{name}</h1>
<p>This is where the newsletter’s links are answered.</p>
</html>
"""


def create_app(
    name: str,
    language: str,
    probes: Mapping[str, Probe],
    routes: Sequence[BaseRoute] = (),
    *,
    webhooks: Webhooks | None = None,
    trusted: Networks = (),
    metrics: Metrics | None = None,
) -> ASGIApp:
    """The ASGI application. ``probes`` are what ``/readyz`` asks, by name (``database``, ``redis``).

    ``routes``: what else is answered; ``webhooks``: what answers ``/webhooks/…``. ``trusted``: networks of reverse
    proxies. ``metrics`` counts the requests, and answers ``/metrics``.
    """

    async def index(_: Request) -> Response:
        html = _INDEX.format(name=escape(name), language=escape(language))
        return HTMLResponse(html, headers=page_headers(html))

    async def readyz(_: Request) -> Response:
        answers = await asyncio.gather(*(_ask(what, probe) for what, probe in probes.items()))
        ready = all(answers)
        states = {what: "ok" if good else "unreachable" for what, good in zip(probes, answers, strict=True)}
        return JSONResponse({"ready": ready, **states}, status_code=200 if ready else 503, headers=_UNCACHED)

    known = [*routes, Route("/", index), Route("/healthz", healthz), Route("/readyz", readyz)]
    if metrics is not None:
        known += metrics.routes()
    app = Starlette(routes=known, exception_handlers={404: not_found, 500: broken})
    app.router.redirect_slashes = False  # it would lead to whatever host the request names
    count = metrics.count if metrics else _uncounted
    logged = AccessLog(app, known, count)
    pages = ClientAddress(SecurityHeaders(logged), trusted)
    return pages if webhooks is None else _before(pages, webhooks, logged.note)


def _before(pages: ASGIApp, webhooks: Webhooks, note: Note) -> ASGIApp:
    """Events come by the thousand, from machines that need nothing of what a reader's page does; and what a page
    passes through takes longer than an event."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            began = time.monotonic()
            note(scope["method"], ROUTE, await webhooks(scope, receive, send), began)
        else:
            await pages(scope, receive, send)

    return app


async def healthz(_: Request) -> Response:
    """Says that this process answers; asks nothing else."""
    return PlainTextResponse("ok\n", headers=_UNCACHED)


async def not_found(_: Request, error: Exception) -> Response:
    """One line for what isn't here."""
    return PlainTextResponse("There is nothing here.\n", status_code=404)


async def broken(_: Request, error: Exception) -> Response:
    """One line for a defect of ours; what it is stands in the log."""
    return PlainTextResponse("Something went wrong here. Please try again later.\n", status_code=500)


def _uncounted(method: str, route: str, status: int) -> None:
    """Where nobody asks for figures."""


_UNCACHED = {"Cache-Control": "no-store"}


async def _ask(what: str, probe: Probe) -> bool:
    """Whether a probe came back in time. Why it didn't is for the log, not for whoever asks."""
    try:
        await asyncio.wait_for(probe(), PATIENCE)
    except Exception as error:  # whatever its driver raises, it isn't ready
        log.warning("not ready: %s: %s", what, str(error) or type(error).__name__)
        return False
    return True

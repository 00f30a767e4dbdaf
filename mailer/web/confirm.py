"""``/confirm/{token}``: the page behind the link in the mail that answers a sign-up.

A GET changes nothing, since scanners follow every link. A POST is committed when it is answered, and can be repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from mailer.service.sign_up import LINK_SECONDS, Confirmed, SignUps
from mailer.web.asking import RETRY_AFTER, Unavailable, asked
from mailer.web.body import BodyRefused, read_body
from mailer.web.pages import Page, PagePress
from mailer.wire.links import ConfirmClaims, TokenError, read_confirm_token

_ALLOWED = "GET, HEAD, POST"


@dataclass(frozen=True, slots=True)
class ConfirmPages:
    """What can be answered."""

    question: Page
    subscribed: Page
    barred: Page
    gone: Page
    invalid: Page
    refused: Page
    unavailable: Page


def draw_confirm_pages(press: PagePress) -> ConfirmPages:
    """Raises ``CompileError`` for a template that can't be drawn."""

    def page(label: str, *, button: bool = False, again: bool = False) -> Page:
        return press.page("web/confirm.html", f"{label}_title", f"{label}_text", button=button, again=again)

    return ConfirmPages(
        page("confirm", button=True),
        page("confirmed"),
        page("confirm_barred"),
        page("confirm_gone", again=True),
        page("confirm_invalid", again=True),
        page("confirm_refused", button=True),
        page("unsubscribe_unavailable", button=True),
    )


def confirm_routes(
    sign_ups: SignUps, secret: bytes, pages: ConfirmPages, clock: Callable[[], float] = time.time
) -> list[BaseRoute]:
    """For ``mailer.web.app.create_app``. ``secret`` signs the tokens in links; ``clock`` gives Unix seconds."""
    endpoint = _Endpoint(sign_ups, secret, pages, clock)
    return [Route("/confirm", endpoint), Route("/confirm/{token:path}", endpoint)]


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """Answers every method, so that each answer is a page with its headers."""

    sign_ups: SignUps
    secret: bytes = field(repr=False)
    pages: ConfirmPages
    clock: Callable[[], float]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            claims = read_confirm_token(self.secret, request.path_params.get("token", ""))
        except TokenError:
            return self.pages.invalid.response(404)
        if request.method not in ("GET", "HEAD", "POST"):
            return self.pages.refused.response(405, Allow=_ALLOWED)
        if claims.asked_at <= self.clock() - LINK_SECONDS:
            return self.pages.gone.response(410)
        return await self._confirmed(request, claims) if request.method == "POST" else self.pages.question.response()

    async def _confirmed(self, request: Request, claims: ConfirmClaims) -> Response:
        """Whatever the body says: the address of the page is what gives the right to."""
        try:
            await read_body(request)
            done = await asked(lambda: self.sign_ups.confirm(claims.number, claims.asked_at, self.clock()))
        except BodyRefused as refused:
            return self.pages.refused.response(refused.status, **refused.headers)
        except Unavailable:
            return self.pages.unavailable.response(503, Retry_After=RETRY_AFTER)
        match done:
            case Confirmed.SUBSCRIBED:
                return self.pages.subscribed.response()
            case Confirmed.BARRED:
                return self.pages.barred.response(403)
            case Confirmed.GONE:
                return self.pages.gone.response(410)

"""``/unsubscribe/{token}``: one click in a mail program (RFC 8058), or a page with a button.

A GET changes nothing, since scanners follow every link. A POST is committed when it is answered: from then on no send,
not even one under way, puts its final dot after a message to that person. Neither needs a cookie; both can be repeated.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from mailer.service.ports import Store
from mailer.web.asking import RETRY_AFTER, Unavailable, asked
from mailer.web.body import BodyRefused, read_body
from mailer.web.pages import Page, PagePress
from mailer.web.trial_links import TrialLinks
from mailer.wire.links import Purpose, TokenClaims, TokenError, read_token

_ALLOWED = "GET, HEAD, POST"
_BOUNDARY = re.compile(r'multipart/form-data\b.*;\s*boundary=(?:"([^"]{1,70})"|([^\s";,]{1,70}))', re.IGNORECASE)
_PART_NAME = re.compile(rb'content-disposition:[^\r\n]*;\s*name="?list-unsubscribe"?\s*(?:;|\r|\n|$)', re.IGNORECASE)
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class UnsubscribePages:
    """What can be answered."""

    question: Page
    done: Page
    test: Page
    invalid: Page
    refused: Page
    unavailable: Page


def draw_unsubscribe_pages(press: PagePress) -> UnsubscribePages:
    """Raises ``CompileError`` for a template that can't be drawn."""

    def page(label: str, *, button: bool = False, again: bool = False) -> Page:
        return press.page("web/unsubscribe.html", f"{label}_title", f"{label}_text", button=button, again=again)

    return UnsubscribePages(
        page("unsubscribe", button=True),
        page("unsubscribed", again=True),
        page("unsubscribe_test"),
        page("unsubscribe_invalid"),
        page("unsubscribe_refused", button=True),
        page("unsubscribe_unavailable", button=True),
    )


def unsubscribe_routes(store: Store, secret: bytes, pages: UnsubscribePages) -> list[BaseRoute]:
    """For ``mailer.web.app.create_app``. ``secret`` is the key that signs the tokens in links.

    A token is taken whole, slashes and all, and a missing one is an invalid one: nobody is redirected.
    """
    endpoint = _Endpoint(store, secret, pages, TrialLinks(store))
    return [Route("/unsubscribe", endpoint), Route("/unsubscribe/{token:path}", endpoint)]


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """Answers every method, so that each answer is a page with its headers."""

    store: Store
    secret: bytes = field(repr=False)
    pages: UnsubscribePages
    trials: TrialLinks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            claims = read_token(self.secret, Purpose.UNSUBSCRIBE, request.path_params.get("token", ""))
        except TokenError:
            return self.pages.invalid.response(404)
        if request.method not in ("GET", "HEAD", "POST"):
            return self.pages.refused.response(405, Allow=_ALLOWED)
        if request.method == "POST":
            return await self._refusal(request) or await self._done(claims)
        return await self._asked(lambda: self.pages.test if self.trials.has(claims) else self.pages.question)

    async def _refusal(self, request: Request) -> Response | None:
        """The answer to a POST that doesn't ask to unsubscribe."""
        try:
            body = await read_body(request)
        except BodyRefused as refused:
            return self.pages.refused.response(refused.status, **refused.headers)
        if not asks_to_unsubscribe(request.headers.get("content-type", ""), body):
            return self.pages.refused.response(400)
        return None

    async def _done(self, claims: TokenClaims) -> Response:
        def unsubscribe() -> Page:
            if self.trials.has(claims):
                return self.pages.test
            self.store.subscribers.unsubscribe(claims.subscriber, time.time(), send=claims.send)
            return self.pages.done

        return await self._asked(unsubscribe)

    async def _asked(self, question: Callable[[], Page]) -> Response:
        """The page that a question to the database ends in."""
        try:
            page = await asked(question)
        except Unavailable:
            return self.pages.unavailable.response(503, Retry_After=RETRY_AFTER)
        return page.response()


def asks_to_unsubscribe(content_type: str, body: bytes) -> bool:
    """Whether a POST's body says ``List-Unsubscribe=One-Click``, urlencoded or as multipart/form-data (RFC 8058 §3.2).

    An empty body does too: some mail programs send none, and behind each such request is a person who clicked.
    """
    if not body.strip():
        return True
    if found := _BOUNDARY.match(content_type.strip()):
        return _in_parts(body, b"--" + (found[1] or found[2]).encode("latin-1", "replace"))
    try:
        fields = parse_qsl(body.decode("latin-1"), max_num_fields=50)
    except ValueError:
        return False
    return any(_is_pair(name, value) for name, value in fields)


def _in_parts(body: bytes, delimiter: bytes) -> bool:
    for part in body.split(delimiter)[1:]:
        head, *value = _BLANK_LINE.split(part, maxsplit=1)
        if value and _PART_NAME.search(head) and _is_pair("list-unsubscribe", value[0].decode("latin-1")):
            return True
    return False


def _is_pair(name: str, value: str) -> bool:
    return (name.strip().lower(), value.strip().lower()) == ("list-unsubscribe", "one-click")

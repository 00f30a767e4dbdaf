"""``/subscribe``: a form that anybody may fill in, for anybody's address.

So it tells nobody anything: the answer to an address that can be written is the same page, byte for byte, whether it is
new, subscribed, suppressed, or was asked for a minute ago. A POST stores a request; all else is the mail's, see
``mailer.service.sign_up``. It needs no cookie and no script, and a form on another site may send it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from mailer.errors import AddressError, QueueError
from mailer.model.address import parse_address
from mailer.service.sign_up import DAY_SECONDS, SignUp, SignUps, SignUpsExhausted
from mailer.web.asking import RETRY_AFTER, Unavailable, asked
from mailer.web.body import BodyRefused, read_body
from mailer.web.fields import NAME_LENGTH, one_line, read_fields, wrong_name
from mailer.web.pages import Page, PagePress
from mailer.wire.links import TokenError, read_share_code

log = logging.getLogger(__name__)

TRAP = "subject"
"""A field that people don't see, or are told to leave empty: what fills it in is a program. It has a name that programs
know from other forms, and no browser has anything to fill it in with."""

EXHAUSTED_RETRY_AFTER = "3600"
"""Seconds until it is worth while to ask again when a day's mails are used up (RFC 9110 §10.2.3)."""

Wake = Callable[[int], Awaitable[None]]
"""Has the mail with this number sent soon. Raises ``QueueError``; it is sent all the same, some seconds later."""

_TEMPLATE = "web/subscribe.html"
_ALLOWED = "GET, HEAD, POST"
_FIELDS = ("email", "first_name", TRAP)


@dataclass(frozen=True, slots=True)
class SubscribeForm:
    """What the template draws. ``errors``: texts by field."""

    email: str
    first_name: str
    errors: Mapping[str, str]
    trap: str = TRAP
    name_length: int = NAME_LENGTH


class SubscribePages:
    """What can be answered. Raises ``CompileError`` for a template that can't be drawn."""

    def __init__(self, press: PagePress) -> None:
        self._press = press
        self.empty = self.form("", "", {})
        self.asked = self._notice("subscribe_asked")
        self.exhausted = self._notice("subscribe_exhausted")
        self.refused = self._notice("subscribe_refused")
        self.unavailable = self._notice("unsubscribe_unavailable")
        # A template that can't be drawn is found now, and not before a reader.
        self.form("a", "b", {"email": "subscribe_error_email", "first_name": "preferences_error_length"})

    def form(self, email: str, first_name: str, errors: Mapping[str, str]) -> Page:
        """The form with what was typed; ``errors``: labels' names by field."""
        texts = {
            name: str(self._press.text(label).unescape()).replace("{length}", str(NAME_LENGTH))
            for name, label in errors.items()
        }
        shown = SubscribeForm(email, first_name, texts)
        return self._press.page(_TEMPLATE, "subscribe_title", "subscribe_text", form=shown)

    def _notice(self, label: str) -> Page:
        return self._press.page(_TEMPLATE, f"{label}_title", f"{label}_text", form=None)


def subscribe_routes(
    sign_ups: SignUps,
    wake: Wake,
    secret: bytes,
    pages: SubscribePages,
    per_day: int,
    clock: Callable[[], float] = time.time,
) -> list[BaseRoute]:
    """For ``mailer.web.app.create_app``.

    ``secret`` signs the codes in share links; ``per_day``: how many mails all requests of 24 hours may cause; ``clock``
    gives Unix seconds.
    """
    return [Route("/subscribe", _Endpoint(sign_ups, wake, secret, pages, per_day, clock))]


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """Answers every method, so that each answer is a page with its headers."""

    sign_ups: SignUps
    wake: Wake
    secret: bytes = field(repr=False)
    pages: SubscribePages
    per_day: int
    clock: Callable[[], float]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method in ("GET", "HEAD"):
            return self.pages.empty.response()
        if request.method != "POST":
            return self.pages.refused.response(405, Allow=_ALLOWED)
        try:
            fields = read_fields(request.headers.get("content-type", ""), await read_body(request), _FIELDS)
        except BodyRefused as refused:
            return self.pages.refused.response(refused.status, **refused.headers)
        if fields is None:
            return self.pages.refused.response(400)
        email, first_name = fields.get("email", ""), one_line(fields.get("first_name", ""))
        sign_up, errors = judge(email, first_name, self._referrer(request))
        if sign_up is None:
            return self.pages.form(email, first_name, errors).response(422)
        if fields.get(TRAP):
            return self.pages.asked.response()
        return await self._ask(sign_up)

    async def _ask(self, sign_up: SignUp) -> Response:
        try:
            number = await asked(lambda: self.sign_ups.ask(sign_up, self.clock(), self.per_day))
        except SignUpsExhausted:
            hours = round(DAY_SECONDS / 3600)
            log.warning("nobody can sign up: web.sign_ups_per_day = %d were within %d hours", self.per_day, hours)
            return self.pages.exhausted.response(503, Retry_After=EXHAUSTED_RETRY_AFTER)
        except Unavailable:
            return self.pages.unavailable.response(503, Retry_After=RETRY_AFTER)
        response = self.pages.asked.response()
        if number is not None:
            response.background = BackgroundTask(self._wake, number)  # after the answer, whose time says nothing then
        return response

    async def _wake(self, number: int) -> None:
        try:
            await self.wake(number)
        except QueueError as error:
            log.warning("the mail that answers sign-up %d has to wait for the reconciler: %s", number, error)

    def _referrer(self, request: Request) -> int | None:
        """Whose share link led here; None where there is none, or it is none of ours: nobody is credited then."""
        try:
            return read_share_code(self.secret, request.query_params.get("ref", ""))
        except TokenError:
            return None


def judge(email: str, first_name: str, referrer: int | None) -> tuple[SignUp | None, dict[str, str]]:
    """What is asked for, by the same rules as an import; or None, and what is wrong (labels' names by field)."""
    errors: dict[str, str] = {}
    if wrong := wrong_name(first_name):
        errors["first_name"] = f"preferences_error_{wrong}"
    try:
        address = parse_address(email)
    except AddressError:
        return None, {"email": "subscribe_error_email", **errors}
    return (None, errors) if errors else (SignUp(address.text, address.key, first_name, referrer), {})

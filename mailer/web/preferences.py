"""``/preferences/{token}``: a person's name, language and pause, and the way out.

A GET changes nothing. A POST is committed when it is answered, by the same page; it can be repeated, needs no cookie,
and no script. Nobody can send one for somebody else, since the address of the page is what gives the right to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from mailer.expressions.locale import Locale
from mailer.model.people import Preferences
from mailer.model.settings import Publication
from mailer.service.ports import Store
from mailer.web.asking import RETRY_AFTER, Unavailable, asked
from mailer.web.body import BodyRefused, read_body
from mailer.web.fields import read_fields
from mailer.web.pages import Page, PagePress
from mailer.web.preferences_form import FIELDS, Form, Publisher, draw_form, judge, pause_end
from mailer.web.trial_links import TrialLinks
from mailer.wire.links import Purpose, TokenClaims, TokenError, read_token

_TEMPLATE = "web/preferences.html"
_ALLOWED = "GET, HEAD, POST"
_LABELS = (
    "preferences_saved",
    "preferences_no_language",
    "preferences_paused",
    "preferences_no_pause",
    "preferences_unpause",
    "preferences_weeks",
    "preferences_error_length",
    "preferences_error_characters",
    "preferences_error_choice",
)


class PreferencesPages:
    """What can be answered. Raises ``CompileError`` for a template that can't be drawn."""

    def __init__(self, press: PagePress, publication: Publication) -> None:
        self._press = press
        self._timezone = ZoneInfo(publication.timezone)
        self._publisher = Publisher(
            Locale(press.language, publication.country, publication.timezone),
            tuple(sorted({*press.languages, publication.language})),
            {label: str(press.text(label).unescape()) for label in _LABELS},
        )
        self.left = self._notice("unsubscribed")
        self.test = self._notice("unsubscribe_test")
        self.invalid = self._notice("preferences_invalid")
        self.refused = self._notice("preferences_refused")
        self.unavailable = self._notice("unsubscribe_unavailable")
        # A template that can't be drawn is found now, and not before a reader.
        now = self.now(0.0)
        pausing = Preferences("A", "B", "de", pause_end(now, 2))
        for errors in ({}, dict.fromkeys(("first_name", "last_name", "language", "pause"), _LABELS[-1])):
            self.form(pausing, now, errors, saved=not errors)

    def now(self, seconds: float) -> datetime:
        """A moment, where the publication is."""
        return datetime.fromtimestamp(seconds, self._timezone)

    def form(
        self, shown: Preferences, now: datetime, errors: Mapping[str, str], *, saved: bool = False, pause: str = ""
    ) -> Page:
        """The form, with what it says; ``pause``: what was chosen there, and isn't saved."""
        form = draw_form(shown, self._publisher, now, errors, saved=saved, pause=pause)
        return self._page("preferences", form)

    def knows(self) -> tuple[str, ...]:
        """The languages that can be chosen."""
        return self._publisher.languages

    def _notice(self, label: str) -> Page:
        return self._page(label, None)

    def _page(self, label: str, form: Form | None) -> Page:
        return self._press.page(_TEMPLATE, f"{label}_title", f"{label}_text", form=form)


def preferences_routes(
    store: Store, secret: bytes, pages: PreferencesPages, clock: Callable[[], float] = time.time
) -> list[BaseRoute]:
    """For ``mailer.web.app.create_app``. ``secret`` signs the tokens in links; ``clock`` gives Unix seconds."""
    endpoint = _Endpoint(store, secret, pages, clock, TrialLinks(store))
    return [Route("/preferences", endpoint), Route("/preferences/{token:path}", endpoint)]


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """Answers every method, so that each answer is a page with its headers."""

    store: Store
    secret: bytes = field(repr=False)
    pages: PreferencesPages
    clock: Callable[[], float]
    trials: TrialLinks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            claims = read_token(self.secret, Purpose.PREFERENCES, request.path_params.get("token", ""))
        except TokenError:
            return self.pages.invalid.response(404)
        if request.method not in ("GET", "HEAD", "POST"):
            return self.pages.refused.response(405, Allow=_ALLOWED)
        try:
            fields = await _fields(request) if request.method == "POST" else None
            page, status = await asked(lambda: self._settle(claims, fields))
        except BodyRefused as refused:
            return self.pages.refused.response(refused.status, **refused.headers)
        except Unavailable:
            return self.pages.unavailable.response(503, Retry_After=RETRY_AFTER)
        return page.response(status)

    def _settle(self, claims: TokenClaims, fields: Mapping[str, str] | None) -> tuple[Page, int]:
        """Does what the fields ask for; gives the page and its status."""
        if self.trials.has(claims):
            return self.pages.test, 200
        seconds = self.clock()
        if fields and fields.get("leave"):
            self.store.subscribers.unsubscribe(claims.subscriber, seconds, send=claims.send)
            return self.pages.left, 200
        current = self.store.preferences.find(claims.subscriber)
        if current is None:
            return self.pages.left, 200
        now = self.pages.now(seconds)
        if fields is None:
            return self.pages.form(current, now, {}), 200
        answers = judge(fields, current, self.pages.knows(), now)
        if answers.errors:
            shown = replace(answers.wanted, paused_until=current.paused_until)
            return self.pages.form(shown, now, answers.errors, pause=fields.get("pause", "")), 422
        if not self.store.preferences.save(claims.subscriber, answers.wanted, seconds):
            return self.pages.left, 200
        return self.pages.form(answers.wanted, now, {}, saved=True), 200


async def _fields(request: Request) -> Mapping[str, str]:
    """The form's fields. Raises ``BodyRefused``."""
    fields = read_fields(request.headers.get("content-type", ""), await read_body(request), FIELDS)
    if fields is None:
        raise BodyRefused(400)
    return fields

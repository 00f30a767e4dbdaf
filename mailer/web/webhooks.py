"""``/webhooks/{provider}``: what e-mail providers tell, stored before it is answered with 200.

Whatever keeps an event from being stored is answered so that the provider tells it again: 503 while the database (or
Amazon's certificate) can't be reached. Bodies are read up to ``MAX_BODY`` bytes, before anybody is known to be who they
say, so all bodies together are bounded too, until their events are stored.

Most providers tell one event a request. Those of requests that come at the same time are stored in one transaction, so
that they share its commit. Reading a large body may be slow, above all a hostile one: that is done, and stored, in
threads of its own, beside the pages that readers see.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from mailer.bounces.errors import CertificateNeeded, WebhookError, WebhookRefused
from mailer.bounces.providers import PROVIDERS
from mailer.bounces.request import MAX_BODY, Secrets, Section, read_section, unpack
from mailer.errors import StoreError
from mailer.service.events import Reading, read_webhook
from mailer.service.group import Group
from mailer.service.inbox import Events, NewEvents, TokenReused
from mailer.web.fetch import Fetch, FetchError
from mailer.web.headers import DEFAULTS
from mailer.web.patience import Patience
from mailer.web.tally import Tally

T = TypeVar("T")

log = logging.getLogger(__name__)

PREFIX, ROUTE = "/webhooks/", "/webhooks/{provider}"
"""What the paths begin with, and their form."""

BODY_SECONDS = 30.0
"""How long a request's body may take to arrive."""

MAX_BODIES = 64 * 1024 * 1024
"""Bytes of all bodies that are being read, worked on, or wait for the database."""

SMALL = 16 * 1024
"""Bytes of a body that is read at once, in less than a thread costs, and whose events are stored with others'."""

TOGETHER = 100
"""Small requests whose events are stored in one transaction: some milliseconds, so that no dot waits for long."""

ENOUGH = 16
"""So many don't wait for more: a commit's share in each is small, and reading the next ones beside it is worth more."""

GATHER = 0.01
"""Seconds, at most, that fewer wait for others that are about to come."""

PATIENCE = 20.0
"""Seconds to wait for the database. What is stored later than that is told again, and counts once."""

RETRY_AFTER = "60"
"""Seconds (RFC 9110 §10.2.3)."""

FETCH_AGAIN = 60.0
"""Seconds until a URL that couldn't be fetched is tried again."""

QUIET = 60.0
"""Seconds in which a provider's requests are refused in silence after one refusal was logged."""

_ALLOWED = "GET, HEAD, POST"
_BASIC = frozenset({"brevo", "mailjet", "postmark", "sparkpost"})
_URLS = 50


class Webhooks(Protocol):
    """An ASGI application for HTTP that gives the status it has answered with."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> int: ...

    def close(self) -> None:
        """Says in the log what isn't said yet; for when nothing is asked any more."""


def webhooks_app(
    events: Events,
    sections: Mapping[str, Section],
    base_url: str,
    fetch: Fetch,
    now: Callable[[], float] = time.time,
) -> Webhooks:
    """For ``mailer.web.app.create_app``. ``sections``: ``[webhooks.<provider>]`` by provider; one may be empty.

    ``base_url``: where the web process is reached, without a slash at its end.
    """
    secrets = {name: read_section(section) for name, section in sections.items() if name in PROVIDERS}
    inbox = Group(events.add_all, ThreadPoolExecutor(1, "inbox"), TOGETHER, GATHER, expecting=ENOUGH, insisting=False)
    return _Endpoint(events, inbox, secrets, base_url, fetch, now)


class _Refused(Exception):
    """The answer is clear before the request was looked into."""

    def __init__(self, status: int, what: str, **headers: str) -> None:
        super().__init__(what)
        self.response = _answer(status, what, **headers)


@dataclass(slots=True)
class _Endpoint:
    """Answers every method, so that each answer is one line of ours."""

    events: Events
    inbox: Group[NewEvents, int | TokenReused]
    secrets: Mapping[str, Secrets] = field(repr=False)
    base_url: str
    fetch: Fetch
    now: Callable[[], float]
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, "webhooks"))
    held: int = 0
    certificates: dict[str, bytes] = field(default_factory=dict)
    failed_at: dict[str, float] = field(default_factory=dict)
    fetching: asyncio.Lock = field(default_factory=asyncio.Lock)
    logged_at: dict[str, float] = field(default_factory=dict)
    taken: Tally = field(default_factory=lambda: Tally(_say_taken))
    coming: Patience = field(default_factory=lambda: Patience(BODY_SECONDS))
    answering: Patience = field(default_factory=lambda: Patience(PATIENCE))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> int:
        try:
            response = await self._respond(scope, receive)
        except Exception:
            log.exception("a request to /webhooks/… failed in a way nobody foresaw")
            response = _answer(500, "Something went wrong here. Please try again later.")
        await response(scope, receive, send)
        return response.status_code

    def close(self) -> None:
        self.taken.close()

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        provider = scope["path"].removeprefix(PREFIX)
        if provider not in self.secrets:
            return _answer(404, "There is nothing here.")
        if scope["method"] in ("GET", "HEAD"):
            return _answer(200, "Events are taken here.")
        if scope["method"] != "POST":
            return _answer(405, "Events come by POST.", Allow=_ALLOWED)
        # Of a header that comes twice the first one counts.
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        body = bytearray()
        try:
            await self._read(headers, receive, body)
            return await self._take(provider, headers, bytes(body))
        except _Refused as refused:
            return refused.response
        finally:
            self.held -= len(body)

    async def _read(self, headers: Mapping[str, str], receive: Receive, body: bytearray) -> None:
        too_large, length = f"A body has {MAX_BODY} bytes at most.", headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > MAX_BODY:
            # The rest is thrown away as it comes: a connection closed on it would be reset, and the answer lost (RFC
            # 9112 §9.6). Whoever expects an answer first may send no rest, and the next request would be taken for it.
            close = {"Connection": "close"} if "expect" in headers else {}
            raise _Refused(413, too_large, **close)
        try:
            with self.coming:
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Refused(400, "The body is cut off.")
                    chunk, more = message.get("body", b""), message.get("more_body", False)
                    if self.held + len(chunk) > MAX_BODIES:
                        raise _Refused(503, "Too much at once.", Retry_After=RETRY_AFTER, Connection="close")
                    self.held += len(chunk)
                    body += chunk
                    if len(body) > MAX_BODY:
                        raise _Refused(413, too_large)
        except TimeoutError:
            raise _Refused(408, "The body took too long to come.", Connection="close") from None

    async def _take(self, provider: str, headers: Mapping[str, str], body: bytes) -> Response:
        try:
            with self.answering:
                try:
                    confirm = await self._store(provider, headers, body)
                except CertificateNeeded as needed:
                    await self._fetch_certificate(needed)
                    confirm = await self._store(provider, headers, body)
                if confirm is not None:
                    await self._in_thread(lambda: self.fetch(confirm))
                    log.info("the subscription of /webhooks/%s is confirmed", provider)
        except (CertificateNeeded, FetchError) as error:
            return self._later(provider, f"Amazon SNS can't be asked: {error}")
        except WebhookError as error:
            self._log(provider, f"a request is refused with {error.status}: {error}")
            asks = error.status == 401 and provider in _BASIC
            more = {"WWW_Authenticate": 'Basic realm="webhooks"'} if asks else {}
            return _answer(error.status, f"{error.what}.", **more)
        except StoreError as error:
            return self._later(provider, f"events can't be stored: {error}")
        except TimeoutError:
            return self._later(provider, "events can't be stored: the database doesn't answer")
        return _TAKEN

    async def _store(self, provider: str, headers: Mapping[str, str], body: bytes) -> str | None:
        """Gives the URL that is to be fetched before the request is answered, or None."""

        def read() -> Reading:
            request = unpack(headers, body, f"{self.base_url}/webhooks/{provider}", self.certificates)
            return read_webhook(provider, request, self.secrets[provider], self.now())

        def read_and_add() -> tuple[Reading, int | TokenReused]:
            reading = read()
            return reading, self.events.add_all([reading.told])[0]

        if len(body) <= SMALL and "content-encoding" not in headers:
            reading = read()
            stored = await self._add_with_others(reading.told, len(body))
        else:
            reading, stored = await self._in_thread(read_and_add)
        if isinstance(stored, TokenReused):
            raise WebhookRefused(stored.what, where=provider)
        self.taken.add(provider, len(reading.told.events))
        return reading.confirm

    async def _add_with_others(self, told: NewEvents, size: int) -> int | TokenReused:
        """Whoever stops waiting for the database keeps its place among the bodies until the database has answered."""

        def release(_: object) -> None:
            self.held -= size

        written = self.inbox.submit(told)
        try:
            return await asyncio.shield(written)
        except asyncio.CancelledError:
            self.held += size
            written.add_done_callback(release)
            raise

    async def _fetch_certificate(self, needed: CertificateNeeded) -> None:
        """One at a time. The URL is one of Amazon SNS, but which one is the sender's choice: what failed isn't tried
        again for a while, and not more than a few are kept."""
        async with self.fetching:
            if needed.url in self.certificates:
                return
            if self.now() - self.failed_at.get(needed.url, float("-inf")) < FETCH_AGAIN:
                raise needed
            try:
                found = await self._in_thread(lambda: self.fetch(needed.url))
            except FetchError:
                _keep(self.failed_at, needed.url, self.now())
                raise
            _keep(self.certificates, needed.url, found)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, call)

    def _later(self, provider: str, why: str) -> Response:
        self._log(provider, why)
        return _answer(503, "Not now.", Retry_After=RETRY_AFTER)

    def _log(self, provider: str, what: str) -> None:
        """Strangers can make as many of these as they like."""
        if self.now() - self.logged_at.get(provider, float("-inf")) >= QUIET:
            self.logged_at[provider] = self.now()
            log.warning("/webhooks/%s: %s", provider, what)


def _say_taken(provider: str, requests: int, events: int) -> None:
    log.info("/webhooks/%s: events=%d requests=%d taken in", provider, events, requests)


def _keep(table: dict[str, T], url: str, value: T) -> None:
    if len(table) >= _URLS:
        table.clear()
    table[url] = value


def _answer(status: int, text: str, **headers: str) -> PlainTextResponse:
    """``headers`` with ``_`` for ``-``."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return PlainTextResponse(f"{text}\n", status, {**DEFAULTS, **more})


_TAKEN = _answer(200, "Taken.")

"""``/confirm/{token}`` through a real uvicorn, on a real SQLite store."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer.errors import CompileError
from mailer.mjml.templates import load_templates
from mailer.model.people import BOUNCED, COMPLAINED, SubscriberStatus
from mailer.model.settings import Publication
from mailer.service.sign_up import LINK_SECONDS, SignUp
from mailer.store.store import SqlStore, open_store
from mailer.web import asking, body
from mailer.web.app import create_app
from mailer.web.confirm import confirm_routes, draw_confirm_pages
from mailer.web.pages import PagePress
from mailer.wire.links import make_confirm_token, make_token
from tests.servers.web import Answer, ask, serving

SECRET = b"a key of sixteen and more octets"
EMAIL = "anna.beispiel@example.com"
FORM = "application/x-www-form-urlencoded"
NOW = 1_900_000_000.5
AGAIN = "https://garten.example/subscribe"


class Site:
    """A publication's server, its store, and a request to be subscribed. ``now`` is its clock."""

    def __init__(self, store: SqlStore) -> None:
        self.store, self.now, self.base = store, NOW + 60, ""
        number = store.sign_ups.ask(SignUp(EMAIL, EMAIL, "Anna"), NOW, 10)
        assert number is not None
        self.number = number

    @property
    def url(self) -> str:
        return self.link(make_confirm_token(SECRET, self.number, NOW))

    def link(self, token: str) -> str:
        return f"{self.base}/confirm/{token}"

    def post(self, url: str = "", sent: bytes = b"confirm=yes") -> Answer:
        return ask(url or self.url, "POST", sent, FORM)

    @property
    def status(self) -> SubscriberStatus | None:
        found = self.store.subscribers.find(EMAIL)
        return None if found is None else found.status


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'mailer.db'}", create=True)
    yield opened
    opened.close()


@pytest.fixture(params=["de"])
def site(store: SqlStore, request: pytest.FixtureRequest) -> Iterator[Site]:
    templates = load_templates()
    publication = Publication(name="Brot & <Spiele>", language=request.param)
    pages = draw_confirm_pages(PagePress(templates, templates, publication, AGAIN))
    site = Site(store)
    routes = confirm_routes(store.sign_ups, SECRET, pages, lambda: site.now)
    with serving(create_app("Brot", request.param, {}, routes)) as site.base:
        yield site


def test_reading(site: Site) -> None:
    """A GET or HEAD, however often, whatever stands in the address, shows a button and subscribes nobody."""
    for url in (site.url, site.url, f"{site.url}?confirm=yes"):
        answer = ask(url)
        assert (answer.status, "<button" in answer.text) == (200, True)
        assert "Brot &amp; &lt;Spiele&gt; abonnieren" in answer.text
        assert ask(url, "HEAD").status == 200
    assert site.status is None


@pytest.mark.parametrize("sent", [b"confirm=yes", b"", b"anything"])
def test_confirming(site: Site, sent: bytes) -> None:
    """A POST is done when it is answered: no redirect, no cookie; and again just so."""
    first = site.post(sent=sent)
    assert site.status is SubscriberStatus.SUBSCRIBED
    assert (first.status, "location" in first.headers, "set-cookie" in first.headers) == (200, False, False)
    assert "<h1>Du hast abonniert</h1>" in first.text
    second = site.post(sent=sent)
    assert (second.status, second.text) == (200, first.text)
    assert site.store.subscribers.count() == 1


def test_after_a_bounce(site: Site) -> None:
    """Confirming lets mail go again to an address that had bounced."""
    site.store.suppressions.add(EMAIL, BOUNCED, "test", NOW)
    assert site.store.subscribers.count() == 0
    assert site.post().status == 200
    assert site.store.subscribers.count() == 1


def test_after_a_complaint(site: Site) -> None:
    """Who has complained since the mail isn't subscribed, and is told who can do it."""
    site.store.suppressions.add(EMAIL, COMPLAINED, "test", NOW)
    for _ in range(2):
        answer = site.post()
        assert (answer.status, "Nur die Redaktion" in answer.text, "<button" in answer.text) == (403, True, False)
    assert site.status is None
    assert EMAIL in {one.email for one in site.store.suppressions.each()}


def test_too_late(site: Site) -> None:
    """After a week the link is 410 and leads to the form, before and after the request is forgotten."""
    site.now = NOW + LINK_SECONDS
    for _ in range(2):
        for answer in (ask(site.url), site.post()):
            assert (answer.status, "eine Woche lang" in answer.text, AGAIN in answer.text) == (410, True, True)
            assert "<button" not in answer.text
        site.store.sign_ups.forget(site.now)
    assert site.status is None


def test_left_since(site: Site) -> None:
    """Who has confirmed and left isn't brought back by the old link."""
    site.post()
    found = site.store.subscribers.find(EMAIL)
    assert found is not None
    site.store.subscribers.unsubscribe(found.id, NOW + 70)
    assert (site.post().status, site.status) == (410, SubscriberStatus.UNSUBSCRIBED)


def test_forged(site: Site) -> None:
    """A link that isn't ours, is cut off or mistyped, made with another key or for something else, is 404."""
    token = make_confirm_token(SECRET, site.number, NOW)
    tokens = [
        token[:-1],
        token + "/",
        token.swapcase(),
        "",
        "A" * 38,
        make_confirm_token(b"another key of sixteen octets", site.number, NOW),
        make_token(SECRET, "unsubscribe", site.number, int(NOW)),
        make_token(SECRET, "preferences", site.number, int(NOW)),
    ]
    for url in [*map(site.link, tokens), f"{site.base}/confirm"]:
        for answer in (ask(url), site.post(url), ask(url, "PUT")):
            assert (answer.status, "nicht gültig" in answer.text) == (404, True)
    assert site.status is None


def test_foreign(site: Site) -> None:
    """A token of ours for a request that isn't there, or was made at another moment, subscribes nobody."""
    for number, at in ((site.number, NOW + 1), (site.number + 1, NOW), (0, NOW)):
        assert site.post(site.link(make_confirm_token(SECRET, number, at))).status == 410
    assert site.store.subscribers.count() == 0


def test_refused(site: Site) -> None:
    """A body that is too large, and other methods, change nothing."""
    assert site.post(sent=b"x" * (body.BODY_LIMIT + 1)).status == 413
    for method in ("PUT", "DELETE", "OPTIONS"):
        answer = ask(site.url, method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert site.status is None


def test_database_busy(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that doesn't answer in time is a 503 with Retry-After, and the button is there again."""
    monkeypatch.setattr(asking, "PATIENCE", 0.05)
    with site.store.database.write():
        answer = site.post()
    assert (answer.status, answer.headers["retry-after"], "<button" in answer.text) == (503, "60", True)


def test_private(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """No page has address or name; no log has address, name or token."""
    caplog.set_level(logging.DEBUG)
    answers = [ask(site.url), site.post(), site.post(), ask(site.url[:-1])]
    assert [page.text for page in answers if EMAIL in page.text or "Anna" in page.text] == []
    logged = " ".join(f"{r.getMessage()} {r.exc_text}" for r in caplog.records if r.name != "uvicorn.access")
    assert "POST /confirm/{token} 200" in logged
    assert [secret for secret in (EMAIL, "Anna", site.url.rpartition("/")[2]) if secret in logged] == []


def test_headers(site: Site) -> None:
    """No answer is cached, framed, or says its address to others."""
    for answer in (ask(site.url), site.post(), ask(site.url[:-1])):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert re.search(r"style-src 'sha256-[^']+';", policy)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("site", "language", "button"),
    [("de-AT", "de-AT", "Abo bestätigen"), ("en", "en", "Confirm the subscription"), ("fr", "en", "Confirm the")],
    indirect=["site"],
)
def test_language(site: Site, language: str, button: str) -> None:
    """The page is in the publication's language, else in English and says so."""
    page = ask(site.url).text
    assert f'<html lang="{language}">' in page
    assert button in page


def test_broken_template(tmp_path: Path) -> None:
    """A template that can't be drawn is found when the process starts, with file and line."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "confirm.html").write_text("a\n{{ nonsense }}")
    with pytest.raises(CompileError) as caught:
        draw_confirm_pages(PagePress(load_templates(tmp_path), load_templates(), Publication()))
    assert caught.value.where == "templates/web/confirm.html:2"

"""``/preferences/{token}`` through a real uvicorn, on a real SQLite store."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import datetime
from html import unescape
from pathlib import Path
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest

from mailer.errors import CompileError
from mailer.mjml.templates import load_templates
from mailer.model.ledger import SendKind
from mailer.model.people import Preferences, SubscriberStatus
from mailer.model.settings import Publication
from mailer.service.ports import Addressee, Incoming, NewSend
from mailer.store.store import SqlStore, open_store
from mailer.web import asking, body
from mailer.web.app import create_app
from mailer.web.pages import PagePress
from mailer.web.preferences import PreferencesPages, preferences_routes
from mailer.web.preferences_form import pause_end
from mailer.wire.links import make_token
from tests.servers.web import Answer, ask, serving

SECRET = b"a key of sixteen and more octets"
EMAIL = "anna.beispiel@example.com"
FORM = "application/x-www-form-urlencoded"
NOW = datetime(2030, 3, 18, 9, 30, tzinfo=ZoneInfo("Europe/Berlin"))
ANNA = Preferences("Anna", '<Beispiel> & "Co"', "de")


class Site:
    """A publication's server, its store with one subscriber, and a send."""

    def __init__(self, base: str, store: SqlStore) -> None:
        self.base, self.store = base, store
        self.send = store.sends.create(NewSend("kw01", SendKind.ISSUE, "digest", 1.0), None, 2.0)
        self.url = self.link()

    def link(self, subscriber: int = 1, send: int | None = None, purpose: str = "preferences") -> str:
        token = make_token(SECRET, purpose, subscriber, self.send.key if send is None else send)
        return f"{self.base}/preferences/{token}"

    def post(self, url: str = "", **fields: str) -> Answer:
        return ask(url or self.url, "POST", urlencode(fields).encode(), FORM)

    @property
    def anna(self) -> Preferences | None:
        return self.store.preferences.find(1)

    @property
    def status(self) -> SubscriberStatus:
        found = self.store.subscribers.find(EMAIL)
        assert found is not None
        return found.status


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'mailer.db'}", create=True)
    opened.subscribers.upsert([Incoming(EMAIL, EMAIL, ANNA.first_name, ANNA.last_name, ANNA.language)], 1.0)
    yield opened
    opened.close()


@pytest.fixture(params=["de"])
def site(store: SqlStore, request: pytest.FixtureRequest) -> Iterator[Site]:
    templates = load_templates()
    publication = Publication(name="Brot & <Spiele>", language=request.param, timezone="Europe/Berlin")
    pages = PreferencesPages(PagePress(templates, templates, publication), publication)
    routes = preferences_routes(store, SECRET, pages, NOW.timestamp)
    with serving(create_app("Brot", request.param, {}, routes)) as base:
        yield Site(base, store)


def values(page: str) -> dict[str, str]:
    """What the form's fields say."""
    found = {name: unescape(value) for name, value in re.findall(r'id="(\w+)" name="\w+" value="([^"]*)"', page)}
    for name, options in re.findall(r'<select id="(\w+)".*?>(.*?)</select>', page, re.DOTALL):
        (found[name],) = re.findall(r'value="([^"]*)"[^>]* selected', options)
    return found


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading(site: Site, method: str) -> None:
    """A GET or HEAD shows what is there, escaped, and changes nothing."""
    answers = [ask(site.url, method) for _ in range(2)]
    assert [answer.status for answer in answers] == [200] * 2
    if method == "GET":
        said = {"first_name": "Anna", "last_name": ANNA.last_name, "language": "de", "pause": "0"}
        assert values(answers[0].text) == said
        assert "<Beispiel>" not in answers[0].text
        assert "Brot &amp; &lt;Spiele&gt;" in answers[0].text
    assert (site.anna, site.status) == (ANNA, SubscriberStatus.SUBSCRIBED)


def test_saving(site: Site) -> None:
    """A POST saves what it says: 200, the same page with a notice, no redirect, no cookie; and again just so."""
    sent = {"first_name": "Zoë", "last_name": "Ö", "language": "en", "pause": "4"}
    first, second = site.post(**sent), site.post(**sent)
    assert (first.status, "location" in first.headers, "set-cookie" in first.headers) == (200, False, False)
    assert 'role="status">Gespeichert.' in first.text
    assert values(first.text) == {**sent, "pause": "keep"}
    assert "Pause bis einschließlich 15. April 2030" in first.text
    assert (second.status, second.text) == (200, first.text)
    assert site.anna == Preferences("Zoë", "Ö", "en", pause_end(NOW, 4))
    assert site.post(pause="0").status == 200
    assert site.anna == Preferences("Zoë", "Ö", "en")


def test_errors(site: Site) -> None:
    """What can't be taken is 422: each error beside its field, what was typed is kept, and nothing is saved."""
    answer = site.post(first_name="x" * 101, last_name="Neu", language="tlh", pause="3")
    assert answer.status == 422
    assert site.anna == ANNA
    assert values(answer.text) == {"first_name": "x" * 101, "last_name": "Neu", "language": "de", "pause": "0"}
    assert values(site.post(first_name="x" * 101, language="en", pause="8").text)["pause"] == "8"
    for name, error in (("first_name", "höchstens 100"), ("language", "aus der Liste"), ("pause", "aus der Liste")):
        assert re.search(rf'id="{name}"[^>]* aria-invalid="true" aria-describedby="{name}-error"', answer.text)
        assert re.search(rf'id="{name}-error">[^<]*{error}', answer.text)
    assert answer.text.count("autofocus") == 1
    assert 'role="alert"' in answer.text


def test_leaving(site: Site) -> None:
    """The second button unsubscribes; from then on the page says so, whatever is sent to it."""
    left = site.post(leave="yes")
    assert (left.status, site.status) == (200, SubscriberStatus.UNSUBSCRIBED)
    assert "Du bist abgemeldet" in left.text
    again = [site.post(leave="yes"), ask(site.url), site.post(first_name="Zoë")]
    assert [answer.text for answer in again] == [left.text] * 3
    assert site.status is SubscriberStatus.UNSUBSCRIBED
    person = site.store.subscribers.find(EMAIL)
    assert person is not None
    assert person.first_name == "Anna"


def test_removed(site: Site) -> None:
    """Whoever was deleted in the meantime is told that they get no more mail."""
    site.store.subscribers.remove(EMAIL, 5.0)
    for answer in (ask(site.url), site.post(first_name="Zoë"), site.post(leave="yes")):
        assert (answer.status, "Du bist abgemeldet" in answer.text) == (200, True)


@pytest.mark.parametrize("kind", ["nobody", "preview", "test-send"])
def test_trial(site: Site, kind: str) -> None:
    """The link in a test-send or preview says that it was a test, and changes nothing, whoever it shows."""
    new = NewSend("kw01", SendKind.TEST, "digest", 1.0)
    test = site.store.sends.create_test(new, [Addressee("ed@example.com", site.store.subscribers.find(EMAIL))], 2.0)
    url = {"nobody": site.link(subscriber=0), "preview": site.link(send=0), "test-send": site.link(send=test.key)}[kind]
    for answer in (ask(url), site.post(url, first_name="Zoë"), site.post(url, leave="yes")):
        assert (answer.status, "Das war ein Test" in answer.text, "<form" in answer.text) == (200, True, False)
    assert (site.anna, site.status) == (ANNA, SubscriberStatus.SUBSCRIBED)


def test_bad_token(site: Site) -> None:
    """A link that isn't ours is a 404 that says what to do; one for unsubscribing is none for this."""
    urls = [site.url[:-1], site.url + "/", site.link(purpose="unsubscribe"), f"{site.base}/preferences"]
    for url in urls:
        for answer in (ask(url), site.post(url, first_name="Zoë"), ask(url, "PUT")):
            assert (answer.status, "jeder anderen Ausgabe" in answer.text) == (404, True)
    assert site.anna == ANNA


@pytest.mark.parametrize(
    ("sent", "content_type", "status"),
    [
        (b"", FORM, 400),
        (b"List-Unsubscribe=One-Click", FORM, 400),
        (b'{"leave": "yes"}', "application/json", 400),
        (b"leave=yes", "text/plain", 400),
        (b"first_name=%ff", FORM, 400),
        (b"first_name=" + b"x" * body.BODY_LIMIT, FORM, 413),
    ],
)
def test_refused(site: Site, sent: bytes, content_type: str, status: int) -> None:
    """A body that is no form of ours, or too large, changes nothing."""
    assert ask(site.url, "POST", sent, content_type).status == status
    assert (site.anna, site.status) == (ANNA, SubscriberStatus.SUBSCRIBED)


def test_other_methods(site: Site) -> None:
    """Other methods are 405 with what is allowed."""
    for method in ("PUT", "DELETE", "OPTIONS", "BREW"):
        answer = ask(site.url, method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")


def test_database_busy(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that doesn't answer in time is a 503 with Retry-After."""
    monkeypatch.setattr(asking, "PATIENCE", 0.05)
    with site.store.database.write():
        answer = site.post(first_name="Zoë")
    assert (answer.status, answer.headers["retry-after"]) == (503, "60")
    assert "gerade nicht" in answer.text


def test_private(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """No page has the address; no log has address, name or token."""
    caplog.set_level(logging.DEBUG)
    answers = [ask(site.url), site.post(first_name="Zoë"), site.post(language="tlh"), site.post(leave="yes")]
    assert [text.text for text in answers if EMAIL in text.text] == []
    # uvicorn.access: pytest listens to it though it is off
    logged = " ".join(f"{r.getMessage()} {r.exc_text}" for r in caplog.records if r.name != "uvicorn.access")
    assert "POST /preferences/{token} 200" in logged
    assert [secret for secret in (EMAIL, "Anna", "Zo", site.url.rpartition("/")[2]) if secret in logged] == []


def test_headers(site: Site) -> None:
    """No answer is cached, framed, or says its address to others, and only our own style counts."""
    for answer in (ask(site.url), site.post(language="tlh"), site.post(leave="yes"), ask(site.url[:-1])):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert re.search(r"style-src 'sha256-[^']+';", policy)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("site", "language", "title"),
    [("de-AT", "de-AT", "Deine Einstellungen"), ("en", "en", "Your preferences"), ("fr", "en", "Your preferences")],
    indirect=["site"],
)
def test_language(site: Site, language: str, title: str) -> None:
    """The page is in the publication's language, else in English and says so."""
    text = ask(site.url).text
    assert f'<html lang="{language}">' in text
    assert f"<h1>{title}</h1>" in text


def test_broken_template(tmp_path: Path) -> None:
    """A template that fails only where there are errors to show is found when the process starts."""
    (tmp_path / "web").mkdir()
    source = "a\n{% if form and form.errors %}{{ form.erors }}{% endif %}"
    (tmp_path / "web" / "preferences.html").write_text(source)
    publication = Publication()
    with pytest.raises(CompileError) as caught:
        PreferencesPages(PagePress(load_templates(tmp_path), load_templates(), publication), publication)
    assert caught.value.where == "templates/web/preferences.html:2"

"""``/unsubscribe/{token}`` through a real uvicorn, on a real SQLite store."""

from __future__ import annotations

import logging
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mailer.cli.edges import opened
from mailer.config import load_settings
from mailer.config.facts import send_facts
from mailer.errors import CompileError
from mailer.mjml.templates import load_templates
from mailer.model.compiled import CompiledIssue
from mailer.model.ledger import Recipient, RecipientState, Send, SendId, SendKind, WorkerId
from mailer.model.people import SubscriberStatus
from mailer.model.settings import Publication
from mailer.service import ports
from mailer.service.ports import Incoming, NewSend, Store
from mailer.store.store import SqlStore, open_store
from mailer.web import asking, body
from mailer.web.app import create_app
from mailer.web.body import BODY_LIMIT
from mailer.web.pages import PagePress
from mailer.web.unsubscribe import asks_to_unsubscribe, draw_unsubscribe_pages, unsubscribe_routes
from mailer.wire.freeze import freeze
from mailer.wire.links import make_token
from tests.servers.waiting import until
from tests.servers.web import Answer, ask, serving

SECRET = b"a key of sixteen and more octets"
EMAIL = "anna.beispiel@example.com"
FORM = "application/x-www-form-urlencoded"
ONE_CLICK = b"List-Unsubscribe=One-Click"
ISSUE = CompiledIssue("kw01", "T", "de", "", "UTC", "2026-01-05", "B <b@example.com>", "", ("S",), ("t",), ("h",), 1, 1)


class Site:
    """A publication's server, its store with one subscriber, and a send that runs."""

    def __init__(self, base: str, store: SqlStore) -> None:
        self.base, self.store = base, store
        self.send = start(store, SendKind.ISSUE)
        self.url = self.link()

    def link(self, subscriber: int = 1, send: int | None = None, purpose: str = "unsubscribe") -> str:
        return f"{self.base}/unsubscribe/{make_token(SECRET, purpose, subscriber, send or self.send.key)}"

    @property
    def status(self) -> SubscriberStatus:
        found = self.store.subscribers.find(EMAIL)
        assert found is not None
        return found.status

    def post(self, url: str = "", body: bytes = ONE_CLICK, content_type: str = FORM) -> Answer:
        return ask(url or self.url, "POST", body, content_type)


def start(store: Store, kind: SendKind) -> Send:
    new = NewSend("kw01", kind, store.issues.put(ISSUE, 1.0), 1.0)
    if kind is SendKind.TEST:
        send = store.sends.create_test(new, [ports.Addressee("ed@example.com", store.subscribers.find(EMAIL))], 2.0)
    else:
        send = store.sends.create(new, None, 2.0)
    store.sends.start_due(time.time(), 1e12)
    return store.sends.get(send.id)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'mailer.db'}", create=True)
    opened.subscribers.upsert([Incoming(EMAIL, EMAIL, "Anna")], 1.0)
    yield opened
    opened.close()


@pytest.fixture(params=["de"])
def site(store: SqlStore, request: pytest.FixtureRequest) -> Iterator[Site]:
    templates = load_templates()
    publication = Publication(name="Brot & <Spiele>", language=request.param, postal_address="Beet 1")
    pages = draw_unsubscribe_pages(PagePress(templates, templates, publication))
    app = create_app("Brot", request.param, {}, unsubscribe_routes(store, SECRET, pages))
    with serving(app) as base:
        yield Site(base, store)


def multipart(value: str, name: str = "List-Unsubscribe", boundary: str = "--x") -> tuple[bytes, str]:
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n--{boundary}--\r\n'
    return part.encode(), f'multipart/form-data; charset=utf-8; boundary="{boundary}"'


BODIES = {
    "urlencoded": (ONE_CLICK, FORM),
    "urlencoded with a charset": (ONE_CLICK, FORM + "; charset=UTF-8"),
    "with a line end": (ONE_CLICK + b"\r\n", FORM),
    "percent-encoded": (b"List%2DUnsubscribe=One%2DClick", FORM),
    "among other fields": (b"a=b&list-unsubscribe=one-click&c=d", FORM),
    "no type": (ONE_CLICK, ""),
    "multipart": multipart("One-Click"),
    "multipart, bare boundary": (multipart("One-Click")[0], "multipart/form-data; boundary=--x"),
    "multipart, no blanks": (multipart("One-Click")[0], "Multipart/Form-Data;boundary=--x"),
    "empty": (b"", FORM),
}
NO_BODIES = {
    "another field": (b"action=subscribe", FORM),
    "another value": (b"List-Unsubscribe=No", FORM),
    "JSON": (b'{"List-Unsubscribe": "One-Click"}', "application/json"),
    "many fields": (b"&".join([b"a=1"] * 100), FORM),
    "compressed": (b"\x1f\x8b\x08\x00\xff\xff", FORM),
    "multipart, another value": multipart("no"),
    "multipart, another field": multipart("One-Click", "x-list-unsubscribe"),
    "multipart, another boundary": (multipart("One-Click")[0], "multipart/form-data; boundary=other"),
    "multipart, cut off": (b'----x\r\nContent-Disposition: form-data; name="List-Unsubscribe"', multipart("")[1]),
}


@pytest.mark.parametrize("case", BODIES)
def test_asks(case: str) -> None:
    """What mail programs send is understood: urlencoded, multipart, or nothing at all."""
    body, content_type = BODIES[case]
    assert asks_to_unsubscribe(content_type, body)


@pytest.mark.parametrize("case", NO_BODIES)
def test_does_not_ask(case: str) -> None:
    """A body that says something else isn't taken for a wish to leave."""
    body, content_type = NO_BODIES[case]
    assert not asks_to_unsubscribe(content_type, body)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading(site: Site, method: str) -> None:
    """A GET or HEAD is answered and changes nothing, however often a scanner comes."""
    answers = [ask(site.url, method) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert (answers[0].text == "") is (method == "HEAD")
    assert int(answers[0].headers["content-length"]) > 500
    assert site.status is SubscriberStatus.SUBSCRIBED


@pytest.mark.parametrize("case", ["urlencoded", "multipart", "empty"])
def test_one_click(site: Site, case: str) -> None:
    """One click unsubscribes: 200, no redirect, no cookie, and committed for whoever looks into the file."""
    answer = site.post("", *BODIES[case])
    assert (answer.status, "location" in answer.headers, "set-cookie" in answer.headers) == (200, False, False)
    assert "Du bist abgemeldet" in answer.text
    path = urlsplit(site.store.database.where).path.removeprefix("/")
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT status FROM subscribers").fetchall() == [("unsubscribed",)]


def test_repeated(site: Site) -> None:
    """A second click gets the same answer and keeps the time of the first."""
    first = site.post()
    with site.store.database.read() as connection:
        left = connection.exec_driver_sql("SELECT unsubscribed_at FROM subscribers").scalar()
    second = site.post()
    assert (second.status, second.text) == (first.status, first.text)
    with site.store.database.read() as connection:
        assert connection.exec_driver_sql("SELECT unsubscribed_at FROM subscribers").scalar() == left


@pytest.mark.parametrize("case", ["another field", "JSON", "multipart, another value"])
def test_refused_body(site: Site, case: str) -> None:
    """A POST that asks for something else changes nothing; its page has the button."""
    answer = site.post("", *NO_BODIES[case])
    assert (answer.status, site.status) == (400, SubscriberStatus.SUBSCRIBED)
    assert "<button" in answer.text


def test_between_claim_and_dot(site: Site) -> None:
    """Whoever unsubscribes when a worker already has their message at the relay gets no dot, and so no message."""
    worker, now = WorkerId("w"), time.time()
    site.store.workers.register(worker, "host", 1, now)
    claims = site.store.ledger.claim(site.send.id, 1, 500, worker, 10, now)
    assert [claim.email for claim in claims] == [EMAIL]
    assert site.post().status == 200
    assert site.store.ledger.write(now, dots=[(site.send.id, claim.position, claim.epoch) for claim in claims]) == set()
    assert site.store.sends.status(site.send.id, now).counts[RecipientState.SKIPPED] == 1


def test_bad_token(site: Site) -> None:
    """A link that isn't ours is a 404 whose page says what to do; nothing changes and nobody is redirected."""
    urls = {
        "cut": site.url[:-1],
        "altered": site.url[:-6] + ("a" if site.url[-6] != "a" else "b") + site.url[-5:],
        "purpose": site.link(purpose="preferences"),
        "slash": site.url + "/",
        "none": f"{site.base}/unsubscribe/",
        "bare": f"{site.base}/unsubscribe",
        "long": site.url + "x" * 5000,
        "odd": f"{site.base}/unsubscribe/%00%ff%3Cscript%3E",
    }
    for wrong, url in urls.items():
        for method in ("GET", "HEAD", "POST", "PUT"):
            answer = ask(url, method, ONE_CLICK if method == "POST" else None, FORM)
            assert answer.status == 404, (wrong, method)
            assert ("jeder anderen Ausgabe" in answer.text) is (method != "HEAD")
            assert "script>" not in answer.text
    assert site.status is SubscriberStatus.SUBSCRIBED


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("kind", ["nobody", "preview", "test-send"])
def test_test(site: Site, kind: str, method: str) -> None:
    """The link in a test-send or preview says that it was a test, even where it shows a real subscriber's."""
    url = {
        "nobody": lambda: site.link(subscriber=0),
        "preview": lambda: f"{site.base}/unsubscribe/{make_token(SECRET, 'unsubscribe', 1, 0)}",
        "test-send": lambda: site.link(send=start(site.store, SendKind.TEST).key),
    }[kind]()
    answer = ask(url, method, ONE_CLICK if method == "POST" else None, FORM)
    assert (answer.status, site.status) == (200, SubscriberStatus.SUBSCRIBED)
    assert "Das war ein Test" in answer.text
    assert "<form" not in answer.text


def test_removed(site: Site) -> None:
    """Whoever was deleted in the meantime is told that they get no more mail."""
    site.store.subscribers.remove(EMAIL, 5.0)
    assert site.post().status == 200


@pytest.mark.parametrize("size", [BODY_LIMIT + 1, 5_000_000])
def test_large_body(site: Site, size: int) -> None:
    """A body beyond the limit is 413, and changes nothing though it says the right thing."""
    answer = site.post("", ONE_CLICK + b"&" + b"x" * size)
    assert (answer.status, site.status) == (413, SubscriberStatus.SUBSCRIBED)


def test_slow_body(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that doesn't arrive is 408, and the connection ends."""
    monkeypatch.setattr(body, "BODY_SECONDS", 0.05)
    parts = urlsplit(site.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as connection:
        connection.sendall(f"POST {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 26\r\n\r\nList".encode())
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 408 ")
    assert site.status is SubscriberStatus.SUBSCRIBED


def test_broken_off(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A client that goes away in the middle of its request changes nothing and leaves no traceback."""
    parts = urlsplit(site.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as connection:
        connection.sendall(f"POST {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 26\r\n\r\nList".encode())
    assert ask(site.url).status == 200
    assert site.status is SubscriberStatus.SUBSCRIBED
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_other_methods(site: Site) -> None:
    """Other methods are 405 with what is allowed, and change nothing."""
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "BREW"):
        answer = ask(site.url, method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST"), method
    assert site.status is SubscriberStatus.SUBSCRIBED


def test_database_gone(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Without a database the answer is 503 with Retry-After; the same link works when it is back."""
    assert ask(site.url).status == 200
    with site.store.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE subscribers RENAME TO elsewhere")
    answer = site.post()
    assert (answer.status, answer.headers["retry-after"]) == (503, "60")
    assert "<button" in answer.text
    with site.store.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO subscribers")
    assert (site.post().status, site.status) == (200, SubscriberStatus.UNSUBSCRIBED)
    assert any("can't be answered" in record.getMessage() for record in caplog.records)


def test_database_busy(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that doesn't answer in time is a 503, not a request that hangs."""
    assert ask(site.url).status == 200
    monkeypatch.setattr(asking, "PATIENCE", 0.05)
    with site.store.database.write():
        assert site.post().status == 503


def test_private(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """No page and no log has the subscriber's address, name or token, whatever happens."""
    caplog.set_level(logging.DEBUG)
    token = site.url.rpartition("/")[2]
    answers = [ask(site.url), site.post("", b"a=b", FORM), ask(site.url, "PUT"), site.post(), ask(site.url[:-1])]
    with site.store.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE subscribers RENAME TO elsewhere")
    answers.append(site.post())
    with site.store.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO subscribers")
    assert [answer.status for answer in answers] == [200, 400, 405, 200, 404, 503]
    # uvicorn.access: pytest listens to it though it is off; the log of the real process is the next test's.
    logged = [f"{r.getMessage()} {r.exc_text}" for r in caplog.records if r.name != "uvicorn.access"]
    said = [answer.text for answer in answers] + logged
    assert [text for text in said for secret in (EMAIL, "anna", "Anna", token) if secret in text] == []


def test_process(tmp_path: Path) -> None:
    """``mailer web`` answers the links of the messages that are sent with the same configuration, and logs no token."""
    config = tmp_path / "mailer.toml"
    config.write_text('[publication]\nname = "Brot"\nlanguage = "de"\n')
    loaded = load_settings(config, {})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with opened(loaded) as store:
        store.subscribers.upsert([Incoming(EMAIL, EMAIL, "Anna")], 1.0)
        message = freeze(ISSUE, send_facts(loaded, start(store, SendKind.ISSUE)))
        person = store.subscribers.find(EMAIL)
        assert person is not None
        raw = message.assemble(Recipient(SendId("kw01-1"), 1, 1, EMAIL, 0, None, person)).message
        promised = message_from_bytes(raw)
        link = promised["List-Unsubscribe"].strip("<>")
        assert promised["List-Unsubscribe-Post"] == ONE_CLICK.decode()
        command = [sys.executable, "-m", "mailer", "web", "--port", str(port), "--config", str(config)]
        with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
            try:
                base = f"http://127.0.0.1:{port}"
                assert until(lambda: process.poll() is not None or listens(port))
                answer = ask(base + urlsplit(link).path, "POST", ONE_CLICK, FORM)
            finally:
                process.terminate()
        found = store.subscribers.find(EMAIL)
    assert (answer.status, found and found.status) == (200, SubscriberStatus.UNSUBSCRIBED)
    written = (tmp_path / "log").read_text()
    assert f"listening on http://127.0.0.1:{port}" in written
    assert [secret for secret in (EMAIL, link.rpartition("/")[2]) if secret in written] == []


def listens(port: int) -> bool:
    """Whether somebody answers there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_headers(site: Site) -> None:
    """Every answer keeps the token from referrers, caches, frames and search indexes, and lets no script run."""
    for answer in (ask(site.url), site.post("", b"a=b"), site.post(), ask(site.url, "PUT"), ask(site.url[:-1])):
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert "script-src" not in policy
        assert "unsafe" not in policy["style-src"]
        assert (policy["form-action"], policy["frame-ancestors"]) == ("'self'", "'none'")
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("site", "language", "title"),
    [
        ("de-AT", "de-AT", "Brot &amp; &lt;Spiele&gt; abbestellen"),
        ("en", "en", "Unsubscribe from Brot &amp; &lt;Spiele&gt;"),
        ("fr", "en", "Unsubscribe from Brot &amp; &lt;Spiele&gt;"),
    ],
    indirect=["site"],
)
def test_language(site: Site, language: str, title: str) -> None:
    """The page is in the publication's language, else in English and says so; the publication's name is escaped."""
    text = ask(site.url).text
    assert f'<html lang="{language}">' in text
    assert f"<h1>{title}</h1>" in text
    assert "<Spiele>" not in text


def draw(folder: Path, language: str = "de") -> str:
    """The page with the button, by a publisher's own templates."""
    press = PagePress(load_templates(folder), load_templates(), Publication(name="Brot", language=language))
    return draw_unsubscribe_pages(press).question.html


def test_own_template(tmp_path: Path) -> None:
    """A publisher's own web/layout.html is used, with its own style allowed."""
    (tmp_path / "web").mkdir()
    own = "<html><style>p{color:red}</style>{{ publication.name }}{% block content %}{% endblock %}"
    (tmp_path / "web" / "layout.html").write_text(own)
    assert draw(tmp_path).startswith("<html><style>p{color:red}</style>Brot")


@pytest.mark.parametrize("url", ["", "https://brot.example/subscribe"])
def test_second_thoughts(url: str) -> None:
    """Whoever has left finds the way back on the page, where there is a form; nobody else is led there."""
    templates = load_templates()
    pages = draw_unsubscribe_pages(PagePress(templates, templates, Publication(), url))
    assert (f'href="{url}"' in pages.done.html) == bool(url)
    for page in (pages.question, pages.test, pages.invalid, pages.refused, pages.unavailable):
        assert "<a " not in page.html


def test_old_labels(tmp_path: Path) -> None:
    """A publisher's labels.toml without the pages' texts serves still: those are the built-in ones."""
    (tmp_path / "labels.toml").write_text('[de]\nunsubscribe = "Tschüss"\n')
    page = draw(tmp_path)
    assert ">Tschüss</button>" in page
    assert "<h1>Brot abbestellen</h1>" in page


def test_broken_template(tmp_path: Path) -> None:
    """A template that can't be drawn is found when the process starts, with file and line."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "unsubscribe.html").write_text("a\n{{ publication.nmae }}")
    with pytest.raises(CompileError) as caught:
        draw(tmp_path)
    assert caught.value.where == "templates/web/unsubscribe.html:2"

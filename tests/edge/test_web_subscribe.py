"""``/subscribe`` through a real uvicorn, on a real SQLite store."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import pytest
from sqlalchemy import text

from mailer.errors import CompileError, QueueError
from mailer.mjml.templates import load_templates
from mailer.model.people import BOUNCED, COMPLAINED
from mailer.model.settings import Publication
from mailer.service.ports import Incoming
from mailer.service.sign_up import PAUSE_SECONDS, SignUp
from mailer.store.store import SqlStore, open_store
from mailer.web import asking, body
from mailer.web.app import create_app
from mailer.web.pages import PagePress
from mailer.web.rate_limit import RateLimit, limited
from mailer.web.subscribe import TRAP, SubscribePages, subscribe_routes
from mailer.wire.links import share_code
from tests.servers.waiting import until
from tests.servers.web import Answer, ask, serving

SECRET = b"a key of sixteen and more octets"
FORM = "application/x-www-form-urlencoded"
NOW = 1_900_000_000.0
PER_DAY = 50
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MAILER_")}
NAME = "Brot & <Spiele>"


class Site:
    """A publication's server, its store, and what it has woken workers for. ``now`` is its clock."""

    def __init__(self, store: SqlStore) -> None:
        self.store, self.now, self.base = store, NOW, ""
        self.woken: list[int] = []
        self.redis_is_away = False

    async def wake(self, number: int) -> None:
        if self.redis_is_away:
            raise QueueError("Redis can't be reached")
        self.woken.append(number)

    def post(self, query: str = "", **fields: str) -> Answer:
        return ask(f"{self.base}/subscribe{query}", "POST", urlencode(fields).encode(), FORM)

    def asked(self) -> list[tuple[str, str, int | None]]:
        """Address, name and referrer of what is stored."""
        with self.store.database.read() as connection:
            rows = connection.execute(text("SELECT email, first_name, referrer_id FROM sign_ups ORDER BY number"))
            return [(row.email, row.first_name, row.referrer_id) for row in rows]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'mailer.db'}", create=True)
    yield opened
    opened.close()


@pytest.fixture(params=["de"])
def site(store: SqlStore, request: pytest.FixtureRequest) -> Iterator[Site]:
    templates = load_templates()
    pages = SubscribePages(PagePress(templates, templates, Publication(name=NAME, language=request.param)))
    site = Site(store)
    routes = subscribe_routes(store.sign_ups, site.wake, SECRET, pages, PER_DAY, lambda: site.now)
    with serving(create_app("Brot", request.param, {}, routes)) as base:
        site.base = base
        yield site


def values(page: str) -> dict[str, str]:
    """What the form's fields say."""
    return {name: unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', page)}


def seen(answer: Answer) -> tuple[int, dict[str, str], str]:
    """All that somebody who asked sees, but for the clock."""
    return answer.status, {name: value for name, value in answer.headers.items() if name != "date"}, answer.text


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading(site: Site, method: str) -> None:
    """A GET or HEAD shows an empty form, whatever stands in the address, and stores nothing."""
    for query in ("", "?ref=x", "?email=anna@example.com&first_name=Anna"):
        answer = ask(f"{site.base}/subscribe{query}", method)
        assert answer.status == 200
        if method == "GET":
            assert values(answer.text) == {"email": "", "first_name": ""}
            assert "Brot &amp; &lt;Spiele&gt; abonnieren" in answer.text
    assert site.asked() == []


def test_asking(site: Site) -> None:
    """A POST stores who asked and has a worker woken; it answers with a page, no redirect and no cookie."""
    answer = site.post(email=" Anna.Beispiel@Exämple.com ", first_name=" Anna\t Lena ")
    assert (answer.status, "location" in answer.headers, "set-cookie" in answer.headers) == (200, False, False)
    assert "<h1>Schau in dein Postfach</h1>" in answer.text
    assert site.asked() == [("Anna.Beispiel@exämple.com", "Anna Lena", None)]
    assert until(lambda: site.woken == [1])


def test_no_enumeration(site: Site) -> None:
    """The answer is the same to the byte for an address that is new, subscribed, has left, is suppressed for whatever
    reason, was asked for just now or too often: nobody learns who reads what."""
    store = site.store
    known = [Incoming(f"{name}@example.com", f"{name}@example.com") for name in ("here", "left", "bad", "spam", "op")]
    store.subscribers.upsert(known, 1.0)
    left = store.subscribers.find("left@example.com")
    assert left is not None
    store.subscribers.unsubscribe(left.id, 2.0)
    for name, reason in (("bad", BOUNCED), ("spam", COMPLAINED), ("op", "added by hand")):
        store.suppressions.add(f"{name}@example.com", reason, "test", 3.0)
    names = ["new", "here", "left", "bad", "spam", "op", "new", "spam"]
    answers = [site.post(email=f"{name}@example.com") for name in names]
    answers.append(site.post(email="new@example.com", first_name="Else", **{TRAP: "https://spam.example"}))
    for _ in range(4):
        site.now += PAUSE_SECONDS
        answers.append(site.post(email="new@example.com"))
    assert [seen(answer) for answer in answers] == [seen(answers[0])] * len(answers)
    assert answers[0].status == 200
    # Whoever it is, a request is stored all the same: no answer takes longer for somebody known.
    assert {email for email, *_ in site.asked()} == {f"{name}@example.com" for name in names}


@pytest.mark.parametrize(
    ("email", "first_name", "wrong"),
    [
        ("", "", {"email"}),
        ("anna", "", {"email"}),
        ("anna@", "", {"email"}),
        ("Anna <anna@example.com>", "", {"email"}),
        ("anna@example.com\r\nBcc: b@example.com", "", {"email"}),
        ("anna@example.com,b@example.com", "", {"email"}),
        ("a@[127.0.0.1]", "", {"email"}),
        ("anna@example.com", "x" * 101, {"first_name"}),
        ("anna@example.com", "Anna\u202e", {"first_name"}),
        ("<b>", "a\0b", {"email", "first_name"}),
    ],
)
def test_errors(site: Site, email: str, first_name: str, wrong: set[str]) -> None:
    """What can't be taken is 422: each error beside its field, what was typed stays, escaped, and nothing is stored."""
    answer = site.post(email=email, first_name=first_name)
    assert answer.status == 422
    assert site.asked() == []
    assert set(re.findall(r'aria-describedby="(\w+)-error"', answer.text)) == wrong
    assert set(re.findall(r'id="(\w+)-error">[^<]+<', answer.text)) == wrong
    shown = values(answer.text)
    assert shown["email"].split() == email.split()
    assert shown["first_name"] == first_name
    assert "<b>" not in answer.text
    assert answer.text.count("autofocus") == 1
    assert 'role="alert"' in answer.text


@pytest.mark.parametrize("email", ["jürgen@müller.example", "o'brien+news@example.com", "x@xn--mller-kva.example"])
def test_addresses_of_all_kinds(site: Site, email: str) -> None:
    """What an import takes as an address, the form takes."""
    assert site.post(email=email).status == 200
    assert len(site.asked()) == 1


def test_trap(site: Site) -> None:
    """Who fills in the field that people don't see is answered like everybody, and nothing is stored."""
    good, trapped = site.post(email="anna@example.com"), site.post(email="bot@example.com", **{TRAP: "x"})
    assert trapped.text == good.text
    assert [email for email, *_ in site.asked()] == ["anna@example.com"]


@pytest.mark.parametrize("query", ["", "?ref=", "?ref=nonsense", "?ref=abcdefghijklm"])
def test_no_referrer(site: Site, query: str) -> None:
    """A code that isn't one of ours credits nobody, and is no reason not to subscribe."""
    assert site.post(query, email="anna@example.com").status == 200
    assert site.asked() == [("anna@example.com", "", None)]


def test_referrer(site: Site) -> None:
    """The code in a share link says who recommended the newsletter, whatever its case."""
    code = share_code(SECRET, 42)
    site.post(f"?ref={code}", email="anna@example.com")
    site.post(f"?ref={code.upper()}&utm_source=x", email="berta@example.com")
    assert [referrer for *_, referrer in site.asked()] == [42, 42]


def test_a_days_mails(site: Site) -> None:
    """When a day's mails are used up everybody is told so, whoever they ask for, and nothing is stored."""
    for n in range(PER_DAY):
        site.store.sign_ups.ask(SignUp(f"p{n}@example.com", f"p{n}@example.com"), NOW, PER_DAY)
    answers = [site.post(email=email) for email in ("p1@example.com", "anna@example.com")]
    assert seen(answers[0]) == seen(answers[1])
    assert (answers[0].status, answers[0].headers["retry-after"]) == (503, "3600")
    assert "Heute leider nicht" in answers[0].text
    assert len(site.asked()) == PER_DAY
    site.now += 86_400
    assert site.post(email="anna@example.com").status == 200


def test_without_redis(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Redis that is away costs nobody their request: it is stored, and the reconciler finds it."""
    site.redis_is_away = True
    assert site.post(email="anna@example.com").status == 200
    assert until(lambda: "has to wait for the reconciler" in caplog.text)
    assert site.store.sign_ups.due(NOW, 10) == [1]


@pytest.mark.parametrize(
    ("sent", "content_type", "status"),
    [
        (b"", FORM, 400),
        (b"other=1", FORM, 400),
        (b'{"email": "anna@example.com"}', "application/json", 400),
        (b"email=anna@example.com", "text/plain", 400),
        (b"email=%ff", FORM, 400),
        (b"email=" + b"x" * body.BODY_LIMIT, FORM, 413),
    ],
)
def test_refused(site: Site, sent: bytes, content_type: str, status: int) -> None:
    """A body that is no form of ours, or too large, stores nothing."""
    answer = ask(f"{site.base}/subscribe", "POST", sent, content_type)
    assert (answer.status, "Nichts hat sich geändert" in answer.text) == (status, True)
    assert site.asked() == []


def test_other_methods(site: Site) -> None:
    """Other methods are 405 with what is allowed."""
    for method in ("PUT", "DELETE", "OPTIONS", "BREW"):
        answer = ask(f"{site.base}/subscribe", method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")


def test_database_busy(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that doesn't answer in time is a 503 with Retry-After."""
    monkeypatch.setattr(asking, "PATIENCE", 0.05)
    with site.store.database.write():
        answer = site.post(email="anna@example.com")
    assert (answer.status, answer.headers["retry-after"]) == (503, "60")


def test_rate_limit(store: SqlStore) -> None:
    """Beyond its limit a client hears 429 until there is room again, and nothing is stored; reading is free."""
    templates = load_templates()
    press = PagePress(templates, templates, Publication())
    site, limit = Site(store), RateLimit(0.001, 2.0)
    routes = subscribe_routes(store.sign_ups, site.wake, SECRET, SubscribePages(press), PER_DAY, lambda: NOW)
    busy = press.page("web/unsubscribe.html", "busy_title", "busy_text", button=False, again=False)
    guarded = limited(routes, limit, lambda seconds: busy.response(429, Retry_After=str(seconds)))
    with serving(create_app("Brot", "en", {}, guarded)) as site.base:
        answers = [site.post(email=f"p{n}@example.com") for n in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert int(answers[2].headers["retry-after"]) > 100
        assert [ask(f"{site.base}/subscribe").status for _ in range(5)] == [200] * 5
    assert [email for email, *_ in site.asked()] == ["p0@example.com", "p1@example.com"]


def test_private(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """No page but that with an error shows what was typed; no log has address or name."""
    caplog.set_level(logging.DEBUG)
    fields = {"email": "anna@example.com", "first_name": "Anneliese"}
    assert "anna" not in site.post(**fields).text
    site.post(email="anna@", first_name="Anneliese")
    site.redis_is_away = True
    site.post(email="anna.b@example.com", first_name="Anneliese")
    assert until(lambda: "reconciler" in caplog.text)
    # uvicorn.access: pytest listens to it though it is off
    logged = " ".join(f"{r.getMessage()} {r.exc_text}" for r in caplog.records if r.name != "uvicorn.access")
    assert "POST /subscribe 200" in logged
    assert [secret for secret in ("anna", "Anneliese") if secret in logged] == []


def test_headers(site: Site) -> None:
    """No answer is cached or framed, only our own style counts, and the form goes to us alone."""
    for answer in (ask(f"{site.base}/subscribe"), site.post(email="x"), site.post(email="anna@example.com")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "form-action 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert re.search(r"style-src 'sha256-[^']+';", policy)
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("site", "language", "title"),
    [("de-AT", "de-AT", " abonnieren"), ("en", "en", "Subscribe to "), ("fr", "en", "Subscribe to ")],
    indirect=["site"],
)
def test_language(site: Site, language: str, title: str) -> None:
    """The page is in the publication's language, else in English and says so."""
    page = ask(f"{site.base}/subscribe").text
    assert f'<html lang="{language}">' in page
    assert title in page


@pytest.mark.parametrize("per_day", [0, 1])
def test_process(tmp_path: Path, per_day: int) -> None:
    """``mailer web`` has a form with the configured limit, or with 0 none at all; Redis needn't be there."""
    (tmp_path / "mailer.toml").write_text(f"[web]\nsign_ups_per_day = {per_day}\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mailer", "web", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/subscribe"
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=log) as process,
    ):
        try:
            assert until(lambda: process.poll() is not None or listens(port)), (tmp_path / "log").read_text()
            statuses = [ask(url).status]
            statuses += [ask(url, "POST", b"email=%s%%40example.com" % name, FORM).status for name in (b"a", b"b")]
        finally:
            process.terminate()
    assert statuses == ([200, 200, 503] if per_day else [404, 404, 404])


def listens(port: int) -> bool:
    """Whether somebody answers there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("name", ["web/subscribe.html", "web/confirm.html", "confirmation.mjml", "confirmation.txt"])
def test_process_says_what_is_broken(tmp_path: Path, name: str) -> None:
    """A template of the pages or the mail that can't be drawn is one line of error when ``mailer web`` starts."""
    (tmp_path / "mailer.toml").write_text("[publication]\n")
    path = tmp_path / "templates" / name
    path.parent.mkdir(parents=True)
    path.write_text("a\n{{ nonsense }}")
    command = [sys.executable, "-m", "mailer", "web", "--port", "1"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"templates/{name}:2: 'nonsense' is undefined" in done.stderr
    assert "Traceback" not in done.stderr


def test_broken_template(tmp_path: Path) -> None:
    """A template that fails only where there are errors to show is found when the process starts."""
    (tmp_path / "web").mkdir()
    source = "a\n{% if form and form.errors %}{{ form.erors }}{% endif %}"
    (tmp_path / "web" / "subscribe.html").write_text(source)
    with pytest.raises(CompileError) as caught:
        SubscribePages(PagePress(load_templates(tmp_path), load_templates(), Publication()))
    assert caught.value.where == "templates/web/subscribe.html:2"

"""``/webhooks/{provider}`` through a real uvicorn, on real SQLite and PostgreSQL: taken, refused, and never lost."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import http.client
import itertools
import json
import logging
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mailer.bounces.request import MAX_BODY
from mailer.service.events import Reading
from mailer.service.inbox import NewEvents, TokenReused
from mailer.store.events import SqlEvents
from mailer.store.store import SqlStore, open_store
from mailer.web import webhooks
from mailer.web.app import create_app
from mailer.web.fetch import FetchError, fetch
from mailer.web.webhooks import webhooks_app
from tests.servers.amazon import Amazon, amazon
from tests.servers.postgres import PostgresServer
from tests.servers.senders import (
    BASE_URL,
    BATCHING,
    CERTIFICATE_URL,
    CONFIRM_URL,
    OTHER_TOPIC,
    PROVIDERS,
    TIMED,
    Told,
    certificate,
    said,
    sections,
    sign,
    sns,
    tell,
)
from tests.servers.waiting import until
from tests.servers.web import Answer, ask, serving

pytest_plugins = ("tests.servers.postgres",)

SIGNING_NOTHING = ("postmark", "mailjet", "sparkpost", "brevo")
"""Their password or token is good for every body."""

CERTIFICATE_PATH, CONFIRM_PATH = CERTIFICATE_URL.partition(".com")[2], CONFIRM_URL.partition(".com")[2]
LOCATION = "https://sns.eu-central-1.amazonaws.com/elsewhere.pem"


class Site:
    """A web process's app and its store. ``late``: seconds by which the app's clock is ahead."""

    def __init__(self, base: str, store: SqlStore, served: Amazon, clock: list[float]) -> None:
        self.base, self.store, self.amazon, self.clock = base, store, served, clock
        self._numbers = itertools.count()

    def tell(self, provider: str, told: Told, method: str = "POST") -> Answer:
        return ask(f"{self.base}/webhooks/{provider}", method, told.body, **told.headers)

    def somebody(self, count: int = 1) -> list[str]:
        """Addresses that nobody has told of."""
        return [f"p{next(self._numbers)}@example.com" for _ in range(count)]

    def kept(self, provider: str = "") -> list[str]:
        """The recipients of the events that are kept, in order."""
        return [one.event.recipient for one in self.store.events.waiting(10_000) if provider in ("", one.provider)]

    @contextmanager
    def nothing_kept(self) -> Iterator[None]:
        before = self.store.events.backlog()
        yield
        assert self.store.events.backlog() == before


@contextmanager
def served_site(url: str, trust: Callable[[str, str], None], only: tuple[str, ...] = PROVIDERS) -> Iterator[Site]:
    """``only``: the providers that are configured."""
    clock = [0.0]
    with closing(open_store(url)) as store, amazon(trust) as ours:
        ours.answers |= {CERTIFICATE_PATH: (200, {}, certificate()), CONFIRM_PATH: (200, {}, b"<Confirmed/>")}
        configured = {name: section for name, section in sections().items() if name in only}
        app = webhooks_app(store.events, configured, BASE_URL, ours.fetch, lambda: time.time() + clock[0])
        with serving(create_app("B", "de", {}, webhooks=app)) as base:
            yield Site(base, store, ours, clock)


@pytest.fixture(scope="module")
def shared(_migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all tests that each tell of somebody else, or of nobody."""
    path = tmp_path_factory.mktemp("webhooks") / "mailer.db"
    shutil.copy(_migrated_sqlite, path)
    with pytest.MonkeyPatch.context() as patch, served_site(f"sqlite:///{path}", patch.setenv) as site:
        yield site


@pytest.fixture(scope="module")
def shared_postgres(postgres: PostgresServer) -> Iterator[Site]:
    """The same on PostgreSQL."""
    url = postgres.fresh()
    with pytest.MonkeyPatch.context() as patch, served_site(url, patch.setenv) as site:
        yield site
    postgres.drop(url)


@pytest.fixture(params=["shared", "shared_postgres"], ids=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest) -> Site:
    """Either store in turn."""
    made: Site = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def site(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """One of a test's own."""
    with served_site(sqlite_url, monkeypatch.setenv) as made:
        yield made


# --- taken


@pytest.mark.parametrize("provider", PROVIDERS)
def test_taken(either: Site, provider: str) -> None:
    """Each provider's signed request is 200, and all of its events are in the inbox by then; told again, once each."""
    people = either.somebody(3 if provider in BATCHING else 1)
    told = tell(provider, *people)
    answers = [either.tell(provider, told) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].headers["cache-control"] == "no-store"
    kept = [one for one in either.store.events.waiting(10_000) if one.event.recipient in people]
    assert sorted((one.provider, one.event.recipient, str(one.event.type), one.event.permanent) for one in kept) == [
        (provider, one, "bounced", True) for one in sorted(people)
    ]


def test_at_once(either: Site) -> None:
    """The same events in requests that come at the same time are stored once each, and each request is 200."""
    people = either.somebody(40)
    tellings = [tell("sendgrid", *(people if n % 2 else people[::-1])) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda told: either.tell("sendgrid", told), tellings))
    assert [answer.status for answer in answers] == [200] * 8
    assert sorted(one for one in either.kept() if one in people) == sorted(people)


def test_gzip(shared: Site) -> None:
    """A gzipped body is read, and its signature is that of what was packed."""
    (somebody,) = shared.somebody()
    told = tell("sendgrid", somebody)
    packed = Told(gzip.compress(told.body), told.headers).with_headers(Content_Encoding="gzip")
    assert shared.tell("sendgrid", packed).status == 200
    assert somebody in shared.kept()


@pytest.mark.parametrize("provider", [one for one in BATCHING if one not in ("ses", "mailtrap")])
def test_broken_event(site: Site, provider: str) -> None:
    """Of a batch with something broken in it every good event is taken, and the broken ones are kept as unknown."""
    people = site.somebody(2)
    good = [json.loads(said(provider, one))[0] for one in people]
    rubbish = [7, None, [], {}, "\x00", {"event": {"event": []}, "email": ["\ud800"]}]
    body = json.dumps([good[0], *rubbish, good[1]]).encode()
    assert site.tell(provider, sign(provider, body)).status == 200
    kept = site.store.events.waiting(100)
    assert [one.event.recipient for one in kept if one.event.type == "bounced"] == people
    assert {str(one.event.type) for one in kept if one.event.type != "bounced"} <= {"unknown"}
    assert len(kept) >= len(people) + 3


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_probes(shared: Site, provider: str, method: str) -> None:
    """A GET or HEAD, as providers try a URL, is 200 and stores nothing."""
    with shared.nothing_kept():
        assert ask(f"{shared.base}/webhooks/{provider}", method).status == 200


def test_pings(shared: Site) -> None:
    """What providers send to try a URL is 200 without a secret where they have none yet, and stores nothing."""
    public = "test_Am3L1GuOIc4blLUuHqAPxxwkZaJyEk8G"  # MailerSend's documentation shows it
    ping = json.dumps({"type": "webhook.test", "message": "This is a ping test message"}).encode()
    signed = {"Signature": hmac.new(public.encode(), ping, hashlib.sha256).hexdigest()}
    with shared.nothing_kept():
        assert shared.tell("mailersend", Told(ping, signed)).status == 200
        assert shared.tell("mandrill", Told(b"mandrill_events=%5B%5D")).status == 200
        assert shared.tell("sparkpost", sign("sparkpost", b'[{"msys":{}}]')).status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_methods(shared: Site, method: str) -> None:
    """Any other method is 405 with what is allowed, whatever it brings."""
    (somebody,) = shared.somebody()
    with shared.nothing_kept():
        answer = shared.tell("sendgrid", tell("sendgrid", somebody), method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")


# --- refused


def test_not_configured(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider without its section is 404 for every method, and so is one that doesn't exist."""
    with served_site(sqlite_url, monkeypatch.setenv, only=("postmark",)) as site:
        for provider in PROVIDERS:
            wanted = 200 if provider == "postmark" else 404
            assert site.tell(provider, tell(provider, *site.somebody())).status == wanted, provider
            assert ask(f"{site.base}/webhooks/{provider}").status == wanted, provider
        for path in ("nobody", "SES", "", "ses/x", "%00", "postmark%20"):
            assert ask(f"{site.base}/webhooks/{path}", "POST", b"{}").status == 404, path
        assert len(site.kept()) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_without_proof(shared: Site, provider: str) -> None:
    """Without proof, or with somebody else's, it is 401 or 403 and nothing is stored."""
    (somebody,) = shared.somebody()
    with shared.nothing_kept():
        missing = shared.tell(provider, tell(provider, somebody, unsigned=True))
        wrong = shared.tell(provider, tell(provider, somebody, forged=True))
    assert (missing.status, wrong.status in (401, 403)) == (401, True)
    asks = "www-authenticate" in missing.headers
    assert asks == (provider in SIGNING_NOTHING)


@pytest.mark.parametrize("provider", TIMED)
@pytest.mark.parametrize("side", ["old", "future"])
def test_time(shared: Site, provider: str, side: str) -> None:
    """A signature older than its provider tries, or from the future, is 403; one that is just young enough is 200."""
    (somebody,) = shared.somebody()
    window = TIMED[provider] if side == "old" else -300
    off = 30 if side == "old" else -30
    with shared.nothing_kept():
        refused = shared.tell(provider, tell(provider, somebody, at=time.time() - window - off))
    taken = shared.tell(provider, tell(provider, somebody, at=time.time() - window + off))
    assert (refused.status, taken.status) == (403, 200)


@pytest.mark.parametrize("provider", [one for one in PROVIDERS if one not in SIGNING_NOTHING])
def test_replayed_signature(shared: Site, provider: str) -> None:
    """A good signature around another event is refused, whatever the provider signs with."""
    one, other = shared.somebody(2)
    first, second = tell(provider, one), tell(provider, other)
    assert shared.tell(provider, first).status == 200
    if provider in ("ses", "mailgun"):
        proof = "Signature" if provider == "ses" else "signature"
        document = json.loads(second.body) | {proof: json.loads(first.body)[proof]}
        replayed = Told(json.dumps(document).encode(), second.headers)
    else:
        replayed = Told(second.body, first.headers)
    with shared.nothing_kept():
        assert shared.tell(provider, replayed).status == 403
    assert shared.tell(provider, second).status == 200, "the event itself can still come"


def test_said_in_the_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal is logged with its reason, once a minute however often it comes, and with nobody's address."""
    caplog.set_level(logging.DEBUG)
    (somebody,) = site.somebody()
    for _ in range(5):
        site.tell("sendgrid", tell("sendgrid", somebody, forged=True))
    site.clock[0] += 61
    site.tell("sendgrid", tell("sendgrid", somebody, forged=True))
    lines = [r.getMessage() for r in caplog.records if r.name == "mailer.web.webhooks" and r.levelno >= logging.WARNING]
    assert len(lines) == 2
    assert all("/webhooks/sendgrid" in line and "the signature is wrong" in line for line in lines)
    # uvicorn.access: pytest listens to it though it is off.
    everything = [f"{r.getMessage()} {r.exc_text}" for r in caplog.records if r.name != "uvicorn.access"]
    assert [line for line in everything if somebody in line] == []


def test_taken_in_the_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """What a provider tells is a line at once, and then one for all that comes within some seconds; no other line."""
    caplog.set_level(logging.INFO)
    for count in (37, 31, 31):
        assert site.tell("sendgrid", tell("sendgrid", *site.somebody(count))).status == 200
    # Other tests' apps may tell what was left of theirs meanwhile.
    lines = [one.getMessage() for one in caplog.records if one.name.startswith("mailer.web")]
    lines = [line for line in lines if "/webhooks" in line and ("events=3" in line or "POST" in line)]
    assert lines == ["/webhooks/sendgrid: events=37 requests=1 taken in"]


# --- Amazon SNS


def test_certificate_once(site: Site) -> None:
    """The certificate is fetched from its pinned host with the first message, and kept."""
    for _ in range(3):
        assert site.tell("ses", tell("ses", *site.somebody())).status == 200
    assert site.amazon.asked == [CERTIFICATE_PATH]


def test_other_topic(site: Site) -> None:
    """A well signed message of somebody else's topic is 403 before anything is fetched; its subscription isn't
    confirmed."""
    for kind in ("Notification", "SubscriptionConfirmation"):
        told = sns({"Type": kind, "TopicArn": OTHER_TOPIC, "Message": "x"})
        assert site.tell("ses", told).status == 403
    assert (site.amazon.asked, site.kept()) == ([], [])


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/a.pem",
        "http://sns.eu-central-1.amazonaws.com/a.pem",
        "https://sns.eu-central-1.amazonaws.com:8443/a.pem",
        "https://sns.eu-central-1.amazonaws.com@evil.example/a.pem",
        "https://sns.eu-central-1.amazonaws.com.evil.example/a.pem",
        "https://sns.s3-us-west-2.amazonaws.com/a.pem",
        "https://sns.eu-central-1.amazonaws.com/../a.pem",
        "https://sns.eu-central-1.amazonaws.com/a.pem?x",
    ],
)
def test_foreign_certificate(site: Site, url: str) -> None:
    """A certificate of any other place is 403, and is never asked for."""
    told = sns({"Type": "Notification", "Message": "{}", "SigningCertURL": url}, who="another")
    assert site.tell("ses", told).status == 403
    assert (site.amazon.asked, site.kept()) == ([], [])


def test_redirecting_certificate(site: Site) -> None:
    """A certificate host that redirects isn't followed: 503, nothing stored, and no second try for a minute; then the
    retry is taken."""
    site.amazon.answers[CERTIFICATE_PATH] = (302, {"Location": LOCATION}, b"")
    site.amazon.answers["/elsewhere.pem"] = (200, {}, certificate())
    told = tell("ses", *site.somebody())
    answers = [site.tell("ses", told) for _ in range(3)]
    assert [(one.status, one.headers["retry-after"]) for one in answers] == [(503, "60")] * 3
    assert (site.amazon.asked, site.kept()) == ([CERTIFICATE_PATH], [])
    site.amazon.answers[CERTIFICATE_PATH] = (200, {}, certificate())
    site.clock[0] += 61
    assert site.tell("ses", told).status == 200
    assert (site.amazon.asked, len(site.kept())) == ([CERTIFICATE_PATH] * 2, 1)


@pytest.mark.parametrize("answer", [b"", b"-----BEGIN CERTIFICATE-----\n", b"x" * 70_000, certificate("another")])
def test_wrong_certificate(site: Site, answer: bytes) -> None:
    """A certificate that can't be read, is endless, or is of another key, proves nothing."""
    site.amazon.answers[CERTIFICATE_PATH] = (200, {}, answer)
    assert site.tell("ses", tell("ses", *site.somebody())).status == (503 if len(answer) > 65_536 else 403)
    assert site.kept() == []


def test_confirmed(site: Site) -> None:
    """The subscription of our own topic is confirmed by one GET before the answer, without following a redirect."""
    told = sns({"Type": "SubscriptionConfirmation"})
    assert site.tell("ses", told).status == 200
    assert site.amazon.asked == [CERTIFICATE_PATH, CONFIRM_PATH]
    site.amazon.answers[CONFIRM_PATH] = (302, {"Location": LOCATION}, b"")
    assert site.tell("ses", told).status == 503
    assert site.amazon.asked == [CERTIFICATE_PATH, CONFIRM_PATH, CONFIRM_PATH]
    assert site.kept() == []


@pytest.mark.parametrize(
    "url",
    ["https://evil.example/?Action=ConfirmSubscription", "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe"],
)
def test_confirmed_elsewhere(site: Site, url: str) -> None:
    """A subscription is confirmed at Amazon SNS only, also where the message is well signed."""
    assert site.tell("ses", sns({"Type": "SubscriptionConfirmation", "SubscribeURL": url})).status == 403
    assert site.amazon.asked == [CERTIFICATE_PATH]


def test_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    """``fetch`` speaks https only, with a certificate that is trusted and of that name, and bounds what it reads."""
    with amazon(monkeypatch.setenv) as there:
        there.answers["/a?b=c"] = (200, {}, b"yes")
        assert fetch(f"{there.base}/a?b=c") == b"yes"
        for url in (there.base.replace("localhost", "localhost.localdomain"), there.base.replace("https", "http")):
            with pytest.raises(FetchError):
                fetch(f"{url}/a?b=c")
        monkeypatch.setenv("SSL_CERT_FILE", str(Path(__file__)))
        with pytest.raises(FetchError):
            fetch(f"{there.base}/a?b=c")
    assert there.asked == ["/a?b=c"]


# --- bodies


def test_too_large(shared: Site) -> None:
    """10 MB are 413 by their Content-Length, without one byte of them being read."""
    with shared.nothing_kept(), closing(_begin(shared, "Content-Length: 10000000")) as connection:
        assert _status(connection) == 413


def test_too_large_in_chunks(shared: Site) -> None:
    """10 MB without a length are 413 as soon as they are more than may be."""
    chunk = b"%x\r\n%s\r\n" % (65_536, b"x" * 65_536)
    sent = 0
    with shared.nothing_kept(), closing(_begin(shared, "Transfer-Encoding: chunked")) as connection:
        connection.settimeout(10)
        while sent <= MAX_BODY:
            connection.sendall(chunk)
            sent += 65_536
        assert _status(connection) == 413


@pytest.mark.parametrize("chunked", [False, True])
def test_too_large_is_heard(shared: Site, chunked: bool) -> None:
    """Who sends all of 10 MB before listening hears 413 all the same, and the connection goes on."""
    parts = urlsplit(shared.base)
    body = b"x" * 10_000_000
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)) as connection:
        for _ in range(2):
            sent = iter([body[:5_000_000], body[5_000_000:]]) if chunked else body
            connection.request("POST", "/webhooks/postmark", sent, encode_chunked=chunked)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 413


def test_too_large_and_expecting(shared: Site) -> None:
    """Who asks before sending 10 MB hears 413, and that the connection ends: nothing tells whether a body follows."""
    with closing(_begin(shared, "Content-Length: 10000000\r\nExpect: 100-continue")) as connection:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.headers["Connection"]) == (413, "close")


BOMB = gzip.compress(bytes(30_000_000), 1)


@pytest.mark.parametrize("provider", ["postmark", "sendgrid", "mandrill"])
def test_gzip_bomb(shared: Site, provider: str) -> None:
    """130 KB that unpack to 30 MB are 413, also with the right password."""
    told = Told(BOMB, tell(provider, *shared.somebody()).headers).with_headers(Content_Encoding="gzip")
    with shared.nothing_kept():
        assert shared.tell(provider, told).status == 413


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'[{"email": "J\xfcrgen"}]',
        '[{"email": "a@example.com"}]'.encode("utf-16"),
        b"[NaN]",
        b"[" + b"9" * 5000 + b"]",
        b"",
        b"null",
        b"not json",
        b"[{}]" * 2,
    ],
    ids=["deep", "deep objects", "latin-1", "utf-16", "NaN", "huge number", "empty", "null", "text", "two documents"],
)
@pytest.mark.parametrize("provider", ["sendgrid", "postmark", "generic"])
def test_malformed(shared: Site, provider: str, body: bytes) -> None:
    """A signed body that is nested too deep, in a wrong charset or no JSON is 400, and nothing is stored."""
    with shared.nothing_kept():
        assert shared.tell(provider, sign(provider, body)).status == 400


def test_slow(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that doesn't come is 408, and costs nobody else anything."""
    monkeypatch.setattr(webhooks, "BODY_SECONDS", 0.3)
    with (
        served_site(sqlite_url, monkeypatch.setenv) as site,
        closing(_begin(site, "Content-Length: 1000")) as connection,
    ):
        connection.sendall(b"[")
        assert site.tell("postmark", tell("postmark", *site.somebody())).status == 200
        assert _status(connection) == 408


def test_cut_off(site: Site) -> None:
    """A request that breaks off in its body stores nothing, and the next one is taken."""
    told = tell("sendgrid", *site.somebody())
    connection = _begin(site, f"Content-Length: {len(told.body)}", **told.headers)
    connection.sendall(told.body[:-1])
    connection.close()
    assert site.tell("postmark", tell("postmark", *site.somebody())).status == 200
    assert site.kept("sendgrid") == []


def test_all_bodies_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """All bodies together are bounded: one too many is told to come again, and is taken when the others are gone."""
    monkeypatch.setattr(webhooks, "MAX_BODIES", 3000)
    told = tell("sendgrid", *site.somebody(5))
    with closing(_begin(site, "Content-Length: 4000")) as connection:
        connection.sendall(b"x" * 2500)
        assert until(lambda: site.tell("sendgrid", told).status == 503)
        assert site.kept() == []
    assert until(lambda: site.tell("sendgrid", told).status == 200)
    assert len(site.kept()) == 5


def _begin(site: Site, length: str, **headers: str) -> socket.socket:
    """A POST that has come as far as its headers."""
    parts = urlsplit(site.base)
    connection = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20)
    lines = ["POST /webhooks/sendgrid HTTP/1.1", f"Host: {parts.netloc}", length]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return connection


def _status(connection: socket.socket) -> int:
    with connection.makefile("rb") as answer:
        return int(answer.readline().split()[1])


# --- the database


def test_database_locked(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While SQLite is locked it is 503, with when to come again; the retries that follow are taken once."""
    monkeypatch.setattr(webhooks, "PATIENCE", 0.3)
    with served_site(sqlite_url, monkeypatch.setenv) as site:
        told = tell("sendgrid", *site.somebody(3))
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answers = [site.tell("sendgrid", told) for _ in range(2)]
            assert [(one.status, one.headers["retry-after"]) for one in answers] == [(503, "60")] * 2
            assert site.kept() == []
            other.execute("ROLLBACK")
        for _ in range(2):
            assert until(lambda: site.tell("sendgrid", told).status == 200)
        assert len(site.kept()) == 3


def test_database_away(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """While PostgreSQL is away it is 503; when it is back, the retry is taken once, in the same process."""
    url = postgres.fresh()
    with served_site(url, monkeypatch.setenv) as site:
        told, first = tell("mailgun", *site.somebody()), tell("sendgrid", *site.somebody())
        assert site.tell("sendgrid", first).status == 200
        postgres.stop()
        try:
            assert [site.tell("mailgun", told).status for _ in range(2)] == [503, 503]
        finally:
            postgres.start()
        assert until(lambda: site.tell("mailgun", told).status == 200)
        assert site.tell("mailgun", told).status == 200
        assert len(site.kept()) == 2
    postgres.drop(url)


def test_one_commit(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that come while another one is stored are stored together; each has its own answer, one that is told
    again and one that is forged too."""
    together: list[int] = []
    read: list[str] = []
    go_on = threading.Event()
    add_all, read_webhook = SqlEvents.add_all, webhooks.read_webhook

    def slow(self: SqlEvents, told: Sequence[NewEvents]) -> list[int | TokenReused]:
        together.append(len(told))
        assert go_on.wait(30)
        return add_all(self, told)

    def watched(provider: str, *more: Any) -> Reading:
        read.append(provider)
        return read_webhook(provider, *more)

    monkeypatch.setattr(SqlEvents, "add_all", slow)
    monkeypatch.setattr(webhooks, "read_webhook", watched)
    with served_site(sqlite_url, monkeypatch.setenv) as site, ThreadPoolExecutor(20) as pool:
        people = site.somebody(18)
        tellings = [(name, tell(name, one)) for name, one in zip(["postmark", "mailgun"] * 8, people, strict=False)]
        genuine, forged = (sign("mailgun", said("mailgun", one), token="t" * 50) for one in people[16:])
        answers = [pool.submit(site.tell, *tellings[0])]
        assert until(lambda: together == [1])
        answers += [pool.submit(site.tell, *one) for one in [*tellings[1:], *[("mailgun", genuine)] * 2]]
        assert until(lambda: len(read) == 18)
        answers.append(pool.submit(site.tell, "mailgun", forged))
        assert until(lambda: len(read) == 19)
        go_on.set()
        assert [one.result().status for one in answers] == [200] * 18 + [403]
        assert together == [1, 18]
        assert sorted(site.kept()) == sorted(people[:17])


def test_waiting_bounded(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for the database counts among the bodies, also when it was answered that it is to come again: there
    is never more than may be, and all goes on when the database does."""
    monkeypatch.setattr(webhooks, "MAX_BODIES", 3000)
    monkeypatch.setattr(webhooks, "PATIENCE", 0.1)
    with served_site(sqlite_url, monkeypatch.setenv) as site:
        told = tell("postmark", *site.somebody())
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            texts = [site.tell("postmark", told).text for _ in range(3000 // len(told.body) + 2)]
            assert (texts[0], texts[-1]) == ("Not now.\n", "Too much at once.\n")
            other.execute("ROLLBACK")
        assert until(lambda: site.tell("postmark", told).status == 200)
        assert len(site.kept()) == 1


@pytest.mark.parametrize("provider", ["sendgrid", "ses", "mailgun"])
def test_large(shared: Site, provider: str) -> None:
    """A body that is too large to be read between other requests is taken and refused as small ones are."""
    (somebody,) = shared.somebody()
    event = json.loads(said(provider, somebody))
    one = event[0] if isinstance(event, list) else event
    one["padding"] = "x" * (2 * webhooks.SMALL)
    told = sign(provider, json.dumps(event).encode())
    assert len(told.body) > webhooks.SMALL
    assert shared.tell(provider, sign(provider, json.dumps(event).encode(), forged=True)).status == 403
    assert [shared.tell(provider, told).status for _ in range(2)] == [200, 200]
    assert shared.kept().count(somebody) == 1


def test_readers_go_on(site: Site, sqlite_url: str) -> None:
    """While many requests wait for the database, other pages are answered at once."""
    tellings = [tell("sendgrid", *site.somebody()) for _ in range(12)]
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        threads = [threading.Thread(target=site.tell, args=("sendgrid", told)) for told in tellings]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        assert ask(f"{site.base}/healthz").status == 200
        assert time.monotonic() - began < 1.0
        other.execute("ROLLBACK")
    for thread in threads:
        thread.join()
    assert until(lambda: len(site.kept()) == 12)

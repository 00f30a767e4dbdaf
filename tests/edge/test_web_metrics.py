"""``/metrics`` through a real uvicorn, on a real SQLite store."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mailer.bounces.event import Event, EventType, Reason
from mailer.errors import ConfigError
from mailer.model.ledger import Outcome, RecipientState, Reply, Send, SendKind, WorkerId
from mailer.service.events import act_on_events
from mailer.service.inbox import NewEvent
from mailer.service.ports import Addressee, Incoming, NewSend
from mailer.store.store import SqlStore, open_store
from mailer.web import figures, metrics
from mailer.web.app import create_app
from mailer.web.client_address import parse_networks
from mailer.web.figures import StoreFigures, gauge
from mailer.web.metrics import Metrics
from tests.servers.web import ask, serving

NOW = 1_800_000_000.0
NAMES = [f"p{number}" for number in range(6)]

Sample = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'mailer.db'}", create=True)
    opened.subscribers.upsert([Incoming(f"{name}@example.com", f"{name}@example.com") for name in NAMES], 1.0)
    opened.workers.register(WorkerId("w"), "host", 1, NOW)
    yield opened
    opened.close()


def queued(store: SqlStore, slug: str, now: float, at: float | None = None) -> Send:
    return store.sends.create(NewSend(slug, SendKind.ISSUE, "digest", now, at), None, now)


def settle(store: SqlStore, send: Send, count: int, state: RecipientState, now: float) -> None:
    """So many recipients come to a state."""
    claims = store.ledger.claim(send.id, 1, 500, WorkerId("w"), count, now)
    keys = [(send.id, claim.position, claim.epoch) for claim in claims]
    store.ledger.write(now, dots=keys)
    due = now + 60 if state is RecipientState.DEFERRED else None
    store.ledger.write(now, outcomes=[Outcome(*key, state, Reply(250, "", "ok"), due) for key in keys])


def read(text: str) -> dict[Sample, float]:
    """All samples, by name and labels; the text is what Prometheus' own parser reads."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def said(source: metrics.Source) -> dict[Sample, float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in source()
        for sample in family.samples
    }


def sample(name: str, **labels: str) -> Sample:
    return name, frozenset(labels.items())


def test_page(store: SqlStore) -> None:
    """The page is in the format that Prometheus reads, with figures of the store, the requests and the process."""
    store.suppressions.add("x@example.com", "bounced", "test", NOW)
    send = queued(store, "kw01", NOW)
    routes_metrics = Metrics([StoreFigures(store, lambda: NOW)])
    with serving(create_app("B", "en", {}, metrics=routes_metrics)) as base:
        for path in ("/healthz", "/secret-token", "/other-token"):
            ask(base + path)
        answer = ask(base + "/metrics")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    found = read(answer.text)
    assert found[sample("mailer_recipients", send=send.id, state="pending")] == 6
    assert found[sample("mailer_workers")] == 1
    assert found[sample("mailer_store_up")] == 1
    assert found[sample("mailer_suppressions", reason="bounced")] == 1
    assert found[sample("mailer_web_requests_total", method="GET", route="/healthz", status="200")] == 1
    assert found[sample("mailer_web_requests_total", method="GET", route="other", status="404")] == 2
    assert found[sample("process_resident_memory_bytes")] > 1e6
    assert "process_cpu_seconds_total" in answer.text
    assert "token" not in answer.text
    assert "@" not in answer.text


@pytest.mark.parametrize(
    ("trusted", "headers", "status"),
    [
        ((), {}, 200),
        ((), {"X_Forwarded_For": "127.0.0.1"}, 404),
        ((), {"Via": "1.1 proxy"}, 404),
        (("127.0.0.1",), {"X_Forwarded_For": "192.168.1.1"}, 404),
        (("127.0.0.1",), {"X_Forwarded_For": "198.51.100.1"}, 404),
        (("127.0.0.1",), {"Forwarded": "for=127.0.0.1"}, 404),
    ],
)
def test_inside_only(trusted: tuple[str, ...], headers: dict[str, str], status: int) -> None:
    """Only who asks directly gets figures: what came through a proxy is 404, whoever it says it is from."""
    app = create_app("B", "en", {}, trusted=parse_networks(trusted), metrics=Metrics())
    with serving(app) as base:
        assert ask(base + "/metrics", **headers).status == status


async def test_public_address() -> None:
    """A client with an address of the public internet gets none, though it asks directly."""
    sent = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    app = create_app("B", "en", {}, metrics=Metrics())
    scope = {"type": "http", "method": "GET", "path": "/metrics", "raw_path": b"/metrics", "query_string": b""}
    for client in ("8.8.8.8", "2a00:1450::1", "::ffff:8.8.8.8", "10.1.2.3", "fd00::1"):
        await app({**scope, "headers": [], "scheme": "http", "client": (client, 1), "root_path": ""}, receive, send)
    assert [one["status"] for one in sent if one["type"] == "http.response.start"] == [404, 404, 404, 200, 200]


def test_sends(store: SqlStore) -> None:
    """Sends are counted by state, and the recipients of those active and recent by state; test-sends aren't."""
    first = queued(store, "kw01", NOW)
    settle(store, first, 4, RecipientState.SENT, NOW)
    settle(store, first, 2, RecipientState.IN_DOUBT, NOW)
    store.sends.finish(NOW)
    running = queued(store, "kw02", NOW)
    settle(store, running, 3, RecipientState.SENT, NOW)
    store.sends.create_test(NewSend("kw03", SendKind.TEST, "digest", NOW), [Addressee("e@example.com", None)], NOW)
    found = said(StoreFigures(store, lambda: NOW + 5))
    assert found[sample("mailer_sends", state="finished")] == 1
    assert found[sample("mailer_sends", state="running")] == 1
    assert found[sample("mailer_recipients", send="kw01-1", state="sent")] == 4
    assert found[sample("mailer_recipients", send="kw01-1", state="in_doubt")] == 2
    assert found[sample("mailer_recipients", send="kw02-1", state="sent")] == 3
    assert found[sample("mailer_send_rate", send="kw02-1")] == pytest.approx(3 / 5)
    assert not [key for key in found if "kw03" in str(key)]


def test_queue_age(store: SqlStore) -> None:
    """The queue's age is that of the oldest message that could go out; held, future and not yet due ones have none."""

    def age(now: float) -> float:
        store.workers.beat(WorkerId("w"), now)
        return said(StoreFigures(store, lambda: now))[sample("mailer_queue_age_seconds")]

    assert age(NOW) == 0
    send = queued(store, "kw01", NOW)
    assert age(NOW + 20) == 20
    settle(store, send, 5, RecipientState.SENT, NOW)
    settle(store, send, 1, RecipientState.DEFERRED, NOW)
    assert (age(NOW + 59), age(NOW + 100)) == (0, 40)
    store.sends.pause(send.id, "", NOW)
    assert age(NOW + 100) == 0
    queued(store, "kw02", NOW, at=NOW + 200)
    assert (age(NOW + 100), age(NOW + 210)) == (0, 10)


def test_reasons(store: SqlStore) -> None:
    """A reason somebody wrote themselves is counted as other, and isn't shown."""
    for number, reason in enumerate(("bounced", "added by hand", "asked by Anna", "asked by Bob")):
        store.suppressions.add(f"{number}@example.com", reason, "command", NOW)
    found = {key: value for key, value in said(StoreFigures(store)).items() if key[0] == "mailer_suppressions"}
    assert {dict(labels)["reason"]: value for (_, labels), value in found.items()} == {
        "bounced": 1,
        "by hand": 1,
        "other": 2,
    }


def test_what_came_back(store: SqlStore) -> None:
    """Events are counted by provider, type and reason once they are acted on; until then they wait."""
    bounced = Event(EventType.BOUNCED, "p0@example.com", permanent=True, reason=Reason.INVALID, event_id="1")
    store.events.add("postmark", [NewEvent(bounced), NewEvent(Event(EventType.DELIVERED, "p1@example.com"))], NOW)

    def found() -> dict[Sample, float]:
        return {key: value for key, value in said(StoreFigures(store, lambda: NOW + 9)).items() if "_events" in key[0]}

    assert found() == {sample("mailer_events_waiting"): 2, sample("mailer_events_age_seconds"): 9}
    act_on_events(store.events, b"secret", 3, NOW)
    assert found() == {
        sample("mailer_events_total", provider="postmark", type="bounced", reason="invalid"): 1,
        sample("mailer_events_total", provider="postmark", type="delivered", reason=""): 1,
        sample("mailer_events_waiting"): 0,
        sample("mailer_events_age_seconds"): 0,
    }


def test_at_rest_counted_seldom(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A send at rest isn't counted at every scrape, and again when it runs again."""
    send = queued(store, "kw01", NOW)
    settle(store, send, 5, RecipientState.SENT, NOW)
    settle(store, send, 1, RecipientState.IN_DOUBT, NOW)
    store.sends.finish(NOW)
    asked: list[str] = []
    status = store.sends.status
    monkeypatch.setattr(store.sends, "status", lambda *args: asked.append(args[0]) or status(*args))
    clock = iter([NOW, NOW + 10, NOW + 20, NOW + 30, NOW + 400])
    source = StoreFigures(store, lambda: next(clock))
    for count in (1, 1):
        said(source)
        assert len(asked) == count
    store.sends.resolve(send.id, "resend", NOW)
    assert said(source)[sample("mailer_recipients", send="kw01-1", state="deferred")] == 1
    settle(store, send, 1, RecipientState.SENT, NOW)
    store.sends.finish(NOW + 30)
    assert said(source)[sample("mailer_recipients", send="kw01-1", state="sent")] == 6
    said(source)
    assert len(asked) == 4, "and once more when five minutes are over"


def test_many_sends(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sends there were, only the newest are shown."""
    monkeypatch.setattr(figures, "RECENT", 2)
    for number in range(5):
        store.sends.cancel(queued(store, f"kw{number}", NOW).id, NOW)
    found = said(StoreFigures(store, lambda: NOW))
    assert {dict(labels)["send"] for name, labels in found if name == "mailer_recipients"} == {"kw3-1", "kw4-1"}
    assert found[sample("mailer_sends", state="cancelled")] == 5


def test_database_gone(store: SqlStore) -> None:
    """Without a database the page says so, and still has what it knows."""
    with store.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE sends RENAME TO elsewhere")
    with serving(create_app("B", "en", {}, metrics=Metrics([StoreFigures(store)]))) as base:
        answer = ask(base + "/metrics")
    assert (answer.status, read(answer.text)[sample("mailer_store_up")]) == (200, 0)


async def test_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scrapes that come together, or soon after one another, read once; slow readings are kept for longer."""
    clock, reads = [0.0], []

    def source() -> list[object]:
        reads.append(1)
        clock[0] += 2.0  # this long it takes
        return [gauge("slow", "s", (), {(): len(reads)})]

    monkeypatch.setattr(metrics.time, "monotonic", lambda: clock[0])
    page = Metrics([source])
    first = await page.text()
    for later in (1.0, metrics.SHARE * 2.0):
        clock[0] = later
        assert await page.text() == first
    clock[0] = metrics.SHARE * 2.0 + 3
    assert await page.text() != first
    assert len(reads) == 2
    clock[0] += inf
    await page.text()
    assert len(reads) == 3


@pytest.mark.parametrize("named", ["", "file", "nowhere"])
def test_no_folder_for_counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    """A variable that names no folder for the counters of several processes is an error that names the variable."""
    (tmp_path / "file").touch()
    monkeypatch.setenv(metrics.TOGETHER, str(tmp_path / named) if named else "")
    with pytest.raises(ConfigError) as caught:
        Metrics()
    assert caught.value.where == "PROMETHEUS_MULTIPROC_DIR"
    assert "can't be counted" in str(caught.value)

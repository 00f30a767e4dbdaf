"""How many events a second come in by webhook, and how many are acted on: ``python -m benchmarks.webhooks``.

The real ``mailer web`` takes in requests over HTTP, kept-alive connections from a process of its own: SendGrid's signed
batches, and Postmark's single events, these with each number of connections and of web processes. Each is in the store
when it is answered.
Then a worker's round acts on all of them, for a list and a send that exist. SQLite with ``synchronous=FULL``;
PostgreSQL with its default settings. The limit beside it: uvicorn alone, which answers the same single requests and
does nothing about them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu import cpu_seconds, tree
from benchmarks.postgres import postgres
from mailer.bounces.event import EventType
from mailer.config import load_settings, secret_key
from mailer.model.ledger import Outcome, RecipientState, Reply, Send, SendId, SendKind, WorkerId
from mailer.service.events import CHUNK, act_on_events
from mailer.service.ports import Incoming, NewSend
from mailer.store import SqlStore, migrate, open_store
from mailer.wire.message_id import make_message_id
from tests.servers.senders import Told, sections_toml, sign
from workers.collector import spare_the_collector

NOW = time.time()
SHARE = {EventType.BOUNCED: 5, EventType.COMPLAINED: 1, EventType.UNSUBSCRIBED: 2}
"""Of a hundred events; the others are deliveries."""

SENDGRID = {
    EventType.BOUNCED: {"event": "bounce", "type": "bounce", "reason": "550 5.1.1 User unknown", "status": "5.1.1"},
    EventType.COMPLAINED: {"event": "spamreport"},
    EventType.UNSUBSCRIBED: {"event": "unsubscribe"},
    EventType.DELIVERED: {"event": "delivered", "response": "250 2.0.0 OK 1700000000 a1-b2c3d4e5f6si123456789wrb.123"},
}
POSTMARK = {
    EventType.BOUNCED: {"RecordType": "Bounce", "Type": "HardBounce", "Details": "smtp;550 5.1.1 User unknown"},
    EventType.COMPLAINED: {"RecordType": "SpamComplaint", "Type": "SpamComplaint"},
    EventType.UNSUBSCRIBED: {
        "RecordType": "SubscriptionChange",
        "SuppressSending": True,
        "SuppressionReason": "ManualSuppression",
    },
    EventType.DELIVERED: {"RecordType": "Delivery", "Details": "smtp;250 2.0.0 OK 1700000000 a1-b2c3d4e5f6si123456.12"},
}


MakeEvent = Callable[[int, int, str], dict[str, object]]
"""Of a run (each tells of other events), a person and the message that they got."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run came to. ``cpu``: of all web processes, milliseconds an event."""

    store: str
    what: str
    events: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        return self.events / self.seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table, and exits 1 if ``--at-least`` isn't reached by the signed batches, or by acting on events."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000, help="events of each kind of request")
    parser.add_argument("--batch", type=int, default=500, help="events of one of SendGrid's requests")
    parser.add_argument("--connections", default="1,8,64", help="how many at once, for the single events: a list")
    parser.add_argument("--processes", default="1,2", help="how many web processes, for the single events: a list")
    parser.add_argument("--stores", default="sqlite,postgresql")
    parser.add_argument(
        "--at-least", type=float, default=0.0, help="events a second, taken in by signed batches and acted on"
    )
    options = parser.parse_args(arguments)
    found: list[Figures] = []
    with ExitStack() as stack:
        found += limits(options)
        for name in filter(None, options.stores.split(",")):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailer-bench-")))
            if name == "postgresql":
                url = stack.enter_context(postgres()).create("bench")
                migrate(url)
            else:
                url = f"sqlite:///{folder}/mailer.db"
                migrate(url)
            found += measure(name, url, folder, options)
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; client, web process and database share them\n")
    print(f"{'store':<12}{'what':<58}{'events':>8}{'seconds':>9}{'events/s':>10}{'web CPU ms':>12}")
    for one in found:
        print(f"{one.store:<12}{one.what:<58}{one.events:>8}{one.seconds:>9.2f}{one.rate:>10,.0f}{one.cpu:>12.3f}")
    slowest = min((one.rate for one in found if one.what.startswith(("SendGrid", "the same"))), default=0.0)
    return int(slowest < options.at_least)


def limits(options: argparse.Namespace) -> Iterator[Figures]:
    """The same single requests, answered by uvicorn alone."""
    for connections in map(int, filter(None, options.connections.split(","))):
        say(f"uvicorn alone, {connections} connections")
        names = [make_message_id(b"", SendId("kw01-1"), n, "garten.example") for n in range(options.events)]
        made = [json.dumps(postmark_event(0, n, name)).encode() for n, name in enumerate(names)]
        tellings = [sign("postmark", one) for one in made]
        with served("-m", "benchmarks.peers.bare_web") as (pid, port):
            before = used(pid)
            seconds = tell(port, "postmark", tellings, connections)
            spent = used(pid) - before
        what = f"one a request, {connections} at once: answered"
        yield Figures("uvicorn", what, options.events, seconds, 1000 * spent / options.events)


def measure(name: str, url: str, folder: Path, options: argparse.Namespace) -> Iterator[Figures]:
    """The figures of one store."""
    config = folder / "mailer.toml"
    config.write_text(
        f'[publication]\nname = "B"\nbase_url = "https://garten.example"\n[store]\nurl = "{url}"\n{sections_toml()}'
    )
    secret = secret_key(load_settings(config, {}))
    with closing(open_store(url)) as store:
        say(f"{name}: {options.events} people, and a send that reached them")
        send = reached(store, options.events)
        kinds: list[tuple[str, str, int, int, int, MakeEvent]] = [
            (f"SendGrid, signed, {options.batch} a request", "sendgrid", options.batch, 8, 1, sendgrid_event)
        ]
        for processes in map(int, filter(None, options.processes.split(","))):
            for connections in map(int, filter(None, options.connections.split(","))):
                what = f"Postmark, one a request, {connections} at once, processes: {processes}"
                kinds.append((what, "postmark", 1, connections, processes, postmark_event))
        for run, (what, provider, batch, connections, processes, event) in enumerate(kinds):
            say(f"{name}: {what}")
            people = range(1, options.events + 1)
            made = [event(run, n, make_message_id(secret, send.id, n, "garten.example")) for n in people]
            requests = [made[at : at + batch] for at in range(0, len(made), batch)]
            tellings = [sign(provider, json.dumps(one if batch > 1 else one[0]).encode()) for one in requests]
            with web(config, processes) as (pid, port):
                before = used(pid)
                seconds = tell(port, provider, tellings, connections)
                spent = used(pid) - before
            waiting, _ = store.events.backlog()
            if waiting != options.events:
                raise SystemExit(f"{waiting} events are in the inbox, not {options.events}")
            yield Figures(name, f"{what}: taken in", options.events, seconds, 1000 * spent / options.events)
            spare_the_collector()  # as a worker does
            began, spent = time.monotonic(), time.process_time()
            while act_on_events(store.events, secret, 5, time.time()) >= CHUNK:
                pass
            seconds, spent = time.monotonic() - began, time.process_time() - spent
            yield Figures(name, "the same: acted on", options.events, seconds, 1000 * spent / options.events)
            if store.events.backlog()[0]:
                raise SystemExit("events wait that weren't acted on")


def reached(store: SqlStore, count: int) -> Send:
    """A send that reached so many people."""
    for at in range(1, count + 1, 1000):
        names = [f"p{n}@example.com" for n in range(at, min(at + 1000, count + 1))]
        store.subscribers.upsert([Incoming(one, one) for one in names], NOW)
    store.workers.register(WorkerId("w"), "host", 1, NOW)
    send = store.sends.create(NewSend("kw01", SendKind.ISSUE, "digest", NOW, None), None, NOW)
    while claims := store.ledger.claim(send.id, 1, count, WorkerId("w"), 1000, NOW):
        keys = [(one.send, one.position, one.epoch) for one in claims]
        store.ledger.write(NOW, dots=keys)
        outcomes = [Outcome(*key, RecipientState.SENT, Reply(250, "2.0.0", "ok"), None) for key in keys]
        store.ledger.write(NOW, outcomes=outcomes)
    return send


def kind(number: int) -> EventType:
    """What is told of a recipient."""
    at = number % 100
    for one, share in SHARE.items():
        if at < share:
            return one
        at -= share
    return EventType.DELIVERED


def sendgrid_event(run: int, number: int, message_id: str) -> dict[str, object]:
    return {
        "email": f"p{number}@example.com",
        "timestamp": int(NOW),
        "smtp-id": message_id,
        "category": ["newsletter"],
        "sg_event_id": f"{run:02d}{number:020d}",
        "sg_message_id": f"{number:022d}.filter0001.16648.5515E0B88.0",
        **SENDGRID[kind(number)],
    }


def postmark_event(run: int, number: int, message_id: str) -> dict[str, object]:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW))
    return {
        "ID": run * 1_000_000_000 + number,
        "MessageID": f"00000000-0000-4000-8000-{number:012d}",
        "Email": f"p{number}@example.com",
        "Recipient": f"p{number}@example.com",
        "BouncedAt": at,
        "MessageStream": "broadcast",
        "Metadata": {"message_id": message_id},
        **POSTMARK[kind(number)],
    }


@contextmanager
def web(config: Path, processes: int) -> Iterator[tuple[int, int]]:
    """``mailer web``, when all of its processes take requests: its process id and port."""
    log = config.parent / "web.log"
    log.write_bytes(b"")
    several = ("--processes", str(processes)) if processes > 1 else ()
    with served("-m", "mailer", "web", *several, "--config", str(config), "--port", log=log) as (pid, port):
        while log.read_text().count("Application startup complete") < processes:
            time.sleep(0.1)
        yield pid, port


@contextmanager
def served(*arguments: str, log: Path = Path(os.devnull)) -> Iterator[tuple[int, int]]:
    """A Python process that listens on the port that is its last argument: its process id, and the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        log.open("ab") as said,
        subprocess.Popen([sys.executable, *arguments, str(port)], stdout=said, stderr=said) as process,
    ):
        try:
            _wait_for(port, process)
            yield process.pid, port
        finally:
            process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(f"a process doesn't come up: run it by hand, it says why: {process.args}")


def used(pid: int) -> float:
    """User and system time of a process and its children so far."""
    return sum(map(cpu_seconds, tree(pid)))


def tell(port: int, provider: str, tellings: Sequence[Told], connections: int) -> float:
    """Sends them all, from a process of its own; gives the seconds until the last was answered with 200."""
    wire = [_request(provider, one) for one in tellings]
    results: multiprocessing.Queue[float | str] = multiprocessing.get_context("fork").Queue()
    client = multiprocessing.get_context("fork").Process(target=_client, args=(port, wire, connections, results))
    client.start()
    seconds = results.get()
    client.join()
    if isinstance(seconds, str):
        raise SystemExit(seconds)
    return seconds


def _request(provider: str, told: Told) -> bytes:
    lines = [f"POST /webhooks/{provider} HTTP/1.1", "Host: garten.example", f"Content-Length: {len(told.body)}"]
    lines += [f"{name}: {value}" for name, value in told.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + told.body


def _client(port: int, wire: Sequence[bytes], connections: int, results: multiprocessing.Queue[float | str]) -> None:
    """One thread for all connections: what the client spends, the web process lacks."""
    waiting = iter(wire)
    unanswered: dict[socket.socket, bytes] = {}
    began = time.monotonic()
    with selectors.DefaultSelector() as selector, ExitStack() as stack:

        def tell_next(one: socket.socket) -> None:
            request = next(waiting, None)
            if request is None:
                selector.unregister(one)
                return
            unanswered[one] = b""
            one.settimeout(60)
            one.sendall(request)

        for _ in range(connections):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            selector.register(one, selectors.EVENT_READ)
            tell_next(one)
        while unanswered:
            for key, _ in selector.select():
                one = key.fileobj
                assert isinstance(one, socket.socket)
                answer = unanswered[one] + (read := one.recv(65_536))
                unanswered[one] = answer
                if not read or not answer.startswith(b"HTTP/1.1 200 "[: len(answer)]):
                    results.put(f"a request was answered: {answer.decode(errors='replace')}")
                    return
                if _is_whole(answer):
                    del unanswered[one]
                    tell_next(one)
    results.put(time.monotonic() - began)


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    return bool(end) and len(body) == int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])


def say(what: str) -> None:
    print(what, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

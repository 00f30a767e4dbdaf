"""How many events a second come in by webhook, and how many are acted on: ``python -m benchmarks.webhooks``.

The real ``mailer web`` takes in requests over HTTP, kept-alive connections from a process of its own: SendGrid's signed
batches, and Postmark's single events. Each is in the store when it is answered. Then a worker's round acts on all of
them, for a list and a send that exist. SQLite with ``synchronous=FULL``; PostgreSQL with its default settings.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.postgres import postgres
from mailer.bounces.event import EventType
from mailer.config import load_settings, secret_key
from mailer.model.ledger import Outcome, RecipientState, Reply, Send, SendKind, WorkerId
from mailer.service.events import CHUNK, act_on_events
from mailer.service.ports import Incoming, NewSend
from mailer.store import SqlStore, migrate, open_store
from mailer.wire.message_id import make_message_id
from tests.servers.senders import Told, sections_toml, sign

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


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run came to. ``cpu``: of the web process, milliseconds an event."""

    store: str
    what: str
    events: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        return self.events / self.seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table, and exits 1 if ``--at-least`` isn't reached by the signed batches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000, help="events of each kind of request")
    parser.add_argument("--batch", type=int, default=500, help="events of one of SendGrid's requests")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--stores", default="sqlite,postgresql")
    parser.add_argument("--at-least", type=float, default=0.0, help="events a second taken in by signed batches")
    options = parser.parse_args(arguments)
    found: list[Figures] = []
    with ExitStack() as stack:
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
    print(f"{'store':<12}{'what':<44}{'events':>8}{'seconds':>9}{'events/s':>10}{'web CPU ms':>12}")
    for one in found:
        print(f"{one.store:<12}{one.what:<44}{one.events:>8}{one.seconds:>9.2f}{one.rate:>10,.0f}{one.cpu:>12.3f}")
    slowest = min((one.rate for one in found if one.what.startswith("SendGrid")), default=0.0)
    return int(slowest < options.at_least)


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
        for what, provider, batch, event in (
            (f"SendGrid, signed, {options.batch} a request", "sendgrid", options.batch, sendgrid_event),
            ("Postmark, password, one a request", "postmark", 1, postmark_event),
        ):
            say(f"{name}: {what}")
            made = [
                event(n, make_message_id(secret, send.id, n, "garten.example")) for n in range(1, options.events + 1)
            ]
            requests = [made[at : at + batch] for at in range(0, len(made), batch)]
            tellings = [sign(provider, json.dumps(one if batch > 1 else one[0]).encode()) for one in requests]
            with web(config) as (pid, port):
                before = cpu_seconds(pid)
                seconds = tell(port, provider, tellings, options.connections)
                spent = cpu_seconds(pid) - before
            waiting, _ = store.events.backlog()
            if waiting != options.events:
                raise SystemExit(f"{waiting} events are in the inbox, not {options.events}")
            yield Figures(name, f"{what}: taken in", options.events, seconds, 1000 * spent / options.events)
            began, used = time.monotonic(), time.process_time()
            while act_on_events(store.events, secret, 5, time.time()) >= CHUNK:
                pass
            seconds, used = time.monotonic() - began, time.process_time() - used
            yield Figures(name, "the same: acted on", options.events, seconds, 1000 * used / options.events)
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


def sendgrid_event(number: int, message_id: str) -> dict[str, object]:
    return {
        "email": f"p{number}@example.com",
        "timestamp": int(NOW),
        "smtp-id": message_id,
        "category": ["newsletter"],
        "sg_event_id": f"{number:022d}",
        "sg_message_id": f"{number:022d}.filter0001.16648.5515E0B88.0",
        **SENDGRID[kind(number)],
    }


def postmark_event(number: int, message_id: str) -> dict[str, object]:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW))
    return {
        "ID": number,
        "MessageID": f"00000000-0000-4000-8000-{number:012d}",
        "Email": f"p{number}@example.com",
        "Recipient": f"p{number}@example.com",
        "BouncedAt": at,
        "MessageStream": "broadcast",
        "Metadata": {"message_id": message_id},
        **POSTMARK[kind(number)],
        # Deliveries and changes have no number of their own: the object stands for the event.
    }


@contextmanager
def web(config: Path) -> Iterator[tuple[int, int]]:
    """``mailer web``: its process id and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mailer", "web", "--port", str(port), "--config", str(config)]
    with (config.parent / "web.log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
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
    raise SystemExit("mailer web doesn't come up: python -m mailer web says why")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
    wrong: list[str] = []

    def work(first: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as one, one.makefile("rb") as answers:
            for request in wire[first::connections]:
                one.sendall(request)
                status = answers.readline()
                length = 0
                while (line := answers.readline().strip().lower()) != b"":
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                answers.read(length)
                if b" 200 " not in status:
                    wrong.append(status.decode(errors="replace"))
                    return

    threads = [threading.Thread(target=work, args=(n,)) for n in range(connections)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(f"a request was answered: {wrong[0]}" if wrong else time.monotonic() - began)


def say(what: str) -> None:
    print(what, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

"""What ``mailer web`` has answered with 200 survives it: the real process, killed in the moment after."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mailer.store.store import open_store
from tests.servers.senders import BASE_URL, said, sections_toml, sign, tell
from tests.servers.waiting import until
from tests.servers.web import ask

pytest_plugins = ("tests.servers.postgres",)


@contextmanager
def web(config: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """``mailer web`` on a free port, until it is terminated; gives the process and its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mailer", "web", "--port", str(port), "--config", str(config)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAILER_")}
    with (config.parent / "web.log").open("ab") as log, subprocess.Popen(command, stderr=log, env=environment) as made:
        try:
            assert until(lambda: made.poll() is not None or _listens(port))
            yield made, f"http://127.0.0.1:{port}"
        finally:
            made.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_killed(tmp_path: Path, store_url: str) -> None:
    """After kill -9 right behind the 200 its events are in the store; the next process knows what came before, and
    which of Mailgun's tokens. Told to end, it still says what was taken in."""
    config = tmp_path / "mailer.toml"
    config.write_text(
        f'[publication]\nname = "B"\nbase_url = "{BASE_URL}"\n[store]\nurl = "{store_url}"\n{sections_toml()}'
    )
    first = sign("mailgun", said("mailgun", "a@example.com"), token="t" * 50)
    with web(config) as (process, base):
        told = tell("sendgrid", *(f"p{n}@example.com" for n in range(500)))
        answers = [
            ask(f"{base}/webhooks/{name}", "POST", one.body, **one.headers)
            for name, one in (("mailgun", first), ("sendgrid", told))
        ]
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    assert [answer.status for answer in answers] == [200, 200]
    with closing(open_store(store_url)) as store:
        assert len(store.events.waiting(1000)) == 501
        with web(config) as (_, base):
            forged = sign("mailgun", said("mailgun", "b@example.com"), token="t" * 50)
            answers = [
                ask(f"{base}/webhooks/{name}", "POST", one.body, **one.headers)
                for name, one in (("mailgun", forged), ("mailgun", first), ("sendgrid", told), ("sendgrid", told))
            ]
        assert [answer.status for answer in answers] == [403, 200, 200, 200]
        assert len(store.events.waiting(1000)) == 501
    written = (tmp_path / "web.log").read_text()
    assert written.count("/webhooks/sendgrid: events=500 requests=1 taken in") == 3
    assert "@example.com" not in written

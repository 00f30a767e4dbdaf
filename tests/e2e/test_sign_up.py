"""Signing up from outside: ``mailer up``, the form, the mail, its link, and the next send's audience."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from mailer.service.sign_up import SignUp
from mailer.store import open_store
from tests.servers.command_line import command
from tests.servers.publisher import SAMPLE
from tests.servers.waiting import until
from tests.servers.web import Answer, ask

pytest_plugins = ("tests.servers.postgres", "tests.servers.publisher")

FORM = "application/x-www-form-urlencoded"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MAILER_")}
TITLE = re.compile("<h1>(.*?)</h1>")


class House:
    """A small publisher: one folder, ``mailer up``, and mail that is captured as files."""

    def __init__(self, home: Path, store_url: str) -> None:
        self.home, self.store_url = home, store_url
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        (home / "mailer.toml").write_text(
            f"""[publication]
name = "Gartenbote"
from = "Gartenbote <bote@garten.example>"
base_url = "{self.base}"
language = "de"
postal_address = "Gartenbote, Beet 1, Grünstadt"
[store]
url = "{store_url}"
[bounces]
return_path = "bounces@garten.example"
"""
        )

    def run(self, *arguments: str, given: bytes = b"") -> Any:
        """Runs a command; gives its JSON (a list of the lines, where there are several)."""
        done = command(self.home, *arguments, "--json", given=given)
        assert done.status == 0, done.err
        return done.json

    def subscribe(self, email: str, **fields: str) -> Answer:
        return ask(f"{self.base}/subscribe", "POST", urlencode({"email": email, **fields}).encode(), FORM)

    def unsubscribe(self, email: str) -> None:
        """By the link in the first issue."""
        issues = self.home / "mailer-data" / "captured" / "kw1-1"
        mails = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in issues.glob("*.eml")]
        (header,) = [str(mail["List-Unsubscribe"]) for mail in mails if mail["To"] == email]
        assert ask(header.split(",")[0].strip("<>"), "POST", b"List-Unsubscribe=One-Click", FORM).status == 200

    def letters(self) -> dict[str, EmailMessage]:
        """What was captured beside sends, by recipient."""
        found = {}
        for path in (self.home / "mailer-data" / "captured").glob("confirmation/*.eml"):
            message = message_from_bytes(path.read_bytes(), policy=policy.default)
            assert isinstance(message, EmailMessage)
            found[str(message["To"])] = message
        return found

    def link(self, email: str) -> str:
        """The link in the letter to somebody, the same in both parts."""
        assert until(lambda: email in self.letters()), self.log
        parts = [self.letters()[email].get_body((kind,)) for kind in ("plain", "html")]
        found = {re.search(rf"{self.base}/confirm/[\w-]+", part.get_content()) for part in parts if part}
        links = {one[0] for one in found if one}
        assert len(links) == 1, links
        return links.pop()

    def audience(self, slug: str) -> set[str]:
        """Who gets the next send."""
        (self.home / f"{slug}.md").write_text(SAMPLE.read_text())
        send = self.run("send", f"{slug}.md", "--yes", "--wait")["send"]
        return {row["email"] for row in self.run("recipients", send)}

    def suppressed(self) -> dict[str, str]:
        return {one["email"]: one["reason"] for one in self.run("suppressions", "list")}

    @property
    def log(self) -> str:
        return (self.home / "up.log").read_text()


@pytest.fixture
def house(tmp_path: Path, store_url: str) -> Iterator[House]:
    house = House(tmp_path, store_url)
    program = [sys.executable, "-m", "mailer", "up", "--port", str(house.port)]
    with (
        (tmp_path / "up.log").open("ab") as log,
        subprocess.Popen(program, cwd=tmp_path, env=ENVIRONMENT, stderr=log, stdin=subprocess.DEVNULL) as up,
    ):
        try:
            assert until(lambda: up.poll() is not None or ready(house), 60), house.log
            yield house
        finally:
            up.send_signal(signal.SIGTERM)
            assert up.wait(60) == 0, house.log


def ready(house: House) -> bool:
    try:
        return ask(f"{house.base}/readyz").status == 200
    except OSError:
        return False


def title(answer: Answer) -> str:
    found = TITLE.search(answer.text)
    return found[1] if found else ""


def bounce(letter: EmailMessage, recipient: str) -> bytes:
    """A report that a letter came back, to the address that it was sent from."""
    return (
        "From: Mail Delivery Subsystem <mailer-daemon@mx.example.net>\r\n"
        "Delivered-To: bounces@garten.example\r\nSubject: Undelivered Mail Returned to Sender\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nThe mailbox doesn't exist.\r\n\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n"
        f"Final-Recipient: rfc822; {recipient}\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {letter['Message-ID']}\r\n"
        f"From: bote@garten.example\r\nTo: {recipient}\r\n\r\n--b--\r\n"
    ).encode()


def test_sign_up(house: House) -> None:
    """The form answers everybody alike; the mail comes to those who may get it; its link subscribes whoever is new, had
    left or had bounced, and nobody else; who has complained gets nothing until an operator allows it."""
    people = "email\nhere@garten.example\nleft@garten.example\nbad@garten.example\nspam@garten.example\n"
    (house.home / "people.csv").write_text(people)
    house.run("subscribers", "import", "people.csv")
    house.run("suppressions", "add", "bad@garten.example", "--reason", "bounced")
    house.run("suppressions", "add", "spam@garten.example", "--reason", "complained")
    assert house.audience("kw1") == {"here@garten.example", "left@garten.example"}
    house.unsubscribe("left@garten.example")
    assert house.audience("kw2") == {"here@garten.example"}

    names = ("new", "here", "left", "bad", "spam", "nobody")
    answers = [house.subscribe(f"{name}@garten.example", first_name="Anna") for name in names]
    assert {(one.status, one.text) for one in answers} == {(200, answers[0].text)}
    assert title(answers[0]) == "Schau in dein Postfach"

    link = house.link("new@garten.example")
    letter = house.letters()["new@garten.example"]
    assert letter["From"] == "Gartenbote <bote@garten.example>"
    assert letter["Subject"] == "Bitte bestätigen: Gartenbote"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert "List-Unsubscribe" not in letter
    assert [ask(link).status for _ in range(2)] == [200, 200]  # a scanner follows it
    again = [ask(link, "POST", b"confirm=yes", FORM) for _ in range(2)]
    assert [(one.status, title(one)) for one in again] == [(200, "Du hast abonniert")] * 2
    assert title(ask(house.link("left@garten.example"), "POST", b"", FORM)) == "Du hast abonniert"
    bounced = house.link("bad@garten.example")
    assert house.suppressed() == {"bad@garten.example": "bounced", "spam@garten.example": "complained"}
    assert title(ask(bounced, "POST", b"", FORM)) == "Du hast abonniert"
    assert house.suppressed() == {"spam@garten.example": "complained"}

    assert until(lambda: "here@garten.example" in house.letters()), house.log
    known = house.letters()["here@garten.example"]
    assert known["Subject"] == "Du hast schon abonniert: Gartenbote"
    assert "/confirm/" not in known.as_string()

    # Whatever Redis has forgotten, or never heard of, the reconciler finds.
    with closing(open_store(house.store_url)) as store:
        assert store.sign_ups.ask(SignUp("lost@garten.example", "lost@garten.example"), time.time(), 100)
    house.link("lost@garten.example")

    # A bounce of such a letter says something about who typed the address, and changes nothing.
    assert until(lambda: "nobody@garten.example" in house.letters()), house.log
    told = house.run(
        "bounces", "ingest", given=bounce(house.letters()["nobody@garten.example"], "nobody@garten.example")
    )
    assert (told["kind"], told["events"][0]["verified"]) == ("bounce", False)
    assert set(house.letters()) == {f"{name}@garten.example" for name in names if name != "spam"} | {
        "lost@garten.example"
    }

    everybody = {f"{name}@garten.example" for name in ("new", "here", "left", "bad")}
    assert house.audience("kw3") == everybody
    assert house.suppressed() == {"spam@garten.example": "complained"}

    house.run("suppressions", "remove", "spam@garten.example")
    assert house.audience("kw4") == everybody | {"spam@garten.example"}
    assert not re.search(r"[a-z]+@garten\.example", re.sub(r"addr:\w+@garten\.example", "", house.log)), "an address"

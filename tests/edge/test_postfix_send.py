"""A whole send through a real Postfix: commands and a worker as processes, a mailbox at the end."""

from __future__ import annotations

import base64
import csv
import re
from collections import Counter
from collections.abc import Callable

import dkim
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mailer.config import load_settings
from mailer.config.facts import send_facts
from mailer.model.ledger import Recipient, SendId
from mailer.store import open_store
from mailer.wire.freeze import freeze
from tests.servers.postfix import PostfixServer
from tests.servers.publisher import NASTY, Publisher

pytest_plugins = ("tests.servers.postgres", "tests.servers.publisher", "tests.servers.postfix")

Publish = Callable[..., Publisher]

ISSUE = """\
---
title: Frost
subject: "{{ subscriber.first_name }}: {{ subscriber.note }}"
preheader: P
author: A
date: 2026-05-11
language: de
---

Hallo {{ subscriber.first_name }} {{ subscriber.last_name }}!

{{ subscriber.note }}

[{{ subscriber.note }}](https://garten.example/?note={{ subscriber.note }})

.{{ subscriber.note }}.

{% if subscriber.note %}{{ subscriber.note }}{% endif %}
"""

NOTES = {
    "long": "x" * 1_000,
    "wide": "ü " * 500,
    "emoji": "👩‍👩‍👧‍👦" * 90,
    "dots": ".\r\n.\n..\n.\n",
    "end": "a\r\n.\r\nQUIT\r\n",
    "cr": "a\rb\r.\r",
    "ls": "a\u2028.\u2029.\x85.",
    "eq": "=\n==\n=0D=0A.\n=  ",
    "eve": "\r\nBcc: gone@example.com\r\n\r\nHi",
    "from": "From me\nFrom you",
}
"""What stands in the column ``note`` of the subscribers of these names at ``example.com``; an import takes no more than
1,000 characters."""


def through(publisher: Publisher, postfix: PostfixServer) -> None:
    """Puts Postfix in the place of the publisher's own relay."""
    path = publisher.home / "mailer.toml"
    text, changed = re.subn(r"(?m)^port = \d+$", f"port = {postfix.port}", path.read_text())
    assert changed == 1
    path.write_text(text)


def subscribe(publisher: Publisher, readers: int) -> None:
    """The nasty names, the nasty notes, and so many ordinary readers."""
    path = publisher.home / "people.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["email", "first_name", "last_name", "note"])
        rows.writerows((*columns, "") for columns in NASTY)
        rows.writerows((f"{name}@example.com", name, "", note) for name, note in NOTES.items())
        rows.writerows((f"leser{n}@firma{n % 7}.example", f"Vorname{n}", "", "") for n in range(readers))
    report = publisher.json("subscribers", "import", str(path))
    assert (report["added"], report["refused"]) == (len(NASTY) + len(NOTES) + readers, [])


def made(publisher: Publisher, send_id: str) -> list[bytes]:
    """What each recipient of a send must get, made once more."""
    loaded = load_settings(publisher.home / "mailer.toml", {})
    store = open_store(loaded.store_url)
    try:
        send = store.sends.get(SendId(send_id))
        frozen = freeze(store.issues.get(send.artefact), send_facts(loaded, send))
        people = {one.email: one for one in store.subscribers.each()}
        rows = list(store.sends.recipients(send.id, None))
        recipients = [Recipient(send.id, row.position, 1, row.email, 0, None, people[row.email]) for row in rows]
        return [frozen.assemble(recipient).message for recipient in recipients]
    finally:
        store.close()


def test_everybody_once(publish: Publish, postfix: PostfixServer, sqlite_url: str) -> None:
    """Each of some hundred subscribers finds the issue once, byte for byte as it is made for them, and the signature
    holds; the ledger says ``sent`` of each, with Postfix's words."""
    private = generate_private_key(65537, 2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    publisher = publish(sqlite_url, more=f'[dkim]\ndomain = "garten.example"\nselector = "s"\nkey = """\n{pem}"""\n')
    through(publisher, postfix)
    subscribe(publisher, 277)
    issue = publisher.home / "issue.md"
    issue.write_text(ISSUE)
    with publisher.worker():
        send = publisher.json("send", str(issue), "--yes")["send"]
        arrived = postfix.wait_arrived(300, 60)
        status = publisher.wait_finished(send)
    assert status["counts"]["sent"] == status["audience"] == 300
    rows = publisher.json("recipients", send)
    assert {(row["state"], row["code"], row["attempts"]) for row in rows} == {("sent", 250, 1)}
    assert all(re.fullmatch(r"2\.0\.0 Ok: queued as [0-9A-F]+", row["reply"]) for row in rows)
    assert len(postfix.wait_arrived(300)) == 300
    assert Counter(one.content for one in arrived) == Counter(made(publisher, send))
    punycode = {row["email"].replace("müller", "xn--mller-kva") for row in rows}
    assert Counter(one.recipient for one in arrived) == Counter(punycode)
    der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)
    assert all(dkim.verify(one.content, dnsfunc=lambda name, timeout=0: record) for one in arrived)

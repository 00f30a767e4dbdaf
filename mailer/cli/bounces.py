"""``mailer bounces``: says what mail that came back means, and acts on it."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click

from mailer.bounces.event import Event
from mailer.bounces.message import read_messages
from mailer.cli.common import config_option, load
from mailer.cli.edges import opened
from mailer.cli.output import err, out, plural, print_json_line
from mailer.config import Loaded, secret_key
from mailer.errors import ConfigError, MailboxError, MailerError, StoreError, StoreUnavailable
from mailer.mailbox.imap import open_folder
from mailer.mailbox.maildir import mark_read, read_mail, unread_mails
from mailer.model.settings import Imap
from mailer.service.ports import Store
from mailer.service.reports import MAX_MAIL, Taken, act_on_reports, receive_mail

json_lines = click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")

STDIN = "-"

MOST_SKIPPED = 10
"""Mails of an IMAP folder that may be unreadable: more, and it is the server that can't be used."""


@click.group()
@config_option
def command() -> None:
    """Read bounces, complaints and unsubscribe requests that came by mail."""


@command.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@json_lines
@config_option
@click.pass_context
def parse(ctx: click.Context, files: tuple[str, ...], as_json: bool) -> None:
    """Say what each FILE means (- is standard input); changes nothing. A file is a mail or an mbox."""
    failed = False
    for name in files:
        try:
            reports = read_messages(_content(name))
        except MailboxError as error:
            failed = True
            if as_json:
                print_json_line({"file": name, "kind": "other", "events": [], "error": str(error)})
            else:
                err.print(str(error), style="red", markup=False)
            continue
        kind = next((report.kind for report in reports if report.kind != "other"), "other")
        events = [event for report in reports for event in report.events]
        if as_json:
            shown = [_as_json(event) for event in events]
            print_json_line({"file": name, "kind": kind, "events": shown, "error": None})
        else:
            out.print(f"{name}: {kind}", markup=False)
            for event in events:
                out.print(f"  {_in_words(event)}", markup=False)
    ctx.exit(int(failed))


@command.command()
@click.argument("files", nargs=-1, metavar="[FILE…]")
@click.option(
    "--maildir",
    type=click.Path(path_type=Path),
    help="Read what is unread in a Maildir (new/, and cur/ without the flags S and T), and mark it as read.",
)
@click.option("--imap", is_flag=True, help="Read the mailbox of [bounces.imap], and move what was read.")
@click.option("--every", type=click.IntRange(min=1), metavar="SECONDS", help="Go on reading a mailbox, so often.")
@json_lines
@config_option
@click.pass_context
def ingest(
    ctx: click.Context, files: tuple[str, ...], maildir: Path | None, imap: bool, every: int | None, as_json: bool
) -> None:
    """Read mail that came back, and act on it. Without FILE and mailbox it is read from standard input.

    A mail is marked or moved only after what it says is stored. Exit status 75 (try again later) when configuration
    or database can't be used and the mail came by standard input, so that a mail server keeps it.
    """
    if bool(files) + bool(maildir) + imap > 1:
        raise click.UsageError("Give FILEs, --maildir or --imap: one of them.")
    if every and not (maildir or imap):
        raise click.UsageError("--every goes with --maildir or --imap.")
    names = files or (() if maildir or imap else (STDIN,))
    try:
        loaded = load()
        if imap and not loaded.settings.bounces.imap.host:
            todo = "Give host, username and password."
            raise ConfigError("no mailbox is configured", where="bounces.imap", todo=todo)
        with opened(loaded, must_exist=True) as store:
            read = partial(_read, loaded, store, as_json, set(), names, maildir)
            if every is None:
                ctx.exit(int(read()))
            while True:
                try:
                    read()
                except (MailboxError, StoreUnavailable) as error:  # what wasn't read is there the next time
                    err.print(f"{error} Trying again in {every} s.", style="red", markup=False)
                time.sleep(every)
    except (ConfigError, StoreError) as error:
        # A database that waits for "mailer migrate", too: with any other status the mail server would drop the mail.
        if STDIN not in names:
            raise
        err.print(str(error), style="red", markup=False)
        ctx.exit(os.EX_TEMPFAIL)


def _read(
    loaded: Loaded,
    store: Store,
    as_json: bool,
    unreadable: set[tuple[str, str]],
    names: tuple[str, ...],
    maildir: Path | None,
) -> bool:
    """One round; gives whether something couldn't be read. Without names and Maildir it is the mailbox."""
    reader = _Reader(loaded, store, as_json, unreadable)
    try:
        if maildir is not None:
            _read_maildir(reader, maildir)
        elif names:
            _read_files(reader, names)
        else:
            _read_imap(reader, loaded.settings.bounces.imap)
    except MailboxError:
        reader.act()  # on what was read before: it is marked or moved, and doesn't come again
        raise
    reader.act()
    return reader.failed


@dataclass(slots=True)
class _Reader:
    """One round: what was read so far. ``unreadable``: what couldn't be read, and why, in this round and those before;
    ``failed``: something couldn't be read in this one."""

    loaded: Loaded
    store: Store
    as_json: bool
    unreadable: set[tuple[str, str]]
    failed: bool = False
    kinds: Counter[str] = field(default_factory=Counter)
    unverified: int = 0
    stored: int = 0

    def take(self, name: str, raw: bytes) -> None:
        """Stores what a mail says. Raises ``StoreError``."""
        for taken in receive_mail(self.store, secret_key(self.loaded), raw, time.time()):
            self.kinds[taken.kind] += 1
            self.stored += taken.stored
            self.unverified += sum(not one.verified for one in taken.events)
            self._say(name, taken)

    def say_unreadable(self, name: str, error: MailerError) -> None:
        """Something can't be read; the others can. Said once, not again in every round."""
        self.failed = True
        if (name, str(error)) in self.unreadable:
            return
        self.unreadable.add((name, str(error)))
        if self.as_json:
            line = {"file": name, "kind": "other", "events": [], "stored": 0, "error": str(error)}
            print_json_line(line)
        err.print(str(error), style="red", markup=False)

    def act(self) -> None:
        """Acts on what is stored; workers would, too. Raises ``StoreError``.

        Also when nothing is new: a round that was killed, or had no database left, may have stored it.
        """
        act_on_reports(self.store, secret_key(self.loaded), self.loaded.settings.bounces, time.time)
        if not self.as_json and self.kinds:
            found = ", ".join(plural(count, kind, _PLURALS[kind]) for kind, count in sorted(self.kinds.items()))
            out.print(f"{found}: {plural(self.stored, 'new event')}.", markup=False)
            if self.unverified:
                out.print(
                    f"{plural(self.unverified, 'event')} without a valid token: unverified, nothing changes.",
                    markup=False,
                )

    def _say(self, name: str, taken: Taken) -> None:
        if self.as_json:
            events = [
                _as_json(one.event) | {"verified": one.verified, "send": one.send, "position": one.position}
                for one in taken.events
            ]
            line = {"file": name, "kind": taken.kind, "events": events, "stored": taken.stored, "error": None}
            print_json_line(line)


_PLURALS = {
    "bounce": "bounces",
    "complaint": "complaints",
    "auto-reply": "auto-replies",
    "delivery": "delivery confirmations",
    "other": "others",
}


def _read_files(reader: _Reader, names: tuple[str, ...]) -> None:
    for name in names:
        try:
            content = _content(name)
        except MailboxError as error:
            reader.say_unreadable(name, error)
            continue
        reader.take(name, content)


def _read_maildir(reader: _Reader, maildir: Path) -> None:
    for path in unread_mails(maildir):
        try:
            raw = read_mail(path, MAX_MAIL)
            if raw is None:
                continue
            reader.take(str(path), raw)
            mark_read(path)
        except MailboxError as error:
            reader.say_unreadable(str(path), error)


def _read_imap(reader: _Reader, settings: Imap) -> None:
    """All that can be read. A mail that can't stays where it is, and is tried again in the next round."""
    skipped: set[int] = set()
    while (uid := _read_session(reader, settings, skipped)) is not None:
        skipped.add(uid)


def _read_session(reader: _Reader, settings: Imap, skipped: set[int]) -> int | None:
    """One session, without the mails to be skipped; gives the mail that can't be read and has ended it, else None."""
    with open_folder(settings) as folder:
        for uid in folder.numbers():
            if uid in skipped:
                continue
            try:
                raw = folder.read(uid, MAX_MAIL)
            except MailboxError as error:
                if len(skipped) == MOST_SKIPPED:
                    raise
                reader.say_unreadable(folder.called(uid), error)
                return uid
            if raw is not None:
                reader.take(folder.called(uid), raw)
                folder.move(uid)
    return None


def _content(name: str) -> bytes:
    """Raises ``MailboxError``."""
    try:
        return sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
    except OSError as error:
        raise MailboxError(f"can't be read: {error.strerror}", where=name) from None


def _as_json(event: Event) -> dict[str, Any]:
    """Without ``raw``, which is the mail itself."""
    return {
        "type": event.type.value,
        "recipient": event.recipient,
        "permanent": event.permanent,
        "reason": event.reason and event.reason.value,
        "status": event.status,
        "diagnostic": event.diagnostic,
        "message_id": event.message_id,
        "event_id": event.event_id,
        "timestamp": event.timestamp,
    }


def _in_words(event: Event) -> str:
    lasting = {True: "for good", False: "for now", None: ""}[event.permanent]
    words = (event.recipient or "(nobody named)", event.type.value, lasting, event.status, event.diagnostic)
    return " · ".join(word for word in words if word)

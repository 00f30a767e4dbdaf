"""``mailer bounces``: from files, standard input, a Maildir and a real IMAP server, into a real store."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailer.cli.main import run
from mailer.config import load_settings, secret_key
from mailer.errors import StoreUnavailable
from mailer.mailbox.maildir import mark_read, read_mail, unread_mails
from mailer.model.ledger import Send, SendKind
from mailer.model.settings import Imap
from mailer.service.ports import Incoming, NewSend
from mailer.store import SqlStore, open_store
from mailer.wire.verp import ReturnPaths
from tests.servers.dovecot import PASSWORD, DovecotServer
from tests.servers.postfix_pipe import PostfixPipe
from tests.servers.smtp import AUTHORITY
from tests.servers.waiting import until

pytest_plugins = ("tests.servers.postgres", "tests.servers.dovecot")

SEPARATOR = b"From bounces@mx.example.net Mon Jun  9 07:00:00 2025\n"
NAMES = ("anna", "bob", "cem")
VACATION = (
    b"From: x@example.com\nTo: bounces@example.com\nAuto-Submitted: auto-replied\nSubject: Abwesend\n\nBis bald.\n"
)


class Office:
    """A publisher's folder with a send to three people."""

    def __init__(self, home: Path, url: str) -> None:
        self.home = home
        (home / "mailer.toml").write_text(
            f'[publication]\nfrom = "News <news@example.com>"\n[store]\nurl = "{url}"\n'
            '[bounces]\nreturn_path = "bounces@example.com"\n'
        )
        self.secret = secret_key(load_settings(home / "mailer.toml", {}))
        self.store: SqlStore = open_store(url)
        self.store.subscribers.upsert([Incoming(f"{name}@example.com", f"{name}@example.com") for name in NAMES], 1.0)
        new = NewSend("kw24", SendKind.ISSUE, "digest", time.time())
        self.send: Send = self.store.sends.create(new, None, time.time())

    def imap(self, server: DovecotServer, user: str, **more: object) -> None:
        """Configures the bounce mailbox."""
        keys = {
            "host": "localhost",
            "port": server.tls_port,
            "username": user,
            "password": PASSWORD,
            "ca_file": str(AUTHORITY),
            **more,
        }
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        with (self.home / "mailer.toml").open("a") as file:
            file.write(f"[bounces.imap]\n{lines}")

    def return_path(self, position: int) -> str:
        """Where a report about a message is sent."""
        return ReturnPaths.of(self.secret, "bounces", "example.com", self.send.key).make(position)[0]

    def bounce(self, position: int) -> bytes:
        """A report about a message, from a mailer that never heard of RFC 3464."""
        return (
            "From: MAILER-DAEMON@mx.example.net\n"
            f"To: {self.return_path(position)}\n"
            "Subject: failure notice\n\n"
            "Hi. This is the qmail-send program at mx.example.net.\n"
            "I'm afraid I wasn't able to deliver your message to the following addresses.\n"
            "This is a permanent error; I've given up. Sorry it didn't work out.\n\n"
            f"<{NAMES[position - 1]}@example.com>:\n"
            "Sorry, no mailbox here by that name. (#5.1.1)\n"
        ).encode()

    @property
    def suppressed(self) -> list[str]:
        return sorted(one.email.partition("@")[0] for one in self.store.suppressions.each())


@pytest.fixture
def office(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    monkeypatch.chdir(tmp_path)
    made = Office(tmp_path, sqlite_url)
    yield made
    made.store.close()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_parse_needs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``parse`` says what each file means, a line each, without configuration or database; a file that can't be read
    is said so in its line, and the exit status is 1."""
    monkeypatch.chdir(tmp_path)
    Path("vacation.eml").write_bytes(VACATION)
    assert run(["bounces", "parse", "--json", "vacation.eml", "missing.eml"]) == 1
    vacation, missing = lines(capsys)
    assert (vacation["file"], vacation["kind"], vacation["error"]) == ("vacation.eml", "auto-reply", None)
    assert [event["type"] for event in vacation["events"]] == ["autoresponded"]
    assert (missing["events"], "No such file" in missing["error"]) == ([], True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vacation.eml"]


def test_files(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    """Files are read and acted on, an mbox too; a second time nothing is new."""
    Path("one.eml").write_bytes(office.bounce(1))
    Path("box").write_bytes(SEPARATOR + office.bounce(2) + b"\n" + SEPARATOR + VACATION)
    assert run(["bounces", "ingest", "--json", "one.eml", "box"]) == 0
    first = lines(capsys)
    assert [(line["file"], line["kind"], line["stored"]) for line in first] == [
        ("one.eml", "bounce", 1),
        ("box", "bounce", 1),
        ("box", "auto-reply", 1),
    ]
    assert [line["events"][0]["verified"] for line in first] == [True, True, False]
    assert office.suppressed == ["anna", "bob"]
    assert run(["bounces", "ingest", "--json", "one.eml"]) == 0
    assert [line["stored"] for line in lines(capsys)] == [0]


def pipe(office: Office, mail: bytes, *options: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "mailer", "bounces", "ingest", *options],
        cwd=office.home,
        input=mail,
        capture_output=True,
        check=False,
    )


def test_pipe(office: Office) -> None:
    """A mail server pipes a mail in: exit status 0 when it is stored and acted on."""
    assert pipe(office, office.bounce(1)).returncode == 0
    assert office.suppressed == ["anna"]


@pytest.mark.parametrize("trouble", ["no database", "another schema", "no configuration", "wrong configuration"])
def test_pipe_while_out_of_order(office: Office, trouble: str) -> None:
    """Whatever is wrong with configuration or database, a piped mail is to be tried again: with another exit status the
    mail server would drop it."""
    path = Path(load_settings(office.home / "mailer.toml", {}).store_url.removeprefix("sqlite:///"))
    if trouble == "no database":
        (office.home / "mailer.toml").write_text('[store]\nurl = "sqlite:///elsewhere.db"\n')
    elif trouble == "another schema":
        with sqlite3.connect(path) as database:
            database.execute("UPDATE alembic_version SET version_num = '9999'")
    elif trouble == "no configuration":
        (office.home / "mailer.toml").rename(office.home / "mailer.toml.before")
    else:
        (office.home / "mailer.toml").write_text("[store\n")
    done = pipe(office, office.bounce(1), "--config", "mailer.toml")
    assert (done.returncode, b"Traceback" in done.stderr) == (75, False), done.stderr
    assert office.suppressed == []


@pytest.fixture
def pipe_of_postfix(office: Office) -> Iterator[PostfixPipe]:
    with PostfixPipe(office.home) as made:
        yield made


def report_through(office: Office, pipe_of_postfix: PostfixPipe, *positions: int) -> None:
    """A mail server sends one mail to the return paths of these people's messages."""
    with smtplib.SMTP("127.0.0.1", pipe_of_postfix.postfix.port, timeout=20) as client:
        recipients = [office.return_path(position) for position in positions]
        mail = office.bounce(positions[0]).replace(b"To: bounces+", b"To: somebody+").replace(b"\n", b"\r\n")
        client.sendmail("", recipients, mail)


def test_postfix_pipes(office: Office, pipe_of_postfix: PostfixPipe) -> None:
    """Postfix, set up as the docs say, hands a report over; the token in the envelope is enough. What is sent to
    several return paths is handed over for each."""
    report_through(office, pipe_of_postfix, 1)
    assert until(lambda: office.suppressed == ["anna"], 30), pipe_of_postfix.postfix.log()
    report_through(office, pipe_of_postfix, 2, 3)
    assert until(lambda: len(pipe_of_postfix.runs) == 3, 60), pipe_of_postfix.postfix.log()
    assert pipe_of_postfix.statuses == [0, 0, 0]
    assert office.suppressed == ["anna", "bob", "cem"]
    assert until(pipe_of_postfix.postfix.idle, 20)
    assert office.store.sends.status(office.send.id, time.time()).bounced == 3


@pytest.mark.parametrize(("trouble", "tries"), [("locked", 1), ("wrong configuration", 2)])
def test_postfix_keeps_what_cannot_be_stored(
    office: Office, pipe_of_postfix: PostfixPipe, trouble: str, tries: int
) -> None:
    """While the database is locked or the configuration wrong Postfix keeps the mail and tries again; when that is over
    it is stored once and acted on."""
    postfix = pipe_of_postfix.postfix
    config = office.home / "mailer.toml"
    before = config.read_text()
    path = load_settings(config, {}).store_url.removeprefix("sqlite:///")
    with sqlite3.connect(path, isolation_level=None) as locking:
        if trouble == "locked":
            locking.execute("BEGIN EXCLUSIVE")
        else:
            config.write_text("[store\n")
        report_through(office, pipe_of_postfix, 1)
        assert until(lambda: len(pipe_of_postfix.runs) >= tries, 90), postfix.log()
        assert not postfix.idle()
        if trouble == "locked":
            locking.execute("ROLLBACK")
        else:
            config.write_text(before)
    assert until(lambda: 0 in pipe_of_postfix.statuses and postfix.idle(), 60), postfix.log()
    assert set(pipe_of_postfix.statuses[:-1]) == {os.EX_TEMPFAIL}
    assert pipe_of_postfix.statuses.count(0) == 1
    assert not any(b"Traceback" in done.stderr for done in pipe_of_postfix.runs)
    assert office.suppressed == ["anna"]
    assert office.store.sends.status(office.send.id, time.time()).bounced == 1
    assert "status=bounced" not in postfix.log()


def test_acts_on_what_was_stored_before(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mail that was stored, and not acted on because the database was gone, is acted on when it comes again."""
    Path("one.eml").write_bytes(office.bounce(1))

    def gone(*_: object) -> int:
        raise StoreUnavailable("the database is gone")

    with monkeypatch.context() as patched:
        patched.setattr("mailer.cli.bounces.act_on_reports", gone)
        assert run(["bounces", "ingest", "one.eml"]) == 1
    assert office.suppressed == []
    assert run(["bounces", "ingest", "one.eml"]) == 0
    assert office.suppressed == ["anna"]


KILLED = """\
import os, signal
from pathlib import Path
from mailer.cli import bounces
bounces.mark_read = lambda path: os.kill(os.getpid(), signal.SIGKILL)
bounces.ingest(["--maildir", "Maildir"])
"""


def test_killed_before_it_is_marked(office: Office, maildir: Path) -> None:
    """Killed between storing and marking, the mail is read once more and counts once."""
    (maildir / "new" / "1.a").write_bytes(office.bounce(1))
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=office.home, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in (maildir / "new").iterdir()] == ["1.a"]
    assert run(["bounces", "ingest", "--maildir", str(maildir)]) == 0
    assert [path.name for path in (maildir / "cur").iterdir()] == ["1.a:2,S"]
    assert office.suppressed == ["anna"]
    assert office.store.sends.status(office.send.id, time.time()).bounced == 1


def test_maildir_unreadable_mail(office: Office, maildir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What can't be read in a Maildir is reported and left; the others are read."""
    (maildir / "new" / "1.a").mkdir()
    (maildir / "new" / "2.b").write_bytes(office.bounce(2))
    assert run(["bounces", "ingest", "--maildir", str(maildir)]) == 1
    assert "1.a" in capsys.readouterr().err
    assert [path.name for path in (maildir / "new").iterdir()] == ["1.a"]
    assert office.suppressed == ["bob"]


def test_maildir_shared(maildir: Path) -> None:
    """A mail that another reader moves away meanwhile is no error."""
    (maildir / "new" / "1.a").write_bytes(VACATION)
    (path,) = unread_mails(maildir)
    mark_read(path)
    assert read_mail(path, 100) is None
    mark_read(path)
    assert [path.name for path in (maildir / "cur").iterdir()] == ["1.a:2,S"]


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    for name in ("new", "cur", "tmp"):
        (tmp_path / "Maildir" / name).mkdir(parents=True)
    return tmp_path / "Maildir"


def test_maildir(office: Office, maildir: Path) -> None:
    """What is new in a Maildir is read and marked as read; what was read before is left."""
    (maildir / "new" / "1.a").write_bytes(office.bounce(1))
    (maildir / "new" / "2.b").write_bytes(VACATION)
    (maildir / "cur" / "0.c:2,S").write_bytes(office.bounce(3))
    assert run(["bounces", "ingest", "--maildir", str(maildir)]) == 0
    assert sorted(path.name for path in (maildir / "cur").iterdir()) == ["0.c:2,S", "1.a:2,S", "2.b:2,S"]
    assert list((maildir / "new").iterdir()) == []
    assert office.suppressed == ["anna"]


def test_maildir_opened_by_somebody(office: Office, maildir: Path) -> None:
    """What a mail program has moved to ``cur`` unread is read as well, and marked with all that its name says kept;
    what somebody has seen or thrown away is left."""
    (maildir / "cur" / "1.a,S=300:2,FR").write_bytes(office.bounce(1))
    (maildir / "cur" / "2.b").write_bytes(office.bounce(2))
    (maildir / "cur" / "3.c:2,T").write_bytes(office.bounce(3))
    (maildir / "cur" / "4.d:2,FS").write_bytes(office.bounce(3))
    (maildir / "new" / "5.e:2,").write_bytes(VACATION)
    for _ in range(2):
        assert run(["bounces", "ingest", "--maildir", str(maildir)]) == 0
        assert sorted(path.name for path in (maildir / "cur").iterdir()) == [
            "1.a,S=300:2,FRS",
            "2.b:2,S",
            "3.c:2,T",
            "4.d:2,FS",
            "5.e:2,S",
        ]
    assert list((maildir / "new").iterdir()) == []
    assert office.suppressed == ["anna", "bob"]


def test_maildir_opened_between_rounds(
    office: Office, maildir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mail that another program renames while it is read is read again in the next round, and counts once."""
    (maildir / "cur" / "1.a:2,").write_bytes(office.bounce(1))

    def flag_and_mark(path: Path) -> None:
        path.rename(path.with_name("1.a:2,F"))
        mark_read(path)

    with monkeypatch.context() as patched:
        patched.setattr("mailer.cli.bounces.mark_read", flag_and_mark)
        assert run(["bounces", "ingest", "--json", "--maildir", str(maildir)]) == 0
    assert [path.name for path in (maildir / "cur").iterdir()] == ["1.a:2,F"]
    assert run(["bounces", "ingest", "--json", "--maildir", str(maildir)]) == 0
    assert [path.name for path in (maildir / "cur").iterdir()] == ["1.a:2,FS"]
    assert [line["stored"] for line in lines(capsys)] == [1, 0]
    assert office.suppressed == ["anna"]


@pytest.mark.parametrize(
    ("name", "marked"),
    [
        ("1.a", "1.a:2,S"),
        ("1.a:2,", "1.a:2,S"),
        ("1.a:2,DFPR", "1.a:2,DFPRS"),
        ("1.a:2,Fac", "1.a:2,FSac"),
        ("1.a,S=5,W=6:2,R", "1.a,S=5,W=6:2,RS"),
        ("1.a:2,F,x", "1.a:2,FS,x"),
    ],
)
@pytest.mark.parametrize("folder", ["new", "cur"])
def test_maildir_flags(maildir: Path, folder: str, name: str, marked: str) -> None:
    """A mail that was read has the flag S beside those it had, in ASCII order, and is unread no longer."""
    (maildir / folder / name).write_bytes(VACATION)
    (path,) = unread_mails(maildir)
    mark_read(path)
    assert [path.name for path in (maildir / "cur").iterdir()] == [marked]
    assert unread_mails(maildir) == []


def test_maildir_order(maildir: Path) -> None:
    """The oldest is read first, wherever it lies."""
    for name in ("new/1700000003.c", "cur/1700000002.b:2,F", "cur/1700000004.d", "new/1700000001.a", "cur/.hidden"):
        (maildir / name).write_bytes(VACATION)
    assert [path.name[10:12] for path in unread_mails(maildir)] == [".a", ".b", ".c", ".d"]


def test_maildir_every(office: Office, maildir: Path) -> None:
    """With ``--every`` a mail that can't be read is said so once, not in every round; the others are read."""
    (maildir / "cur" / "0.x:2,").mkdir()
    (maildir / "new" / "0.y").mkdir()
    with (office.home / "stderr").open("wb") as stderr:
        reader = subprocess.Popen(
            [sys.executable, "-m", "mailer", "bounces", "ingest", "--maildir", "Maildir", "--every", "1"],
            cwd=office.home,
            stderr=stderr,
        )
    try:
        for position in (1, 2, 3):
            (maildir / "tmp" / f"{position}.a").write_bytes(office.bounce(position))
            (maildir / "tmp" / f"{position}.a").rename(maildir / "cur" / f"{position}.a:2,")
            wanted = list(NAMES[:position])
            assert until(lambda wanted=wanted: office.suppressed == wanted, 20, 0.2)
    finally:
        reader.terminate()
        reader.wait(60)
    said = (office.home / "stderr").read_text()
    assert (said.count("0.x:2,"), said.count("0.y")) == (1, 1), said


def test_marked_only_when_stored(
    office: Office, maildir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mail whose event can't be stored stays unread; what was stored before it is marked, and nothing is lost."""
    for number in (1, 2, 3):
        (maildir / "new" / f"{number}.x").write_bytes(office.bounce(number))
    office.store.sends.pause(office.send.id, "", time.time())
    path = load_settings(office.home / "mailer.toml", {}).store_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON events WHEN (SELECT count(*) FROM events) = 1 "
            "BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    assert run(["bounces", "ingest", "--maildir", str(maildir)]) == 1
    assert "no room" in capsys.readouterr().err
    assert sorted(path.name for path in (maildir / "new").iterdir()) == ["2.x", "3.x"]
    with sqlite3.connect(path) as database:
        database.execute("DROP TRIGGER full")
    assert run(["bounces", "ingest", "--maildir", str(maildir)]) == 0
    assert list((maildir / "new").iterdir()) == []
    assert office.suppressed == ["anna", "bob", "cem"]


def test_no_maildir(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is no Maildir is an error that says what one is."""
    assert run(["bounces", "ingest", "--maildir", str(office.home)]) == 1
    assert "this is no Maildir" in capsys.readouterr().err


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_imap(office: Office, dovecot: DovecotServer, security: str) -> None:
    """A real mailbox is read over TLS; what was read is moved to a folder that is made for it."""
    user = f"reader-{security}"
    dovecot.put(user, office.bounce(1), VACATION, office.bounce(2))
    office.imap(
        dovecot,
        user,
        security=security,
        port=dovecot.tls_port if security == "tls" else dovecot.port,
        processed="Gelesen März",
    )
    assert run(["bounces", "ingest", "--imap"]) == 0
    assert (dovecot.count(user), dovecot.count(user, "Gelesen März")) == (0, 3)
    assert office.suppressed == ["anna", "bob"]


def test_imap_without_move(office: Office, plain_dovecot: DovecotServer) -> None:
    """Where the server offers neither MOVE nor UIDPLUS a mail is copied and expunged, and not read again."""
    plain_dovecot.put("old", office.bounce(1), office.bounce(2))
    office.imap(plain_dovecot, "old")
    for _ in range(2):
        assert run(["bounces", "ingest", "--imap"]) == 0
        assert (plain_dovecot.count("old"), plain_dovecot.count("old", "Processed")) == (0, 2)
        assert plain_dovecot.count("old", marked=True) == 0
    assert office.suppressed == ["anna", "bob"]


def test_imap_without_move_beside_deleted_mail(office: Office, plain_dovecot: DovecotServer) -> None:
    """There, a mail that somebody else has marked as deleted is neither read nor expunged; what was read stays beside
    it, marked, and isn't read again."""
    plain_dovecot.put("shared", office.bounce(1), office.bounce(2))
    with plain_dovecot.client("shared") as client:
        client.select_folder("INBOX")
        client.delete_messages([1])
    office.imap(plain_dovecot, "shared")
    for _ in range(2):
        assert run(["bounces", "ingest", "--imap"]) == 0
        assert (plain_dovecot.count("shared"), plain_dovecot.count("shared", "Processed")) == (0, 1)
        assert plain_dovecot.count("shared", marked=True) == 2
    assert office.suppressed == ["bob"]


def test_imap_moved_only_when_stored(office: Office, dovecot: DovecotServer) -> None:
    """A mail whose event can't be stored stays where it is, unseen."""
    dovecot.put("careful", office.bounce(1))
    office.imap(dovecot, "careful")
    path = load_settings(office.home / "mailer.toml", {}).store_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as database:
        database.execute("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no room'); END")
    assert run(["bounces", "ingest", "--imap"]) == 1
    with dovecot.client("careful") as client:
        client.select_folder("INBOX", readonly=True)
        assert len(client.search(["UNSEEN"])) == 1


def forbid(dovecot: DovecotServer, user: str, *names: str) -> None:
    """Makes the bounces of these people unreadable for the server. They are told by what is in them: Dovecot's file
    names don't sort in the order of arrival, since their microseconds have no zeros in front."""
    found = (dovecot.folder / "home" / user / "Maildir").rglob("*")
    mails = {path: path.read_bytes() for path in found if path.parent.name in ("new", "cur")}
    for path, content in mails.items():
        if any(f"<{name}@".encode() in content for name in names):
            path.chmod(0)


def test_imap_unreadable_mail(office: Office, dovecot: DovecotServer, capsys: pytest.CaptureFixture[str]) -> None:
    """A mail at which the server hangs up is reported and left; what lies behind it is read."""
    dovecot.put("broken", office.bounce(1), office.bounce(2), office.bounce(3))
    office.imap(dovecot, "broken")
    forbid(dovecot, "broken", "bob")
    assert run(["bounces", "ingest", "--imap"]) == 1
    assert "INBOX/2 in broken's mailbox" in " ".join(capsys.readouterr().err.split())
    assert (dovecot.count("broken"), dovecot.count("broken", "Processed")) == (1, 2)
    assert office.suppressed == ["anna", "cem"]


def test_imap_breaks_off(
    office: Office, dovecot: DovecotServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that can read no mail at all ends the round, after a few; what was read before is acted on."""
    monkeypatch.setattr("mailer.cli.bounces.MOST_SKIPPED", 1)
    dovecot.put("worse", *(office.bounce(number) for number in (1, 2, 3)))
    office.imap(dovecot, "worse")
    forbid(dovecot, "worse", "bob", "cem")
    assert run(["bounces", "ingest", "--imap"]) == 1
    assert "can't be used" in " ".join(capsys.readouterr().err.split())
    assert office.suppressed == ["anna"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"password": "wrong"}, "the login is refused"),
        ({"folder": "Nowhere"}, "there is no folder 'Nowhere'"),
        ({"ca_file": ""}, "the certificate is not accepted"),
        ({"port": 1}, "can't be used: "),
    ],
)
def test_imap_complaints(
    office: Office, dovecot: DovecotServer, capsys: pytest.CaptureFixture[str], more: dict[str, object], said: str
) -> None:
    """Wrong password, folder, certificate, name or port: one line that says where and what, and no traceback."""
    office.imap(dovecot, "somebody", **more)
    assert run(["bounces", "ingest", "--imap"]) == 1
    err = capsys.readouterr().err
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert PASSWORD not in err


def test_imap_every(office: Office, dovecot: DovecotServer) -> None:
    """With ``--every`` it goes on reading, also after the mailbox couldn't be used."""
    office.imap(dovecot, "steady", folder="Bounces")
    with (office.home / "stderr").open("wb") as stderr:
        reader = subprocess.Popen(
            [sys.executable, "-m", "mailer", "bounces", "ingest", "--imap", "--every", "1"],
            cwd=office.home,
            stderr=stderr,
        )
    try:
        assert until(lambda: "Trying again" in (office.home / "stderr").read_text(), 20, 0.2)
        with dovecot.client("steady") as client:
            client.create_folder("Bounces")
        for position in (1, 2):
            dovecot.put("steady", office.bounce(position), folder="Bounces")
            wanted = list(NAMES[:position])
            assert until(lambda wanted=wanted: office.suppressed == wanted, 20, 0.2)
    finally:
        reader.terminate()
        reader.wait(60)


def test_imap_settings_are_defaults() -> None:
    """Without a host no mailbox is read, and TLS is the default."""
    assert (Imap().host, Imap().security, Imap().port) == ("", "tls", 993)


def test_not_configured(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    """``--imap`` without a mailbox says which keys are missing; two sources at once are misuse."""
    assert run(["bounces", "ingest", "--imap"]) == 1
    assert "bounces.imap" in capsys.readouterr().err
    assert run(["bounces", "ingest", "--imap", "file.eml"]) == 2

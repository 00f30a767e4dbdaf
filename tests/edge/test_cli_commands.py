"""The command line on a real SQLite database in a directory of its own, in this process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from mailer.bounces.event import Event, EventType
from mailer.cli.main import run
from mailer.config import load_settings
from mailer.model.ledger import Outcome, RecipientState, Reply, SendId, WorkerId
from mailer.model.people import Preferences
from mailer.service.events import act_on_events
from mailer.service.inbox import NewEvent
from mailer.store import SqlStore, open_store
from tests.servers.command_line import Ran

ISSUE = """\
---
title: Test
subject: "Hello {{ subscriber.first_name | default('you') }}"
preheader: A test
author: A. Author
date: 2026-05-11
language: en
---

Read this, {{ subscriber.first_name | default('friend') }}.
"""

PEOPLE = "email,first_name,plan\nann@example.com,Ann,free\nbob@example.com,,premium\n"


Mailer = Callable[..., Ran]


@pytest.fixture
def mailer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Mailer:
    """Runs a command line in a fresh directory with an issue and a list of two people."""
    monkeypatch.chdir(tmp_path)
    Path("issue.md").write_text(ISSUE)
    Path("people.csv").write_text(PEOPLE)
    Path("mailer.toml").write_text('[publication]\nfrom = "Us <us@example.com>"\ntimezone = "Europe/Berlin"\n')

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        status = run(arguments)
        printed = capsys.readouterr()
        return Ran(status, printed.out, printed.err)

    return call


@pytest.fixture
def sent(mailer: Mailer) -> Mailer:
    """The same, with both people imported and a send of theirs written."""
    assert mailer("subscribers", "import", "people.csv").status == 0
    assert mailer("send", "issue.md", "--yes").status == 0
    return mailer


def work(ends: Sequence[RecipientState] = (), trouble: str = "") -> SqlStore:
    """A worker in the database: it brings recipients of issue-1 to an end each, and says what hinders it."""
    store = open_store(load_settings(None, {}).store_url)
    worker, now = WorkerId("w"), time.time()
    store.workers.register(worker, "host", 1, now)
    store.workers.beat(worker, now, trouble)
    for end in ends:
        (claim,) = store.ledger.claim(SendId("issue-1"), 1, 9, worker, 1, now)
        key = (claim.send, claim.position, claim.epoch)
        assert store.ledger.write(now, dots=[key]) == {key}
        store.ledger.write(now, outcomes=[Outcome(*key, end, Reply(250))])
    store.sends.finish(now)
    return store


# --- databases --------------------------------------------------------------------------------------------------------

READING = {
    "recipients": ["recipients", "x-1"],
    "status": ["status", "x-1"],
    "watch": ["status", "x-1", "--watch"],
    "export": ["subscribers", "export"],
    "show": ["subscribers", "show", "ann@example.com"],
    "suppressions": ["suppressions", "list"],
    "suppressed": ["suppressions", "export"],
    "pause": ["pause", "x-1"],
    "send": ["send", "issue.md", "--yes"],
}


@pytest.mark.parametrize("arguments", READING.values(), ids=READING)
def test_no_database(mailer: Mailer, arguments: list[str]) -> None:
    """A command that has nothing to do in a new database makes none: it says where it looked and what makes one."""
    answer = mailer(*arguments)
    assert (answer.status, answer.out) == (1, "")
    assert f"there is no database yet in {Path.cwd() / 'mailer-data'}. 'mailer subscribers import" in answer.err
    assert not Path("mailer-data").exists()


def test_status_without_a_database(mailer: Mailer) -> None:
    """status without a send isn't an error where nothing has been done yet, and makes no database."""
    answer = mailer("status", "--json")
    assert (answer.status, answer.json) == (0, [])
    assert str(Path.cwd() / "mailer-data") in answer.err
    assert not Path("mailer-data").exists()


def test_new_database(mailer: Mailer) -> None:
    """A command that makes a database says where, once."""
    Path("mailer.toml").write_text('[store]\nurl = "sqlite:///some/where/x.db"\n')
    said = f"New database in {Path.cwd() / 'some' / 'where'}.\n"
    assert said in mailer("subscribers", "import", "people.csv").err
    assert "New database" not in mailer("subscribers", "import", "people.csv").err


# --- init, check, compile ---------------------------------------------------------------------------------------------


def test_init(mailer: Mailer) -> None:
    """What init writes is a configuration without a mistake, an issue without a mistake, and all templates."""
    written = mailer("init", "new", "--json").json["written"]
    assert {"new/mailer.toml", "new/issues/sample.md", "new/templates/layout.mjml"} <= set(written)
    assert load_settings(Path("new/mailer.toml"), {}).settings.publication.name == "My Newsletter"
    assert mailer("check", "new/issues/sample.md", "--config", "new/mailer.toml").status == 0


def test_init_keeps(mailer: Mailer) -> None:
    """What was edited is left as it is when init runs again."""
    mailer("init", "new")
    Path("new/mailer.toml").write_text("# mine\n")
    again = mailer("init", "new", "--json").json
    assert again["written"] == []
    assert Path("new/mailer.toml").read_text() == "# mine\n"


def test_own_templates(mailer: Mailer) -> None:
    """A template beside the configuration replaces the built-in one."""
    mailer("init", ".")
    layout = Path("templates/layout.txt")
    layout.write_text(layout.read_text() + "\nprinted by hand\n")
    assert mailer("compile", "issue.md", "--out", "out").status == 0
    assert "printed by hand" in Path("out/message.txt").read_text()


def test_wrong_template(mailer: Mailer) -> None:
    """A mistake in a template is named with the path under which it is found beside the configuration."""
    mailer("init", ".")
    Path("templates/blocks/shout.mjml").write_text("{# attributes: #}\n<mj-text />")
    error = mailer("compile", "issue.md", "--out", "out").err.splitlines()[-1]
    assert error.startswith("templates/blocks/shout.mjml:1: ")
    assert error.endswith(" Add templates/text/shout.txt.")


WRONG_ISSUES = {
    "unknown block": ("::: nwes\nx\n:::\n", "issue.md:10: ", "'news'"),
    "misspelt variable": ("Hi {{ subscriber.frist_name }}\n", "issue.md:10: ", "first_name"),
    "unclosed block": ("::: news\nx\n", "issue.md:10: ", ""),
}


@pytest.mark.parametrize(("text", "where", "todo"), WRONG_ISSUES.values(), ids=WRONG_ISSUES)
def test_wrong_issue(mailer: Mailer, text: str, where: str, todo: str) -> None:
    """A mistake in an issue is named with file, line and the nearest known name, for people and for programs."""
    Path("issue.md").write_text(ISSUE.rpartition("Read")[0] + text)
    checked = mailer("check", "issue.md")
    assert checked.status == 1
    assert where in checked.err
    assert todo in checked.err
    found = mailer("check", "issue.md", "--json")
    assert found.status == 1
    assert found.json["ok"] is False
    assert found.json["problems"][0]["line"] == 10


def test_warnings(mailer: Mailer) -> None:
    """A warning is told with file and line, for people and for programs, and is no failure."""
    mailer("subscribers", "import", "people.csv")
    Path("issue.md").write_text(ISSUE + "\nSee [this](http://example.com).\n")
    checked = mailer("check", "issue.md")
    todo = "Use https:// where the site offers it."
    assert checked.err == f"issue.md:12: warning: http://example.com isn't encrypted. {todo}\n"
    assert checked.out.startswith("issue.md: no error, 1 warning.\n")
    assert checked.status == 0
    found = mailer("check", "issue.md", "--json").json
    assert found["ok"] is True
    assert found["problems"] == [
        {
            "file": "issue.md",
            "line": 12,
            "severity": "warning",
            "what": "http://example.com isn't encrypted",
            "todo": todo,
        }
    ]


def test_share_link_without_a_form(mailer: Mailer) -> None:
    """A share link is warned of where nobody can sign up, and only there."""
    Path("issue.md").write_text(ISSUE + "\n[Tell others]({{ links.share }})\n")
    assert "leads nowhere" not in mailer("check", "issue.md").err
    with Path("mailer.toml").open("a") as settings:
        settings.write("\n[web]\nsign_ups_per_day = 0\n")
    checked = mailer("check", "issue.md")
    assert checked.status == 0
    assert checked.err.startswith("issue.md:12: warning: the share link leads nowhere: web.sign_ups_per_day = 0")
    Path("issue.md").write_text(ISSUE)
    assert mailer("check", "issue.md").err == ""


@pytest.mark.parametrize("command", [("check",), ("compile", "--out", "out"), ("send", "--dry-run")], ids=" ".join)
def test_dangerous_links(mailer: Mailer, command: tuple[str, ...]) -> None:
    """A link that no mail may have stops each command that reads the issue; file:line has nothing before it."""
    mailer("subscribers", "import", "people.csv")
    Path("issue.md").write_text(ISSUE + '\n::: button href="javascript:alert(1)"\nx\n:::\n')
    answer = mailer(*command, "issue.md")
    assert answer.status == 1
    assert answer.err.startswith("issue.md:12: 'javascript:alert(1)' is no address that a link can have")
    assert not Path("out").exists()


def test_compile(mailer: Mailer) -> None:
    """compile writes the four files as a subscriber gets them, and nothing of a stranger's when none is named."""
    mailer("subscribers", "import", "people.csv")
    report = mailer("compile", "issue.md", "--out", "out", "--as", "ann@example.com", "--json").json
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "message.eml",
        "message.html",
        "message.txt",
        "report.json",
    ]
    assert report["subject"] == "Hello Ann"
    assert "Read this, Ann." in Path("out/message.txt").read_text()
    assert "Read this, Ann." in Path("out/message.html").read_text()
    assert json.loads(Path("out/report.json").read_text())["html_bytes"] == Path("out/message.html").stat().st_size
    mailer("compile", "issue.md", "--out", "out")
    assert "Read this, friend." in Path("out/message.txt").read_text()


# --- people -----------------------------------------------------------------------------------------------------------


def test_import_reports(mailer: Mailer) -> None:
    """Import says what was added, updated and unchanged, and names each refused row with line and reason."""
    mailer("subscribers", "import", "people.csv")
    Path("more.csv").write_text("email,first_name\nann@example.com,Anna\nbob@example.com,\nnobody\nnew@example.com,N\n")
    report = mailer("subscribers", "import", "more.csv", "--json").json
    assert (report["added"], report["updated"], report["unchanged"]) == (1, 1, 1)
    assert [(row["line"], row["email"]) for row in report["refused"]] == [(4, "nobody")]
    assert report["refused"][0]["reason"]
    people = mailer("subscribers", "import", "more.csv")
    assert "line 4: nobody: " in people.err
    assert people.out == "0 added, 0 updated, 3 unchanged, 1 refused.\n"


def test_import_lifts_no_suppression(mailer: Mailer) -> None:
    """Whoever is imported again stays suppressed, and the report says who and why."""
    mailer("subscribers", "import", "people.csv")
    mailer("suppressions", "add", "ann@example.com", "--reason", "complained")
    mailer("suppressions", "add", "else@example.com", "--reason", "bounced")
    Path("more.csv").write_text("email\nAnn@Example.com\nelse@example.com\nbob@example.com\n")
    report = mailer("subscribers", "import", "more.csv", "--json").json
    assert (report["added"], report["unchanged"], report["suppressed_count"]) == (1, 2, 2)
    assert report["suppressed"] == [
        {"email": "ann@example.com", "reason": "complained"},
        {"email": "else@example.com", "reason": "bounced"},
    ]
    assert report["unsubscribed_count"] == 0
    said = mailer("subscribers", "import", "more.csv").err
    assert said == "2 of them stay suppressed: 'mailer suppressions list' says why.\n"
    assert mailer("subscribers", "show", "ann@example.com", "--json").json["suppressed"] == "complained"
    assert mailer("send", "issue.md", "--dry-run", "--json").json["audience"] == 1


def test_import_subscribes_nobody_again(mailer: Mailer) -> None:
    """Whoever has unsubscribed and is imported again stays so, the report says how many and who, and no send goes
    there."""
    mailer("subscribers", "import", "people.csv")
    with closing(open_store(load_settings(None, {}).store_url)) as store:
        ann = store.subscribers.find("ann@example.com")
        assert ann is not None
        store.subscribers.unsubscribe(ann.id, time.time())
    Path("more.csv").write_text("email,first_name\nAnn@Example.com,Anna\nbob@example.com,\nnew@example.com,N\n")
    people = mailer("subscribers", "import", "more.csv")
    assert people.out == "1 added, 1 updated, 1 unchanged, 0 refused.\n"
    assert people.err == "1 of them stays unsubscribed: 'mailer subscribers import FILE --json' lists them.\n"
    report = mailer("subscribers", "import", "more.csv", "--json").json
    assert (report["unchanged"], report["unsubscribed_count"], report["suppressed_count"]) == (3, 1, 0)
    assert report["unsubscribed"] == ["ann@example.com"]
    assert mailer("subscribers", "show", "ann@example.com", "--json").json["status"] == "unsubscribed"
    assert mailer("send", "issue.md", "--dry-run", "--json").json["audience"] == 2


def test_import_is_quiet_without_a_terminal(mailer: Mailer) -> None:
    """Where stderr is no terminal, it gets a line for each refused row and nothing else."""
    mailer("subscribers", "import", "people.csv")
    Path("more.csv").write_text('email,first_name\nann@example.com,"Ann\nbob@example.com,Bob\nnobody,x\n')
    said = mailer("subscribers", "import", "more.csv").err.splitlines()
    assert [line.split(": ")[:2] for line in said] == [["line 2", "ann@example.com"], ["line 4", "nobody"]]


def test_import_refuses_all(mailer: Mailer) -> None:
    """An import that takes nobody and refuses somebody has failed."""
    Path("bad.csv").write_text("email\nnobody\n")
    assert mailer("subscribers", "import", "bad.csv").status == 1


def test_export_is_importable(mailer: Mailer, tmp_path: Path) -> None:
    """What export writes, import finds unchanged, and only the owner can read the file."""
    mailer("subscribers", "import", "people.csv")
    assert mailer("subscribers", "export", "out.csv").status == 0
    assert (tmp_path / "out.csv").stat().st_mode & 0o077 == 0
    report = mailer("subscribers", "import", "out.csv", "--json").json
    assert (report["unchanged"], report["added"], report["updated"]) == (2, 0, 0)


def test_export_as_json(mailer: Mailer) -> None:
    """export --json prints everyone who hasn't unsubscribed, as show does."""
    mailer("subscribers", "import", "people.csv")
    shown = mailer("subscribers", "show", "ann@example.com", "--json").json
    del shown["suppressed"], shown["paused_until"]
    found = mailer("subscribers", "export", "--json").json
    assert found[0] == shown
    assert [one["email"] for one in found] == ["ann@example.com", "bob@example.com"]


@pytest.mark.parametrize("group", ["subscribers", "suppressions"])
def test_config_of_a_group(mailer: Mailer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, group: str) -> None:
    """--config may stand between a group and its command."""
    mailer("subscribers", "import", "people.csv")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert mailer(group, "export").status == 1
    assert mailer(group, "--config", str(tmp_path / "mailer.toml"), "export").out.startswith("email,")


def test_a_pause_is_shown(mailer: Mailer) -> None:
    """Until when a person wanted no mail is shown, and a pause that is over isn't."""
    mailer("subscribers", "import", "people.csv")
    for seconds, shown in ((7 * 86400.0, True), (-60.0, False)):
        with closing(open_store(load_settings(None, {}).store_url)) as store:
            found = store.subscribers.find("ann@example.com")
            assert found is not None
            store.preferences.save(found.id, Preferences(paused_until=time.time() + seconds), time.time())
        pause = mailer("subscribers", "show", "ann@example.com", "--json").json["paused_until"]
        assert bool(pause) is shown
        assert ("paused_until" in mailer("subscribers", "show", "ann@example.com").out) is shown


def test_show_and_remove(mailer: Mailer) -> None:
    """A person is shown by an address in any case, and is gone after remove."""
    mailer("subscribers", "import", "people.csv")
    shown = mailer("subscribers", "show", "ANN@example.com", "--json").json
    assert (shown["first_name"], shown["attributes"], shown["suppressed"]) == ("Ann", {"plan": "free"}, None)
    assert mailer("subscribers", "remove", "ann@example.com").status == 2
    assert mailer("subscribers", "remove", "ann@example.com", "--yes").status == 0
    gone = mailer("subscribers", "show", "ann@example.com")
    assert (gone.status, gone.err) == (1, "mailer: ann@example.com is no subscriber\n")


def test_suppressions(mailer: Mailer) -> None:
    """Addresses are added, listed, exported, imported and removed; what isn't one is refused by line."""
    assert mailer("suppressions", "add", "Ann@Example.com", "--reason", "[red]asked[/]", "--json").json == {
        "added": 1,
        "unchanged": 0,
    }
    assert "[red]asked[/]" in mailer("suppressions", "list").out
    listed = mailer("suppressions", "list", "--json").json
    assert [(one["email"].lower(), one["reason"]) for one in listed] == [("ann@example.com", "[red]asked[/]")]
    assert mailer("suppressions", "export", "--json").json == listed
    Path("s.csv").write_text(mailer("suppressions", "export").out + "bob@example.com,spam\nnobody,x\n")
    report = mailer("suppressions", "import", "s.csv", "--json").json
    assert (report["added"], report["unchanged"], [row["line"] for row in report["refused"]]) == (1, 1, [4])
    assert mailer("suppressions", "remove", "ann@example.com", "--json").json == {"removed": 1, "unchanged": 0}


def test_replay(sent: Mailer) -> None:
    """``events replay`` asks first, and lets a provider's events of a time wait once more; where nobody works it says
    so."""
    with closing(open_store(load_settings(Path("mailer.toml"), {}).store_url)) as store:
        for provider in ("sendgrid", "postmark"):
            store.events.add(provider, [NewEvent(Event(EventType.BOUNCED, "ann@example.com"))], time.time())
            assert act_on_events(store.events, b"a key of sixteen octets", 3, time.time()) == 1
        assert sent("events", "replay").status == 2
        assert store.events.backlog() == (0, None)
        done = sent("events", "replay", "--provider", "postmark", "--since", "2020-01-01", "--yes", "--json")
        assert (done.json, "No worker" in done.err) == ({"replayed": 1}, True)
        assert [one.provider for one in store.events.waiting(10)] == ["postmark"]
        assert sent("events", "replay", "--since", "2999-01-01 06:00", "--yes", "--json").json == {"replayed": 0}
        assert sent("events", "replay", "--provider", "nobody", "--yes").status == 2


def test_plain_list_of_suppressions(mailer: Mailer) -> None:
    """A list without a header, an address a line, is taken too."""
    Path("s.txt").write_text("ann@example.com\n\nbob@example.com\n")
    assert mailer("suppressions", "import", "s.txt", "--json").json == {
        "added": 2,
        "unchanged": 0,
        "refused_count": 0,
        "refused": [],
    }


def test_list_of_suppressions_with_two_in_a_line(mailer: Mailer) -> None:
    """Where no header says what else a line holds, a second address isn't passed over in silence."""
    Path("s.txt").write_text("ann@example.com;bob@example.com\neve@example.com;asked\n")
    report = mailer("suppressions", "import", "s.txt", "--json").json
    reason = "there is more than one address in it: a line has one"
    assert report["refused"] == [{"line": 1, "email": "ann@example.com", "reason": reason}]
    assert report["added"] == 1


def test_broken_list_of_suppressions(mailer: Mailer) -> None:
    """A quote that isn't closed hides no address after it, and bytes that aren't UTF-8 in a reason don't matter."""
    Path("s.csv").write_bytes(b'email;reason\na@example.com;"x\nb@example.com;f\xfcr\nc@example.com;y\n')
    report = mailer("suppressions", "import", "s.csv", "--json").json
    assert (report["added"], [(row["line"], row["email"]) for row in report["refused"]]) == (2, [(2, "a@example.com")])
    listed = mailer("suppressions", "list", "--json").json
    assert [(one["email"], one["reason"]) for one in listed] == [("b@example.com", "f\ufffdr"), ("c@example.com", "y")]


def test_suppressions_survive_a_move(mailer: Mailer) -> None:
    """What export writes an import into another database gives back: reason, source and date. Only its owner can read
    the file."""
    mailer("suppressions", "add", "ann@example.com", "--reason", "asked, by letter")
    with closing(open_store(load_settings(None, {}).store_url)) as store:
        store.suppressions.add("bob@example.com", "bounced", "postmark:Bounce:7", 1_750_000_000.0)
        store.suppressions.add("eve@example.com", "line\rby\nline", "test", 1_750_000_000.0)
    answer = mailer("suppressions", "export", "s.csv")
    assert (answer.out, answer.err) == ("", "3 suppressions written to s.csv.\n")
    assert Path("s.csv").stat().st_mode & 0o077 == 0
    assert Path("s.csv").read_bytes().decode() == mailer("suppressions", "export").out
    assert mailer("suppressions", "export", "s.csv", "--json").status == 2
    listed = mailer("suppressions", "list", "--json").json
    mailer("suppressions", "remove", "ann@example.com", "bob@example.com", "eve@example.com")
    assert mailer("suppressions", "import", "s.csv").out.startswith("3 added, 0 unchanged, 0 refused")
    assert mailer("suppressions", "list", "--json").json == listed


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"id,address\n1,ann@example.com\n", "no column is named email"),
        (b"Address,Reason\nann@example.com,x\n", "no column is named email"),
        (b"", "the file is empty"),
        (b"k\xe4the@example.com\n", "it isn't UTF-8"),
        (b"email,created_at\nann@example.com,yesterday\n", "no date with a time zone"),
        (b"email,created_at\nann@example.com,2030-01-31T06:00:00\n", "no date with a time zone"),
        (b"email,created_at\nann@example.com,0001-01-01T00:00:00+01:00\n", "no date with a time zone"),
        (b"reason,email\nx\n", "it has no address"),
    ],
)
def test_suppressions_that_cant_be_read(mailer: Mailer, content: bytes, says: str) -> None:
    """A file, or all rows of one, that can't be read is an error that says why, and suppresses nobody."""
    Path("s.csv").write_bytes(content)
    ran = mailer("suppressions", "import", "s.csv")
    assert (ran.status, says in ran.err) == (1, True)
    assert mailer("suppressions", "list", "--json").json == []


@pytest.mark.parametrize("given", ["", " "])
def test_an_empty_address_is_shown(mailer: Mailer, given: str) -> None:
    """An address of nothing or of blanks stands in quotes in the error, so that there is something to see."""
    answer = mailer("suppressions", "add", given)
    assert (answer.status, answer.err) == (1, f"mailer: {given!r}: An email address must have an @-sign\n")


# --- sending ----------------------------------------------------------------------------------------------------------


def test_dry_run(mailer: Mailer) -> None:
    """--dry-run says how many, from whom, the subject for one, through which relay and when, and writes nothing."""
    mailer("subscribers", "import", "people.csv")
    told = mailer("send", "issue.md", "--dry-run").err
    for part in ("2 recipients", "Us <us@example.com>", "Hello Ann", "captured", "now"):
        assert part in told
    plan = mailer("send", "issue.md", "--dry-run", "--json", "--at", "2199-01-01 06:00").json
    assert (plan["send"], plan["audience"], plan["scheduled_at"]) == (None, 2, "2199-01-01T05:00:00+00:00")
    assert mailer("status", "--json").json == []


def test_nobody_to_ask(mailer: Mailer) -> None:
    """Without a terminal and without --yes nothing is sent: it is a misuse, and --yes is named."""
    mailer("subscribers", "import", "people.csv")
    asked = mailer("send", "issue.md")
    assert asked.status == 2
    assert "--yes" in asked.err
    assert mailer("status", "--json").json == []


def test_send_queues(mailer: Mailer) -> None:
    """Without --wait the send is written, its id printed, how to start a worker and that mail is captured, too."""
    mailer("subscribers", "import", "people.csv")
    sent = mailer("send", "issue.md", "--yes")
    assert (sent.status, sent.out) == (0, "issue-1\n")
    assert "mailer up" in sent.err
    assert "No relay is configured" in sent.err
    status = mailer("status", "issue-1", "--json").json
    assert (status["state"], status["counts"]["pending"], status["audience"]) == ("running", 2, 2)


def test_send_again(sent: Mailer) -> None:
    """An issue that was sent isn't sent again, and --remaining reaches only who came since."""
    again = sent("send", "issue.md", "--yes")
    assert again.status == 1
    assert "issue-1" in again.err
    Path("more.csv").write_text("email\nnew@example.com\n")
    sent("subscribers", "import", "more.csv")
    assert sent("send", "issue.md", "--yes", "--remaining", "--json").json["audience"] == 1


def test_segment(mailer: Mailer) -> None:
    """--segment narrows the audience; one that can't be understood says why."""
    mailer("subscribers", "import", "people.csv")
    plan = mailer("send", "issue.md", "--dry-run", "--json", "--segment", "subscriber.plan == 'premium'").json
    assert (plan["audience"], plan["subject"]) == (1, "Hello you")
    wrong = mailer("send", "issue.md", "--dry-run", "--segment", "subscriber.paln == 'x'")
    assert wrong.status == 1
    assert "plan" in wrong.err
    assert "write ==" in mailer("send", "issue.md", "--dry-run", "--segment", "subscriber.plan = 'x'").err


def test_wrong_segment_in_the_issue(mailer: Mailer) -> None:
    """A segment in the front matter that can't be understood is a problem of that line."""
    mailer("subscribers", "import", "people.csv")
    Path("issue.md").write_text(ISSUE.replace("title: Test", "title: Test\nsegment: subscriber.email = 'x'"))
    assert mailer("check", "issue.md").err.startswith("issue.md:3: ")


@pytest.mark.parametrize("when", ["2001-01-01 06:00", "someday"])
def test_wrong_time(mailer: Mailer, when: str) -> None:
    """A time that is past or none is refused before anything is read."""
    assert mailer("send", "issue.md", "--yes", "--at", when).status == 1
    assert not Path("mailer-data").exists()


def test_empty_audience(mailer: Mailer) -> None:
    """A send to nobody is an error that says how to get people."""
    mailer("migrate")
    sent = mailer("send", "issue.md", "--yes")
    assert (sent.status, sent.err) == (
        1,
        "mailer: nobody would get it. Import people with 'mailer subscribers import FILE.csv'.\n",
    )


@pytest.mark.parametrize("more", [[], ["--remaining"]], ids=["all", "remaining"])
def test_empty_segment(mailer: Mailer, more: list[str]) -> None:
    """A segment that matches nobody is named as the reason, not a want of people."""
    mailer("subscribers", "import", "people.csv")
    sent = mailer("send", "issue.md", "--yes", "--segment", "subscriber.plan == 'nix'", *more)
    assert sent.status == 1
    assert "the segment matches none of 2 subscribers" in sent.err
    assert "import" not in sent.err


def test_nobody_remains(sent: Mailer) -> None:
    """--remaining with nobody left names the sends that cover everyone, and their states."""
    again = sent("send", "issue.md", "--yes", "--remaining")
    assert (again.status, again.err) == (1, "mailer: everyone is covered by issue-1 (running)\n")


def test_failure_with_json(mailer: Mailer) -> None:
    """A command that fails with --json leaves stdout empty; the error is on stderr."""
    mailer("migrate")
    for arguments in (["send", "issue.md", "--yes"], ["status", "x-1"], ["subscribers", "show", "x@example.com"]):
        answer = mailer(*arguments, "--json")
        assert (answer.status, answer.out) == (1, "")
        assert answer.err.startswith("mailer: ")


def test_nobody_to_test(mailer: Mailer) -> None:
    """A test-send without editors and --to says how to name some."""
    sent = mailer("test-send", "issue.md")
    assert sent.status == 1
    assert "--to" in sent.err


# --- a send's life ----------------------------------------------------------------------------------------------------


def test_pause_resume_cancel(sent: Mailer) -> None:
    """pause, resume (which says first whom it sends to and whom it skips) and cancel, with a yes where it matters."""
    assert sent("pause", "issue-1", "--json").json["state"] == "paused"
    sent("suppressions", "add", "ann@example.com")
    assert sent("resume", "issue-1").status == 2
    resumed = sent("resume", "issue-1", "--yes")
    assert "sends 1, skips " in resumed.err
    assert resumed.out == "issue-1 is running\n"
    assert sent("cancel", "issue-1").status == 2
    cancelled = sent("cancel", "issue-1", "--yes", "--json").json
    assert (cancelled["state"], cancelled["counts"]["skipped"]) == ("cancelled", 2)


def test_pause_resume_cancel_again(sent: Mailer) -> None:
    """What is so already is said, asked of nobody, and no failure; what was cancelled can't be resumed."""
    for command, state in (("resume", "running"), ("pause", "paused"), ("cancel", "cancelled")):
        if command != "resume":
            sent(command, "issue-1", *(["--yes"] if command == "cancel" else []))
        again = sent(command, "issue-1")
        assert (again.status, again.out) == (0, f"issue-1 is {state}\n")
        assert f"issue-1 is {state} already." in again.err
    assert sent("resume", "issue-1", "--yes").status == 1


def test_no_worker(sent: Mailer) -> None:
    """Without a worker that lives, status says so and how to start one, and tells neither pace nor time left."""
    with closing(work([RecipientState.SENT])) as store:
        going = sent("status", "issue-1", "--json").json
        assert going["rate_per_second"] > 0
        assert going["eta_seconds"] > 0
        assert "No worker" not in sent("status", "issue-1").out
        store.workers.retire(WorkerId("w"), time.time())
    for stopped in (sent("status", "issue-1", "--json").json, sent("status", "--json").json[0]):
        assert (stopped["rate_per_second"], stopped["eta_seconds"]) == (0.0, None)
    for arguments in (["issue-1"], []):
        assert "No worker is running, so nothing goes out. Start one: mailer up\n" in sent("status", *arguments).out
    assert "mailer up --config mailer.toml\n" in sent("status", "--config", "mailer.toml").out


def test_troubles(sent: Mailer) -> None:
    """What living workers say hinders them is shown beside a send that isn't finished, and not beside others."""
    work(trouble="relay [x]: connection refused").close()
    for arguments in (["issue-1"], []):
        assert "\nrelay [x]: connection refused\n" in sent("status", *arguments).out
    sent("pause", "issue-1")
    assert "refused" not in sent("status", "issue-1").out


def test_in_doubt_is_explained(sent: Mailer) -> None:
    """A send at rest with recipients in doubt names the commands that list and settle them."""
    work([RecipientState.SENT]).close()
    assert "in_doubt" not in sent("status", "issue-1").out
    work([RecipientState.IN_DOUBT]).close()
    for arguments in (["issue-1"], ["issue-1", "--watch"], []):
        told = sent("status", *arguments).out
        assert "mailer recipients issue-1 --state in_doubt" in told
        assert "mailer resolve issue-1 --in-doubt resend|sent\n" in told


def test_schedule(sent: Mailer) -> None:
    """A scheduled send says when it starts, in the publication's timezone."""
    Path("other.md").write_text(ISSUE)
    sent("send", "other.md", "--yes", "--at", "2199-01-01 06:00")
    assert "to start Tue 01 Jan 2199 06:00 Europe/Berlin" in sent("status", "other-1").out


def test_unknown_send(sent: Mailer) -> None:
    """A send that doesn't exist is an error with the nearest one's name, in every command that takes one."""
    for arguments in (
        ["status"],
        ["recipients"],
        ["pause"],
        ["resume"],
        ["cancel", "--yes"],
        ["resolve", "--in-doubt", "sent"],
    ):
        answer = sent(arguments[0], "isue-1", *arguments[1:])
        assert answer.status == 1
        assert "issue-1" in answer.err


def test_recipients(sent: Mailer) -> None:
    """Recipients come as an array, as CSV or as lines, all or those in a state; with the id their message has."""
    listed = sent("recipients", "issue-1", "--json").json
    assert [set(one) for one in listed] == [
        {"email", "state", "attempts", "code", "reply", "message_id", "updated_at"}
    ] * 2
    assert [(one["email"], one["state"], one["attempts"], one["code"]) for one in listed] == [
        ("ann@example.com", "pending", 0, None),
        ("bob@example.com", "pending", 0, None),
    ]
    assert listed[0]["message_id"].startswith("<issue-1.1.")
    assert listed[0]["message_id"].endswith("@example.com>")
    assert sent("recipients", "issue-1", "--state", "failed", "--json").json == []
    assert sent("recipients", "issue-1", "--csv").out.splitlines()[0] == ",".join(listed[0])
    assert "ann@example.com" in sent("recipients", "issue-1").out


def test_resolve(sent: Mailer) -> None:
    """resolve with nobody in doubt changes nothing and says so."""
    resolved = sent("resolve", "issue-1", "--in-doubt", "resend")
    assert resolved.status == 0
    assert "0 recipients in doubt" in resolved.err


def test_status_list(sent: Mailer) -> None:
    """status without a send lists them; test-sends only when asked."""
    loaded = load_settings(None, {})
    store = open_store(loaded.store_url)
    send = store.sends.get(SendId("issue-1"))
    assert send.started_at is not None
    assert abs(send.started_at - time.time()) < 3600
    store.close()
    assert [one["send"] for one in sent("status", "--json").json] == ["issue-1"]
    assert "issue-1" in sent("status").out


# --- configuration ----------------------------------------------------------------------------------------------------


def test_config_before_and_after(mailer: Mailer) -> None:
    """--config may stand before the command's name or after it; after it wins."""
    Path("a.toml").write_text('[store]\ndata = "a"\n')
    Path("b.toml").write_text('[store]\ndata = "b"\n')
    assert mailer("--config", "a.toml", "check", "issue.md").status == 0
    assert Path("a/mailer.db").exists()
    assert mailer("--config", "a.toml", "check", "issue.md", "--config", "b.toml").status == 0
    assert Path("b/mailer.db").exists()


def test_wrong_key(mailer: Mailer) -> None:
    """A wrong key is one line with file, line and the nearest key, and nothing is done."""
    Path("mailer.toml").write_text('[publication]\nnmae = "x"\n')
    answer = mailer("status")
    assert (answer.status, answer.out) == (1, "")
    assert answer.err == "mailer.toml:2: unknown key 'nmae' in [publication]. Did you mean 'name'?\n"
    assert not Path("mailer-data").exists()


def test_inactive_keys_are_told(mailer: Mailer) -> None:
    """A command that sends says which keys this version doesn't act upon."""
    Path("mailer.toml").write_text("[tracking]\nopens = true\nclicks = true\n")
    assert "tracking.opens, tracking.clicks" in mailer("send", "issue.md", "--dry-run").err


def test_migrate(mailer: Mailer) -> None:
    """migrate makes the database, and finds nothing to do the second time."""
    first = mailer("migrate", "--json").json
    assert first["before"] is None
    assert mailer("migrate", "--json").json == {"before": first["after"], "after": first["after"]}

"""How the command line is put together: commands, help, exit statuses. Nothing is opened here."""

from __future__ import annotations

import click
import pytest

from mailer.cli.main import COMMANDS, cli, run

DESIGNED = [
    "init",
    "demo",
    "up",
    "worker",
    "web",
    "subscribers",
    "check",
    "compile",
    "test-send",
    "send",
    "status",
    "recipients",
    "pause",
    "resume",
    "cancel",
    "resolve",
    "suppressions",
    "bounces",
    "events",
    "migrate",
]


def command(*names: str) -> click.Command:
    found: click.Command = cli
    for name in names:
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), name)
        assert inner is not None
        found = inner
    return found


@pytest.mark.parametrize("name", DESIGNED)
def test_every_command(name: str) -> None:
    """Each command of the design exists, has help of its own and a line in the list."""
    assert command(name).help
    assert COMMANDS[name].endswith(".")


def test_no_other_command() -> None:
    """There is no command that isn't designed."""
    assert set(COMMANDS) == set(DESIGNED)


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("subscribers", {"import", "export", "show", "remove"}),
        ("bounces", {"parse", "ingest"}),
        ("events", {"replay"}),
        ("suppressions", {"list", "add", "remove", "import", "export"}),
    ],
)
def test_groups(group: str, names: set[str]) -> None:
    """Both groups have the commands of the design."""
    found = command(group)
    assert isinstance(found, click.Group)
    assert set(found.commands) == names


def leaves() -> list[tuple[str, ...]]:
    # Not for parametrize: the whole program would be imported by each process that collects tests.
    found: list[tuple[str, ...]] = []
    for name in DESIGNED:
        one = command(name)
        found += [(name, inner) for inner in one.commands] if isinstance(one, click.Group) else [(name,)]
    return found


def parameters(path: tuple[str, ...]) -> set[str | None]:
    return {parameter.name for parameter in command(*path).params}


def test_config_everywhere() -> None:
    """Every command, and a group, takes --config after its name too; init and demo write their own."""
    paths = {name for path in leaves() for name in (path, path[:1])} - {("init",), ("demo",)}
    assert [path for path in sorted(paths) if "config" not in parameters(path)] == []


SPEAKS_NO_JSON = {("up",), ("worker",), ("web",)}


def test_json_everywhere() -> None:
    """Every command that ends with a result can give it as JSON."""
    assert {path for path in leaves() if "as_json" not in parameters(path)} == SPEAKS_NO_JSON


MISUSES = {
    "unknown command": (["statu"], "Did you mean 'status'?"),
    "command to come": (["preview", "issue.md"], "'preview' isn't in this version yet"),
    "unknown option": (["status", "--jsn"], "--json"),
    "missing argument": (["pause"], "SEND"),
    "no choice": (["resolve", "x-1", "--in-doubt", "maybe"], "'resend', 'sent'"),
    "missing option": (["resolve", "x-1"], "--in-doubt"),
    "no such issue": (["check", "gone.md"], "gone.md"),
    "csv and json": (["recipients", "x-1", "--csv", "--json"], "Either"),
    "file and json": (["subscribers", "export", "x.csv", "--json"], "Either"),
    "watch what": (["status", "--watch"], "needs a SEND"),
    "port": (["web", "--port", "0"], "1<=x<=65535"),
    "no processes": (["worker", "--processes", "0"], "1<=x<=64"),
}


@pytest.mark.parametrize(("arguments", "said"), MISUSES.values(), ids=MISUSES)
def test_misuse(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A misuse exits 2 and says on stderr what was expected."""
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command there is help, on stdout, and that is no misuse."""
    assert run([]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version names program and version."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mailer, version ")

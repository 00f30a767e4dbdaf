"""Loading ``mailer.toml`` and ``MAILER_…`` variables. Files are small and live in ``tmp_path``."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from mailer.config import ensure_data_dir, find_config, inactive_keys, load_settings, secret_key
from mailer.errors import ConfigError


def load(tmp_path: Path, text: str, **environ: str):
    path = tmp_path / "mailer.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, environ)


def failure(tmp_path: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **environ)
    return str(caught.value).replace(f"{tmp_path}/", "")


WRONG = {
    "unknown key": (
        '[publication]\nname = "x"\nnmae = "y"\n',
        "mailer.toml:3: unknown key 'nmae' in [publication]. Did you mean 'name'?",
    ),
    "unknown section": ("[bounce]\nx = 1\n", "mailer.toml:1: unknown section [bounce]. Did you mean 'bounces'?"),
    "key without a section": ('name = "x"\n', "mailer.toml:1: unknown key 'name'. It belongs in [publication]."),
    "key in the second relay": (
        '[[relays]]\nhost = "a"\n\n[[relays]]\nhost = "b"\npasword = "geheim"\n',
        "mailer.toml:6: unknown key 'pasword' in [relays[1]]. Did you mean 'password'?",
    ),
    "not a number": ('[[relays]]\nhost = "a"\nport = "x"\n', "mailer.toml:3: 'relays[0].port' must be a whole number"),
    "too small": ("[delivery]\nbatch_size = 0\n", "mailer.toml:2: 'delivery.batch_size' must be at least 1, not 0"),
    "not one of the words": (
        '[delivery]\nin_doubt = "wait"\n',
        "mailer.toml:2: 'delivery.in_doubt' must be \"hold\" or \"resend\", not 'wait'",
    ),
    "a duration without unit": (
        '[delivery]\nretry_for = "48"\n',
        'mailer.toml:2: \'delivery.retry_for\': give a time such as "90s", "30m", "48h" or "2d"',
    ),
    "a rate in a quoted table": (
        '[delivery.domains."gmail.com"]\nrate = "14"\n',
        'mailer.toml:2: \'delivery.domains."gmail.com".rate\': give a rate such as "14/s", "600/m" or "20000/h"',
    ),
    "a rate in an inline table": (
        '[delivery]\ndomains = { "gmail.com" = { rate = "x" } }\n',
        "mailer.toml:2: 'delivery.domains.\"gmail.com\".rate': give a rate",
    ),
    "relays as one table": (
        '[relays]\nhost = "a"\n',
        "mailer.toml:1: [relays] must be a list of tables. Write [[relays]].",
    ),
    "a relay without host": ('[[relays]]\nname = "a"\n', "mailer.toml:1: 'relays[0].host' is missing"),
    "plain text to another host": ('[[relays]]\nhost = "a.example"\nsecurity = "none"\n', "set allow_plaintext = true"),
    "two relays of one name": (
        '[[relays]]\nhost = "a"\n[[relays]]\nhost = "a"\n',
        "mailer.toml:3: 'relays[1]' has the name",
    ),
    "half a login": ('[[relays]]\nhost = "a"\nusername = "u"\n', "'relays[0].password' is missing"),
    "a text where a number of bytes was meant": (
        "[publication]\nname = 7\n",
        "'publication.name' must be a text in quotes",
    ),
    "from": ('[publication]\nfrom = "Klaus"\n', "mailer.toml:2: 'Klaus' is no address"),
    "from with a line break": ('[publication]\nfrom = "A\\nBcc: <b@example.com>"\n', "is no address"),
    "an editor in a list over lines": (
        '[publication]\neditors = [\n  "a@example.com",\n  "b",\n]\n',
        "mailer.toml:2: 'b' is no address",
    ),
    "timezone": ('[publication]\ntimezone = "Europe/Berln"\n', "Did you mean 'Europe/Berlin'?"),
    "half a timezone": ('[publication]\ntimezone = "Europe"\n', "unknown timezone 'Europe'"),
    "no timezone": ('[publication]\ntimezone = ""\n', "unknown timezone ''"),
    "a file's name": ('[publication]\ntimezone = "/etc/localtime"\n', "unknown timezone '/etc/localtime'"),
    "a timezone with leap seconds": ('[publication]\ntimezone = "right/UTC"\n', "unknown timezone 'right/UTC'"),
    "language": ('[publication]\nlanguage = "klingon"\n', "unknown language 'klingon'"),
    "country": ('[publication]\ncountry = "de"\n', 'such as "DE"'),
    "database": ('[store]\nurl = "mysql://u:geheim@h/d"\n', "'mysql' is no database that mailer can use"),
    "redis": ('[redis]\nurl = "localhost"\n', "'localhost' is no Redis URL"),
    "a port in the host": ('[[relays]]\nhost = "smtp.example.com:25"\n', "is no host name"),
    "a short secret key": ('[web]\nsecret_key = "geheim"\n', "'web.secret_key' is too short"),
    "syntax": (
        "[publication]\nname = My Letter\n",
        "mailer.toml:2: not valid TOML: invalid value. Texts stand in quotes",
    ),
    "a file named by a misspelt key": (
        '[[relays]]\nhost = "a"\nusername = "u"\npassword = { fil = "x" }\n',
        "mailer.toml:4: 'relays[0].password' has no key 'fil'. Did you mean 'file'?",
    ),
    "a dot without quotes": (
        '[delivery.domains.gmail.com]\nrate = "5/s"\n',
        "mailer.toml:1: unknown key 'com' in [delivery.domains.gmail]. "
        'A name with dots stands in quotes: [delivery.domains."gmail.com"].',
    ),
    "two dots without quotes": (
        "[delivery.domains.mail.co.uk]\nconnections = 1\n",
        'stands in quotes: [delivery.domains."mail.co.uk"].',
    ),
    "a key twice": (
        '[publication]\nname = "a"\nname = "b"\n',
        "mailer.toml:3: 'name' is given twice. Remove one of them.",
    ),
    "a section twice": (
        '[web]\n[publication]\nname = "a"\n[web] # again\n',
        "mailer.toml:4: '[web]' is given twice. Put their keys under one of them.",
    ),
    "an unfinished file": ('[publication]\neditors = ["a@example.com"\n', "mailer.toml:2: not valid TOML"),
    "a missing secret file": (
        '[[relays]]\nhost = "a"\nusername = "u"\npassword = { file = "gone" }\n',
        "mailer.toml:4: 'relays[0].password': gone: No such file or directory",
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_wrong_file(tmp_path: Path, text: str, expected: str) -> None:
    """What is wrong in the file is said with its line, its key and what to write instead; no secret is shown."""
    message = failure(tmp_path, text)
    assert expected in message
    assert "geheim" not in message


WRONG_VARIABLES = {
    "section": ({"MAILER_PUBLICATIONS__NAME": "x"}, "MAILER_PUBLICATIONS__NAME: unknown variable. Did you mean"),
    "section of two relays": ({"MAILER_RELAY__0__HOST": "x"}, "Did you mean 'MAILER_RELAYS__0__HOST'?"),
    "section and key": ({"MAILER_PUBLICTION__NAME": "x"}, "Did you mean 'MAILER_PUBLICATION__NAME'?"),
    "key": ({"MAILER_PUBLICATION__NMAE": "x"}, "Did you mean 'MAILER_PUBLICATION__NAME'?"),
    "one underscore": ({"MAILER_STORE_URL": "x"}, "Did you mean 'MAILER_STORE__URL' (two underscores)?"),
    "no number": ({"MAILER_RELAYS__HOST": "h"}, "Give a number: MAILER_RELAYS__0__…"),
    "a gap": ({"MAILER_RELAYS__1__HOST": "h"}, "MAILER_RELAYS__1__HOST: there are only 0 before it"),
    "below a value": ({"MAILER_PUBLICATION__NAME__X": "x"}, "MAILER_PUBLICATION__NAME has nothing below it"),
    "type": (
        {"MAILER_RELAYS__0__HOST": "h", "MAILER_RELAYS__0__PORT": "x"},
        "MAILER_RELAYS__0__PORT: 'relays[0].port'",
    ),
    "missing": ({"MAILER_RELAYS__0__PORT": "25"}, "MAILER_RELAYS__0__HOST: 'relays[0].host' is missing"),
    "not JSON": ({"MAILER_DELIVERY__DOMAINS": "{"}, "MAILER_DELIVERY__DOMAINS: not valid JSON"),
    "JSON of another kind": ({"MAILER_DELIVERY__DOMAINS": "[]"}, "must be a JSON object"),
    "secret file": ({"MAILER_WEB__SECRET_KEY__FILE": "/gone"}, "MAILER_WEB__SECRET_KEY__FILE: 'web.secret_key'"),
    "meaning": ({"MAILER_PUBLICATION__TIMEZONE": "Mars"}, "MAILER_PUBLICATION__TIMEZONE: unknown timezone 'Mars'"),
}


@pytest.mark.parametrize(("environ", "expected"), WRONG_VARIABLES.values(), ids=WRONG_VARIABLES)
def test_wrong_variable(tmp_path: Path, environ: dict[str, str], expected: str) -> None:
    """A wrong variable is named, with the right name where one is near."""
    assert expected in failure(tmp_path, "", **environ)


def test_all_errors_at_once(tmp_path: Path) -> None:
    """A file with three mistakes gets three lines."""
    message = failure(tmp_path, '[publication]\nnmae = "x"\n[delivery]\nbatch_size = 0\n[trackin]\nopens = true\n')
    assert [line.split(":")[1] for line in message.splitlines()] == ["2", "4", "5"]


AT_ONCE = {
    "types and meaning": (
        '[publication]\ntimezone = "Mars/Base"\nnam = "x"\nreply_to = "foo"\nname = 7\n',
        ["2: unknown timezone", "3: unknown key 'nam'", "4: 'foo' is no address", "5: 'publication.name' must be"],
    ),
    "what a wrong key hides": (
        '[[relays]]\nhost = "a.example"\nport = "x"\nsecurity = "none"\n',
        ["1: 'relays[0]': security", "3: 'relays[0].port' must be"],
    ),
    "in a relay without host": (
        '[[relays]]\nusername = "u"\n[[relays]]\nhost = "a b"\n',
        ["1: 'relays[0].host' is missing", "1: 'relays[0].password' is missing", "4: 'a b' is no host name"],
    ),
    "a wrong host alone": ('[[relays]]\nhost = 7\nname = "a"\n', ["2: 'relays[0].host' must be a text"]),
    "an unreadable password alone": (
        '[[relays]]\nhost = "a"\nusername = "u"\npassword = { file = "gone" }\n',
        ["4: 'relays[0].password': "],
    ),
    "an unreadable port alone": ('[[relays]]\nhost = "a"\nport = { file = "gone" }\n', ["3: 'relays[0].port': "]),
    "something else than a table": (
        'publication = 7\nrelays = [7]\nweb = { secret_key = "x" }\n',
        ["1: ", "2: ", "3: "],
    ),
    "in a list": ('[publication]\neditors = ["a", 7]\nlanguage = "klingon"\n', ["2: 'publication.editors", "3: "]),
}


@pytest.mark.parametrize(("text", "said"), AT_ONCE.values(), ids=AT_ONCE)
def test_each_error_once(tmp_path: Path, text: str, said: list[str]) -> None:
    """All that is wrong is said, in the order of the lines, and nothing that only follows from it."""
    lines = failure(tmp_path, text).splitlines()
    assert len(lines) == len(said)
    for line, start in zip(lines, said, strict=True):
        assert line.startswith(f"mailer.toml:{start}")


def test_variables_win(tmp_path: Path) -> None:
    """A variable wins over the file's key and leaves its neighbours alone; lists may be JSON or comma-separated."""
    text = '[publication]\nname = "file"\nlanguage = "de"\n[[relays]]\nhost = "file"\nport = 2525\n'
    settings = load(
        tmp_path,
        text,
        MAILER_PUBLICATION__NAME="variable",
        MAILER_PUBLICATION__EDITORS="a@example.com, b@example.com",
        MAILER_WEB__TRUSTED_PROXIES='["10.0.0.1"]',
        MAILER_RELAYS__0__HOST="variable",
        MAILER_RELAYS__1__HOST="second",
        MAILER_DELIVERY__DOMAINS='{"gmail.com": {"rate": "600/m"}}',
        MAILER_TRACKING__OPENS="true",
        MAILER_WEBHOOKS__SES__KEYS='["one", "two"]',
        MAILER_DSN="somebody else's",
    ).settings
    assert (settings.publication.name, settings.publication.language) == ("variable", "de")
    assert settings.publication.editors == ("a@example.com", "b@example.com")
    assert settings.web.trusted_proxies == ("10.0.0.1",)
    assert [(relay.host, relay.port) for relay in settings.relays] == [("variable", 2525), ("second", 587)]
    assert settings.delivery.domains["gmail.com"].rate == 10
    assert settings.tracking.opens is True
    assert len(settings.webhooks["ses"]["keys"]) == 2


def test_ten_relays_in_order(tmp_path: Path) -> None:
    """Relay number 10 comes after number 9, though its variable sorts before number 2's."""
    environ = {f"MAILER_RELAYS__{number}__HOST": f"h{number}" for number in range(12)}
    assert [relay.host for relay in load(tmp_path, "", **environ).settings.relays] == [f"h{n}" for n in range(12)]


def test_secret_files(tmp_path: Path) -> None:
    """A secret's file is found beside the configuration and its last line end is dropped, blanks are kept."""
    (tmp_path / "pw").write_text(" pass word \n")
    (tmp_path / "hook").write_text("s\r\n")
    text = (
        '[[relays]]\nhost = "h"\nusername = "u"\npassword = { file = "pw" }\n'
        '[webhooks.ses]\ntopics = [{ file = "hook" }, "t"]\n'
    )
    settings = load(tmp_path, text).settings
    assert settings.relays[0].password.get_secret_value() == " pass word "
    assert [secret.get_secret_value() for secret in settings.webhooks["ses"]["topics"]] == ["s", "t"]


def test_a_provider_called_file(tmp_path: Path) -> None:
    """A table whose keys are the operator's own isn't taken for a file's name."""
    assert "file" in load(tmp_path, '[webhooks.ses]\nfile = "x"\n').settings.webhooks["ses"]


def test_nothing_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With neither file nor variables there are defaults, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    loaded = load_settings(None, {})
    assert (loaded.path, loaded.data_dir) == (None, tmp_path / "mailer-data")
    assert loaded.store_url == f"sqlite:///{tmp_path}/mailer-data/mailer.db"
    assert list(tmp_path.iterdir()) == []


def test_which_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--config`` wins over ./mailer.toml, and that over MAILER_CONFIG."""
    monkeypatch.chdir(tmp_path)
    environ = {"MAILER_CONFIG": "other.toml"}
    assert find_config(None, environ) == Path("other.toml")
    Path("mailer.toml").write_text("")
    assert find_config(None, environ) == Path("mailer.toml")
    assert find_config(Path("given.toml"), environ) == Path("given.toml")


def test_a_given_file_that_is_missing(tmp_path: Path) -> None:
    """A file that was asked for and isn't there is an error, not defaults."""
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_settings(tmp_path / "gone.toml", {})
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_settings(None, {"MAILER_CONFIG": str(tmp_path / "gone.toml")})


def test_paths_are_the_configurations(tmp_path: Path) -> None:
    """Data directory, SQLite file and certificates are found from the configuration's folder, wherever one stands."""
    loaded = load(tmp_path, '[store]\ndata = "d"\nurl = "sqlite:///x.db"\n[[relays]]\nhost = "h"\nca_file = "ca.pem"\n')
    assert loaded.data_dir == tmp_path / "d"
    assert loaded.store_url == f"sqlite:///{tmp_path}/x.db"
    assert loaded.settings.relays[0].ca_file == str(tmp_path / "ca.pem")


def test_secret_key_is_made_once(tmp_path: Path) -> None:
    """Eight processes that need the key at once agree on one, which only its owner can read."""
    loaded = load(tmp_path, "")
    keys: list[bytes] = []
    threads = [threading.Thread(target=lambda: keys.append(secret_key(loaded))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert len(keys[0]) == 64
    assert stat.S_IMODE((loaded.data_dir / "secret_key").stat().st_mode) == 0o600
    assert stat.S_IMODE(loaded.data_dir.stat().st_mode) == 0o700
    assert [path.name for path in loaded.data_dir.iterdir()] == ["secret_key"]


def test_configured_secret_key(tmp_path: Path) -> None:
    """A configured key is used as it is, and no data directory is made for it."""
    loaded = load(tmp_path, '[web]\nsecret_key = "0123456789abcdef"\n')
    assert secret_key(loaded) == b"0123456789abcdef"
    assert not loaded.data_dir.exists()


def test_a_lost_secret_key(tmp_path: Path) -> None:
    """An emptied key file is an error: a new key would break the links in all mail that was sent."""
    loaded = load(tmp_path, "")
    (ensure_data_dir(loaded) / "secret_key").touch()
    with pytest.raises(ConfigError) as caught:
        secret_key(loaded)
    assert "Restore it" in caught.value.todo


def test_inactive_keys(tmp_path: Path) -> None:
    """Keys this version doesn't act upon are named when they are set, and only then."""
    text = (
        '[delivery.domains."gmail.com"]\nrate = "5/s"\n[bounces]\nsoft_limit = 3\n'
        "[tracking]\nopens = true\n"
        '[web]\ndashboard_password = "p"\n'
    )
    assert inactive_keys(load(tmp_path, text)) == ["tracking.opens", "web.dashboard_password"]
    assert inactive_keys(load(tmp_path, '[bounces]\nreturn_path = "b@example.com"\n')) == []

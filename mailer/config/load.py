"""Loads the configuration: file, then environment over it, then secrets, then types, then what types can't say.

All that is wrong is said at once, each with its line or variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mailer.config.check import check
from mailer.config.complaints import complaint, known_part
from mailer.config.environment import overlay, read_environment, sources, variable
from mailer.config.secret_files import resolve_files
from mailer.config.shape import Path as Key
from mailer.config.toml import line_of, read_toml
from mailer.errors import ConfigError
from mailer.model.settings import Settings

CONFIG_NAME = "mailer.toml"

MAX_ROUNDS = 5
"""How often what is wrong is taken out to look at the rest; a round after the first finds what the one before hid."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and where they came from. ``path`` is None when there is no file; paths are absolute."""

    settings: Settings
    path: Path | None
    data_dir: Path
    store_url: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Says where a key was given: ``mailer.toml:12`` or the variable's name."""

    file: Path | None
    lines: Mapping[Key, int]
    variables: Mapping[Key, str]

    def __call__(self, path: Key) -> str:
        for length in range(len(path), 0, -1):
            if path[:length] in self.variables:
                return self.variables[path[:length]]
        for given, name in self.variables.items():
            if given[: len(path)] == path:
                return name
        line = line_of(path, self.lines)
        if line and self.file:
            return f"{self.file}:{line}"
        return variable(path) if self.variables else str(self.file or "configuration")


def find_config(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: ``path``, else ``./mailer.toml`` if it exists, else what ``MAILER_CONFIG`` names, else none."""
    if path is not None:
        return path
    if Path(CONFIG_NAME).exists():
        return Path(CONFIG_NAME)
    return Path(environ["MAILER_CONFIG"]) if environ.get("MAILER_CONFIG") else None


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Loads the settings. Raises ``ConfigError`` that names every wrong key, with line, variable and what to do.

    ``path`` is what ``--config`` gave. Nothing is written: the data directory is made when it is first needed.
    """
    file = find_config(path, environ)
    data, lines = read_toml(file) if file else ({}, {})
    base = file.resolve().parent if file else Path.cwd()
    found, errors = read_environment(environ)
    place = _Place(file, lines, sources(found))
    for key, name, value in found:
        try:
            overlay(data, key, name, value)
        except ConfigError as error:
            errors.append(error)
    data, wrong = resolve_files(data, base, place)
    settings = _checked(data, wrong, place)
    if errors := [*errors, *wrong.values()]:
        raise _all(errors)
    settings = _absolute(settings, base)
    data_dir = (base / settings.store.data).resolve()
    return Loaded(settings, file.resolve() if file else None, data_dir, _store_url(settings.store.url, base, data_dir))


def _checked(data: dict[str, Any], wrong: dict[Key, ConfigError], place: _Place) -> Settings:
    """The settings, after noting everything in ``data`` that is wrong. Takes out what is, to look at the rest."""

    def note(path: Key, error: ConfigError) -> None:
        if not any(path[: len(known)] == known for known in wrong):
            wrong[path] = error

    for _ in range(MAX_ROUNDS):
        try:
            settings = Settings.model_validate(data)
        except ValidationError as invalid:
            found = [(known_part(error["loc"]), error) for error in invalid.errors(include_url=False)]
            for path, error in found:
                note(path, complaint(error, data, place))
            for path, _error in found:
                _drop(data, path)
        else:
            for path, what, todo in check(settings):
                note(path, ConfigError(what, where=place(path), todo=todo))
            return settings
    return Settings()


def _drop(data: dict[str, Any], path: Key) -> None:
    """Takes out what is wrong at a path: of a list all of it, but of the relays one alone, since they have numbers."""
    if path[0] == "relays" and len(path) > 1:
        index, *below = path[1:]
        stand_in = {"host": f"relay-{index}.localhost"}
        relay = data["relays"][index]
        if below and isinstance(relay, dict):
            relay.pop(below[0], None)
            data["relays"][index] = {**stand_in, **relay}
        else:
            data["relays"][index] = stand_in
        return
    home, key = data, path[0]
    for following in path[1:]:
        if not isinstance(home[str(key)], dict):
            break
        home, key = home[str(key)], following
    home.pop(str(key), None)


def _absolute(settings: Settings, base: Path) -> Settings:
    """File names in the settings, taken from the configuration's folder."""
    relays = tuple(
        relay.model_copy(update={"ca_file": str(base / relay.ca_file)}) if relay.ca_file else relay
        for relay in settings.relays
    )
    bounces = settings.bounces
    if bounces.imap.ca_file:
        imap = bounces.imap.model_copy(update={"ca_file": str(base / bounces.imap.ca_file)})
        bounces = bounces.model_copy(update={"imap": imap})
    return settings.model_copy(update={"relays": relays, "bounces": bounces})


def _store_url(url: str, base: Path, data_dir: Path) -> str:
    if not url:
        return f"sqlite:///{data_dir / 'mailer.db'}"
    if url.startswith("sqlite:///"):
        return f"sqlite:///{base / url.removeprefix('sqlite:///')}"
    return url


def _all(errors: list[ConfigError]) -> ConfigError:
    def line(error: ConfigError) -> int:
        number = error.where.rpartition(":")[2]
        return int(number) if number.isdigit() else 0

    return errors[0] if len(errors) == 1 else ConfigError("\n".join(map(str, sorted(errors, key=line))))

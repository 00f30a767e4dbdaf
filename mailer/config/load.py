"""Loads the configuration: file, then environment over it, then secrets, then types, then what types can't say.

All that is wrong is said at once, each with its line or variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from mailer.config.check import check
from mailer.config.complaints import complaint
from mailer.config.environment import overlay, read_environment, sources, variable
from mailer.config.secret_files import resolve_files
from mailer.config.shape import Path as Key
from mailer.config.toml import line_of, read_toml
from mailer.errors import ConfigError
from mailer.model.settings import Settings

CONFIG_NAME = "mailer.toml"


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
    data, unreadable = resolve_files(data, base, place)
    errors += unreadable
    try:
        settings = Settings.model_validate(data)
    except ValidationError as invalid:
        errors += [complaint(error, data, place) for error in invalid.errors(include_url=False)]
        raise _all(errors) from None
    errors += [ConfigError(what, where=place(key), todo=todo) for key, what, todo in check(settings)]
    if errors:
        raise _all(errors)
    settings = _absolute(settings, base)
    data_dir = (base / settings.store.data).resolve()
    return Loaded(settings, file.resolve() if file else None, data_dir, _store_url(settings.store.url, base, data_dir))


def _absolute(settings: Settings, base: Path) -> Settings:
    """File names in the settings, taken from the configuration's folder."""
    relays = tuple(
        relay.model_copy(update={"ca_file": str(base / relay.ca_file)}) if relay.ca_file else relay
        for relay in settings.relays
    )
    return settings.model_copy(update={"relays": relays})


def _store_url(url: str, base: Path, data_dir: Path) -> str:
    if not url:
        return f"sqlite:///{data_dir / 'mailer.db'}"
    if url.startswith("sqlite:///"):
        return f"sqlite:///{base / url.removeprefix('sqlite:///')}"
    return url


def _all(errors: list[ConfigError]) -> ConfigError:
    return errors[0] if len(errors) == 1 else ConfigError("\n".join(map(str, errors)))

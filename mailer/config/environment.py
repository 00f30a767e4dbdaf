"""Reads ``MAILER_<SECTION>__<KEY>`` variables: the same keys as in ``mailer.toml``, and they win over it.

Below a list the part is a number (``MAILER_RELAYS__0__HOST``); a list is JSON or comma-separated; a whole table may be
given as JSON. A variable without ``__`` is somebody else's, unless it begins like one of our sections.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mailer.config.shape import (
    Path,
    child,
    is_leaf,
    is_list,
    is_mapping,
    is_section,
    is_sections,
    known_keys,
    shape_at,
)
from mailer.errors import ConfigError, nearest
from mailer.model.settings import Settings

PREFIX = "MAILER_"


def read_environment(environ: Mapping[str, str]) -> tuple[list[tuple[Path, str, Any]], list[ConfigError]]:
    """Each of our variables as (path, name, value), and what is wrong with others."""
    found: list[tuple[Path, str, Any]] = []
    errors: list[ConfigError] = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name == "MAILER_CONFIG":
            continue
        try:
            path = _path(name)
            if path:
                found.append((path, name, _value(path, name, environ[name])))
        except ConfigError as error:
            errors.append(error)
    return sorted(found, key=lambda item: item[0]), errors


def variable(path: Path) -> str:
    """The variable's name for a path."""
    return PREFIX + "__".join(str(key).upper() for key in path)


def overlay(data: dict[str, Any], path: Path, name: str, value: Any) -> None:
    """Puts a variable's value into the configuration's data. Raises ``ConfigError`` where it doesn't fit."""
    here: Any = data
    for key, following in zip(path, (*path[1:], None), strict=True):
        if isinstance(here, list):
            if not isinstance(key, int) or key > len(here):
                raise ConfigError(
                    f"there are only {len(here)} before it", where=name, todo="Count from 0, without gaps."
                )
            if key == len(here):
                here.append({})
        if following is None:
            here[key] = value
            return
        if isinstance(here, dict) and not isinstance(here.get(key), dict | list):
            here[key] = [] if isinstance(following, int) else {}
        here = here[key]


def _path(name: str) -> Path:
    """The path of a variable; empty when it isn't ours. Raises ``ConfigError`` for a misspelt one."""
    rest = name.removeprefix(PREFIX)
    if "__" not in rest:
        section = next((s for s in known_keys(Settings) if rest.lower().startswith(s + "_")), None)
        if section:
            right = f"{PREFIX}{section.upper()}__{rest[len(section) + 1 :]}"
            raise ConfigError("unknown variable", where=name, todo=f"Did you mean '{right}' (two underscores)?")
        if rest.lower() not in known_keys(Settings):
            return ()
    path: Path = ()
    shape: Any = Settings
    parts = rest.split("__")
    for index, part in enumerate(parts):
        key: str | int = int(part) if is_sections(shape) and part.isdigit() else part.lower()
        below = child(shape, key)
        if below is None and is_leaf(shape) and key == "file":
            return (*path, "file")
        if below is None:
            raise ConfigError("unknown variable", where=name, todo=_suggest(path, shape, parts[index:]))
        path, shape = (*path, key), below
    return path


def _suggest(path: Path, shape: Any, parts: Sequence[str]) -> str:
    """What was meant by the first of ``parts``, below the path of a shape; the others are kept."""
    if is_sections(shape):
        return f"Give a number: {variable((*path, 0))}__…"
    if not is_section(shape):
        return f"{variable(path)} has nothing below it." if path else ""
    todo = nearest(variable((*path, parts[0])), [variable((*path, key)) for key in known_keys(shape)])
    return todo.replace("'?", "".join(f"__{part}" for part in parts[1:]) + "'?")


def _value(path: Path, name: str, text: str) -> Any:
    shape = shape_at(path)
    several = text.lstrip().startswith("[") and path[0] == "webhooks"
    if is_leaf(shape) and not several:
        return text
    if is_list(shape) and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"not valid JSON: {error}", where=name, todo="A table or list is given as JSON.") from None
    wanted = dict if is_section(shape) or is_mapping(shape) else list
    if not isinstance(value, wanted):
        raise ConfigError(f"must be a JSON {'object' if wanted is dict else 'array'}", where=name)
    return value


def sources(found: list[tuple[Path, str, Any]]) -> dict[Path, str]:
    """Which variable each path came from, so that an error can name it."""
    return {path: name for path, name, _ in found} | {
        path + below: name for path, name, value in found for below in _below(value)
    }


def _below(value: Any) -> Iterator[Path]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (key,)
        for rest in _below(inner):
            yield (key, *rest)

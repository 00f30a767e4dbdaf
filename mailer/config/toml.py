"""Reads ``mailer.toml``: its values, and the line on which each key stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mailer.config.shape import Path as Key
from mailer.errors import ConfigError


def read_toml(path: Path) -> tuple[dict[str, Any], dict[Key, int]]:
    """Values and lines of a file. Raises ``ConfigError`` with the line of a syntax error."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            "there is no such configuration file", where=str(path), todo="'mailer init' writes one."
        ) from None
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8", where=str(path), todo="Save it as UTF-8.") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax(str(error), text, path) from None
    return data, key_lines(text)


def key_lines(text: str) -> dict[Key, int]:
    """The line of each key of a valid TOML text, those in inline tables included."""
    lines: dict[Key, int] = {}
    table: Key = ()
    counts: dict[Key, int] = {}
    for number, statement in _statements(text):
        parsed = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = _header(parsed, counts, array=statement.lstrip().startswith("[["))
            lines.setdefault(table, number)
            lines.setdefault(table[:-1], number)
        else:
            for key in _keys(parsed):
                lines.setdefault(table + key, number)
    return lines


def line_of(path: Key, lines: Mapping[Key, int]) -> int | None:
    """The line of a key, or of the nearest table around it."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each header or ``key = value`` with its first line; one that isn't valid TOML yet goes on in the next line."""
    begin, buffer = 1, ""
    for number, line in enumerate(text.splitlines(), 1):
        if not buffer:
            begin = number
        buffer += line + "\n"
        try:
            parsed = tomllib.loads(buffer)
        except tomllib.TOMLDecodeError:
            continue
        if parsed:
            yield begin, buffer
        buffer = ""


def _header(parsed: dict[str, Any], counts: dict[Key, int], *, array: bool) -> Key:
    """The path of a header; below an array of tables it means the array's last table."""
    names: list[str] = []
    value: Any = parsed
    while isinstance(value, dict) and value:
        name, value = next(iter(value.items()))
        names.append(name)
    path: Key = ()
    for name in names[:-1]:
        path = (*path, name)
        if path in counts:
            path = (*path, counts[path])
    path = (*path, names[-1])
    if array:
        counts[path] = counts.get(path, -1) + 1
        return (*path, counts[path])
    return path


def _keys(value: Any) -> Iterator[Key]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in pairs:
        yield (key,)
        for rest in _keys(below):
            yield (key, *rest)


def _syntax(message: str, text: str, path: Path) -> ConfigError:
    found = re.search(r"\s*\(at line (\d+), column \d+\)", message)
    line = int(found[1]) if found else len(text.splitlines())
    what = message[: found.start()] if found else re.sub(r"\s*\(at end of document\)", " (the file ends here)", message)
    shown = text.splitlines()[line - 1].strip() if 0 < line <= len(text.splitlines()) else ""
    if re.match("Cannot (overwrite|declare)", what) and (key := re.match(r"(\[.*\])|([^=]+?)\s*=", shown)):
        todo = "Put their keys under one of them." if key[1] else "Remove one of them."
        return ConfigError(f"'{key[1] or key[2]}' is given twice", where=f"{path}:{line}", todo=todo)
    todo = 'Texts stand in quotes: name = "My letter".' if "Invalid value" in what and "=" in shown else ""
    return ConfigError(f"not valid TOML: {what[:1].lower()}{what[1:]}", where=f"{path}:{line}", todo=todo)

"""Puts pydantic's findings in an operator's words. A secret's value is never repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mailer.config.shape import Path, child, dotted, is_mapping, is_section, is_sections, known_keys, shape_at
from mailer.errors import ConfigError, nearest
from mailer.model.settings import Settings

_WORDS = {
    "string": "a text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "tuple": "a list in [ ]",
    "dict": "a table",
    "model": "a table",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
    "greater_than": ("more than", "gt"),
    "less_than": ("less than", "lt"),
}


def complaint(error: Mapping[str, Any], data: Mapping[str, Any], place: Callable[[Path], str]) -> ConfigError:
    """One finding of pydantic's as a ``ConfigError`` that names key, place and what to write instead."""
    path = known_part(error["loc"])
    kind, context = str(error["type"]), error.get("ctx", {})
    where = place(path)
    if kind == "extra_forbidden":
        return _unknown(path, data, where)
    if kind == "missing":
        return ConfigError(f"'{dotted(path)}' is missing", where=where)
    if kind == "value_error":
        name = f"'{dotted(path)}': " if path else ""
        return ConfigError(f"{name}{context['error']}", where=where)
    if kind == "literal_error":
        expected = str(context["expected"]).replace("'", '"')
        return ConfigError(f"'{dotted(path)}' must be {expected}, not {error['input']!r}", where=where)
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return ConfigError(f"'{dotted(path)}' must be {words} {context[key]:g}, not {error['input']}", where=where)
    wanted = _WORDS.get(kind.split("_")[0])
    if wanted == "a table" and is_sections(shape_at(path[:1])):
        return ConfigError(f"'{dotted(path)}' must be a table", where=where, todo=f"Write [[{path[0]}]].")
    if kind == "tuple_type" and is_sections(shape_at(path)):
        return ConfigError(f"[{dotted(path)}] must be a list of tables", where=where, todo=f"Write [[{dotted(path)}]].")
    if wanted:
        return ConfigError(f"'{dotted(path)}' must be {wanted}", where=where)
    return ConfigError(f"'{dotted(path)}': {error['msg']}", where=where)


def known_part(loc: tuple[str | int, ...]) -> Path:
    """The part of pydantic's location that is a path of ours; behind it may stand names of a union's members."""
    shape: Any = Settings
    path: Path = ()
    for key in loc:
        below = child(shape, key)
        if below is None:
            return (*path, key) if is_section(shape) else path
        path, shape = (*path, key), below
    return path


def _unknown(path: Path, data: Mapping[str, Any], where: str) -> ConfigError:
    around, key = path[:-1], str(path[-1])
    known = known_keys(shape_at(around))
    if around:
        todo = _quoted(path, data) or nearest(key, known)
        return ConfigError(f"unknown key '{key}' in [{dotted(around)}]", where=where, todo=todo)
    if isinstance(data.get(key), dict | list):
        return ConfigError(f"unknown section [{key}]", where=where, todo=nearest(key, known))
    homes = [f"[{section}]" for section in known if key in known_keys(shape_at((section,)))]
    todo = f"It belongs in {' or '.join(homes)}." if homes else f"Every key stands in a section. {nearest(key, known)}"
    return ConfigError(f"unknown key '{key}'", where=where, todo=todo)


def _quoted(path: Path, data: Mapping[str, Any]) -> str:
    """How a table is written whose name has dots in it, if that was meant: ``[delivery.domains.gmail.com]``."""
    home, names = path[:-2], [str(key) for key in path[-2:]]
    value: Any = data
    for key in path:
        value = value[key]
    if not is_mapping(shape_at(home)) or not isinstance(value, dict):
        return ""
    while len(value) == 1 and isinstance(below := next(iter(value.values())), dict):
        names += value
        value = below
    return f'A name with dots stands in quotes: [{dotted(home)}."{".".join(names)}"].'

"""Replaces ``{file = "…"}`` by what the file holds, so that no secret needs to stand in ``mailer.toml``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mailer.config.shape import Path as Key
from mailer.config.shape import child, dotted, is_leaf
from mailer.errors import ConfigError, nearest
from mailer.model.settings import Settings


def resolve_files(
    data: dict[str, Any], base: Path, place: Callable[[Key], str]
) -> tuple[dict[str, Any], dict[Key, ConfigError]]:
    """The data with secrets read from their files (relative to ``base``, line ends stripped), and which failed."""
    errors: dict[Key, ConfigError] = {}

    def read(name: str, path: Key) -> str:
        try:
            return (base / name).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            errors[path] = ConfigError(f"'{dotted(path)}': {base / name}: {why}", where=place(path))
            return ""

    def resolve(value: Any, shape: Any, path: Key) -> Any:
        if isinstance(value, dict) and value and shape is not None and is_leaf(shape):
            if set(value) == {"file"}:
                return read(str(value["file"]), path)
            wrong = next(key for key in value if key != "file")
            what = f"'{dotted(path)}' has no key '{wrong}'"
            todo = nearest(wrong, ["file"]) if "file" not in value else 'It is a text, or { file = "…" }.'
            errors[path] = ConfigError(what, where=place((*path, wrong)), todo=todo)
            return ""
        if isinstance(value, dict):
            return {key: resolve(inner, child(shape, key), (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            below = [child(shape, index) or shape for index in range(len(value))]
            return [resolve(inner, below[index], (*path, index)) for index, inner in enumerate(value)]
        return value

    return resolve(data, Settings, ()), errors

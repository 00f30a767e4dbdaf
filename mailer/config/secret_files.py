"""Replaces ``{file = "…"}`` by what the file holds, so that no secret needs to stand in ``mailer.toml``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mailer.config.shape import Path as Key
from mailer.config.shape import child, dotted, is_leaf
from mailer.errors import ConfigError
from mailer.model.settings import Settings


def resolve_files(
    data: dict[str, Any], base: Path, place: Callable[[Key], str]
) -> tuple[dict[str, Any], list[ConfigError]]:
    """The data with secrets read from their files (relative to ``base``, line ends stripped), and what failed."""
    errors: list[ConfigError] = []

    def resolve(value: Any, shape: Any, path: Key) -> Any:
        if isinstance(value, dict) and shape is not None and is_leaf(shape) and set(value) == {"file"}:
            try:
                return (base / str(value["file"])).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "is not UTF-8"
                errors.append(ConfigError(f"'{dotted(path)}': {base / str(value['file'])}: {why}", where=place(path)))
                return ""
        if isinstance(value, dict):
            return {key: resolve(inner, child(shape, key), (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            below = [child(shape, index) or shape for index in range(len(value))]
            return [resolve(inner, below[index], (*path, index)) for index, inner in enumerate(value)]
        return value

    return resolve(data, Settings, ()), errors

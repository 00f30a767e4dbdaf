"""What the configuration may hold, read off the settings' own types: no second list of keys to keep in step."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from pydantic import BaseModel

from mailer.model.settings import Settings

Path = tuple[str | int, ...]
"""Where a value stands: ``("relays", 0, "host")``."""


def child(shape: Any, key: str | int) -> Any:
    """The type below a type under a key, or None where the key is unknown."""
    if is_section(shape):
        for name, field in shape.model_fields.items():
            if key == (field.alias or name):
                return field.annotation
        return None
    if get_origin(shape) is dict:
        return get_args(shape)[1] if isinstance(key, str) else None
    if is_sections(shape):
        return get_args(shape)[0] if isinstance(key, int) else None
    return None


def shape_at(path: Path) -> Any:
    """The type at a path, or None where some part of it is unknown."""
    shape: Any = Settings
    for key in path:
        shape = child(shape, key)
        if shape is None:
            return None
    return shape


def known_keys(shape: Any) -> list[str]:
    """The keys a section knows; none for anything else."""
    return [field.alias or name for name, field in shape.model_fields.items()] if is_section(shape) else []


def is_section(shape: Any) -> bool:
    """Whether it is a table with fixed keys."""
    return isinstance(shape, type) and issubclass(shape, BaseModel)


def is_mapping(shape: Any) -> bool:
    """Whether it is a table with keys of the operator's choice."""
    return get_origin(shape) is dict


def is_sections(shape: Any) -> bool:
    """Whether it is an array of tables."""
    return get_origin(shape) is tuple and is_section(get_args(shape)[0])


def is_list(shape: Any) -> bool:
    """Whether it is a list of plain values."""
    return get_origin(shape) is tuple and not is_sections(shape)


def is_leaf(shape: Any) -> bool:
    """Whether a single value stands there."""
    return not (is_section(shape) or is_mapping(shape) or is_sections(shape) or is_list(shape))


def dotted(path: Path) -> str:
    """A path as people write it: ``relays[0].host``, ``delivery.domains."gmail.com".rate``."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += ("." if text else "") + (key if key.replace("_", "").replace("-", "").isalnum() else f'"{key}"')
    return text

"""What commands share: ``--config``, ``--json``, reading the settings. Imports little, so that help is quick."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mailer.config import Loaded

F = TypeVar("F", bound=Callable[..., Any])

_META = "mailer.config"


def _remember(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.meta[_META] = value


def config_option(function: F) -> F:
    """``--config``: may stand before or after the command's name."""
    option = click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        expose_value=False,
        is_eager=True,
        callback=_remember,
        help="Configuration file. [default: ./mailer.toml, else MAILER_CONFIG]",
    )
    return option(function)


def json_option(function: F) -> F:
    """``--json``: one JSON document on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(function)


def load() -> Loaded:
    """The settings for the command that runs. Raises ``ConfigError``."""
    from mailer.config import load_settings

    return load_settings(config_path(), os.environ)


def config_path() -> Path | None:
    """What ``--config`` gave."""
    path: Path | None = click.get_current_context().meta.get(_META)
    return path

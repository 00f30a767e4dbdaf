"""Logs of processes that run for long: one line each, to stderr."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mailer.config import Loaded, secret_key
from workers import logs

F = TypeVar("F", bound=Callable[..., Any])


def log_addresses_option(function: F) -> F:
    """``--log-addresses``"""
    text = "Show e-mail addresses in the log. Else each is a keyed hash, the same one for the same person."
    return click.option("--log-addresses", is_flag=True, help=text)(function)


def log_to_stderr(loaded: Loaded, *, addresses: bool = False) -> None:
    """Sends all logs to stderr; libraries say only what is amiss. Makes the secret key when there is none yet.

    ``addresses``: shown as they are.
    """
    logs.log_to_stderr(secret_key(loaded), addresses=addresses)

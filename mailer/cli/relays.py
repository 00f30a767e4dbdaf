"""Where mail goes: said before any goes out, and whether it gets there tried."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from mailer.cli.output import err, plain
from mailer.config import Loaded
from mailer.errors import MailerError, RelayError
from mailer.model.settings import Relay
from mailer.smtp.connect import check
from mailer.smtp.connection import Timeouts

PATIENCE = 20.0
"""Seconds a relay gets to answer when it is tried."""

_SECURITY = {"starttls": "STARTTLS", "tls": "TLS", "none": "unencrypted"}


def capture_directory(loaded: Loaded) -> Path:
    """Where the capture files messages."""
    return loaded.data_dir / "captured"


def where_mail_goes(loaded: Loaded) -> str:
    """In one line."""
    relays = loaded.settings.relays
    if relays:
        return ", ".join(map(_described, relays))
    return f"nobody: captured as files in {capture_directory(loaded)}"


def _described(relay: Relay) -> str:
    place, security = f"{relay.host}:{relay.port}", _SECURITY[relay.security]
    return f"{relay.name} ({place}, {security})" if relay.name else f"{place} ({security})"


def check_relays(loaded: Loaded, *, strictly: bool) -> None:
    """Connects and logs in to each relay. What fails is said; if all of them fail and ``strictly``, raises
    ``RelayError``: better now than with the audience written."""
    errors = asyncio.run(_check_all(loaded.settings.relays))
    if strictly and errors and len(errors) == len(loaded.settings.relays):
        raise errors[0]
    for error in errors:
        err.print(plain(f"Warning: {error}"), style="yellow")


async def _check_all(relays: Sequence[Relay]) -> list[MailerError]:
    answers = await asyncio.gather(
        *(asyncio.wait_for(check(relay, Timeouts(connect=10.0)), PATIENCE) for relay in relays), return_exceptions=True
    )
    errors: list[MailerError] = []
    for relay, answer in zip(relays, answers, strict=True):
        if isinstance(answer, TimeoutError):
            errors.append(RelayError(f"no answer within {PATIENCE:g} seconds", where=relay.label))
        elif isinstance(answer, MailerError):
            errors.append(answer)
        elif isinstance(answer, BaseException):
            raise answer
    return errors


def say_where_mail_goes(loaded: Loaded) -> None:
    """Says loudly when no relay is configured."""
    if not loaded.settings.relays:
        err.print("[bold yellow]No relay is configured: nothing goes out.[/]", end=" ")
        err.print(f"Mail is captured as files in {capture_directory(loaded)}.", markup=False)
        err.print("For real mail, add [[relays]] to mailer.toml.", markup=False)

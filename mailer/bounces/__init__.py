"""What comes back: bounces, complaints and the like, out of providers' webhooks and bounce mails. Pure, no I/O."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mailer.bounces.event import Event, EventType, Reason

if TYPE_CHECKING:
    from mailer.bounces.message import parse_message
    from mailer.bounces.webhook import parse_webhook, verify_webhook

__all__ = ["Event", "EventType", "Reason", "parse_message", "parse_webhook", "verify_webhook"]

_READERS = {"parse_message": "message", "parse_webhook": "webhook", "verify_webhook": "webhook"}


def __getattr__(name: str) -> Any:
    # Every part of mailer knows events, and few read them: the readers' tables and patterns take a while to import.
    if name not in _READERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_READERS[name]}"), name)

"""What comes back: bounces, complaints and the like, out of providers' webhooks and bounce mails. Pure, no I/O."""

from __future__ import annotations

from mailer.bounces.event import Event, EventType, Reason
from mailer.bounces.message import parse_message
from mailer.bounces.webhook import parse_webhook, verify_webhook

__all__ = ["Event", "EventType", "Reason", "parse_message", "parse_webhook", "verify_webhook"]

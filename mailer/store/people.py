"""A subscriber as a row and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mailer.model.people import Subscriber, SubscriberStatus

PERSON = (
    "s.id, s.email AS subscriber_email, s.first_name, s.last_name, s.language, s.timezone, s.attributes,"
    " s.status AS subscriber_status"
)
"""Columns that ``person`` reads; ``s`` is the table of subscribers."""

REACHABLE = """s.status = 'subscribed'
    AND NOT EXISTS (SELECT 1 FROM suppressions x WHERE x.email_key = s.email_key)"""
"""People who want mail and may get it; ``s`` is the table of subscribers."""

NOT_PAUSED = "(s.paused_until IS NULL OR s.paused_until <= :at)"
"""People who get the send that begins at ``:at``; ``s`` is the table of subscribers."""

BY_KEYS = "SELECT s.email_key, {person} FROM subscribers s WHERE s.email_key IN (SELECT k FROM {keys} AS g)"
"""A template: the people whose address keys are given."""


_STATUS = {str(status): status for status in SubscriberStatus}


def person(row: Any, referrals: int = 0) -> Subscriber:
    """The subscriber of a row that has the columns of ``PERSON`` as attributes."""
    return Subscriber(
        row.id,
        row.subscriber_email,
        row.first_name,
        row.last_name,
        row.language,
        row.timezone,
        json.loads(row.attributes) if row.attributes != "{}" else {},
        referrals,
        _STATUS[row.subscriber_status],
    )


def dump_attributes(attributes: Mapping[str, str]) -> str:
    """As JSON: equal attributes give the equal text."""
    return json.dumps(dict(attributes), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def dump_persona(subscriber: Subscriber) -> str:
    """A persona as JSON."""
    return json.dumps({**asdict(subscriber), "attributes": dict(subscriber.attributes)}, ensure_ascii=False)


def load_persona(text: str) -> Subscriber:
    """The inverse of ``dump_persona``."""
    data = json.loads(text)
    return Subscriber(**{**data, "status": SubscriberStatus(data["status"])})

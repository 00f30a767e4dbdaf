"""Reading once more what was kept of an event."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mailer.bounces import parse_webhook
from mailer.bounces.webhook import parse_kept
from tests.servers.senders import PROVIDERS, tell


@pytest.mark.parametrize("provider", PROVIDERS)
def test_same(provider: str) -> None:
    """What is kept of each provider's event says the same as its request did, but for the id."""
    told = tell(provider, "a@example.com")
    (event,) = parse_webhook(provider, told.headers, told.body)
    (again,) = parse_kept(provider, json.dumps(event.raw))
    assert replace(again, event_id=event.event_id) == event


@pytest.mark.parametrize("provider", [*PROVIDERS, "mail"])
def test_unreadable(provider: str) -> None:
    """What can't be read, or says nothing, has no effect: at most an unknown event, and no exception."""
    for raw in ("", "7", "[]", '{"a": "cut o', "null", "[" * 5000, "\ud800", "{}"):
        assert {str(event.type) for event in parse_kept(provider, raw)} <= {"unknown"}

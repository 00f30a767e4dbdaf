"""The compiled issue as a value."""

from __future__ import annotations

import json

import pytest

from mailer.model.compiled import Branch, Choice, CompiledIssue, Escape, Slot, slots_of

NAME = Slot("subscriber.first_name", Escape.TEXT)
LINK = Slot("links.unsubscribe", Escape.URL)
ISSUE = CompiledIssue(
    slug="a",
    title="Ä",
    language="de",
    country="DE",
    timezone="Europe/Berlin",
    date="2025-06-09",
    sender="A <a@example.com>",
    reply_to="",
    subject=("Hallo ", NAME),
    text=("x",),
    html=("<p>", Choice((Branch("subscriber.first_name", (" ", NAME)),), ("!", LINK)), "</p>"),
    word_count=1,
    reading_minutes=1,
)


def test_round_trip() -> None:
    """JSON there and back is the same value with the same digest."""
    again = CompiledIssue.from_json(ISSUE.to_json())
    assert again == ISSUE
    assert again.digest == ISSUE.digest


def test_slots_of() -> None:
    """Slots are found inside choices too, in order."""
    assert list(slots_of(ISSUE.html)) == [NAME, LINK]


def test_other_format() -> None:
    """An artefact of a format we don't know is refused."""
    data = json.loads(ISSUE.to_json()) | {"format": 99}
    with pytest.raises(ValueError, match="another version"):
        CompiledIssue.from_json(json.dumps(data))

"""From a send's public id to its number: asked in every transaction of a worker, and never changing."""

from __future__ import annotations

from sqlalchemy import Connection

from mailer.model.ledger import SendId
from mailer.store.database import scalar


class SendKeys:
    """Remembers what it has found. An entry may be forgotten at any time; threads may use it at once."""

    def __init__(self) -> None:
        self._known: dict[SendId, int] = {}

    def find(self, connection: Connection, send: SendId) -> int | None:
        """The send's number, or None for an unknown send."""
        if send not in self._known:
            key = scalar(connection, "SELECT key FROM sends WHERE id = :id", id=send)
            if key is None:
                return None
            self._known[send] = key
        return self._known[send]

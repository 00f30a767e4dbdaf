"""Floor 3: SQL. The truth about subscribers, sends and every recipient's state."""

from __future__ import annotations

from mailer.store.schema import migrate
from mailer.store.store import SqlStore, open_store

__all__ = ["SqlStore", "migrate", "open_store"]

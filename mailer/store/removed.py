"""What is remembered of people who were removed, in case their address comes again: the id that the links in their old
mails name, and whether they had left. The address itself isn't; a hash of it is.

So a link in an old mail works for whoever was removed and imported again, and who had unsubscribed stays so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping

from sqlalchemy import Connection

from mailer.store.database import Database

_LABEL = b"mailer removed subscriber\0"


class Removed:
    """Statements over the table ``removed_subscribers``, within a transaction of the caller's."""

    def __init__(self, database: Database) -> None:
        sql, given = database.sql, database.given
        hashes = given("hashes", h="text")
        self._note = sql(
            """INSERT INTO removed_subscribers (address_hash, id, unsubscribed_at)
            VALUES (:hash, :id, :unsubscribed_at)
            ON CONFLICT (address_hash) DO UPDATE SET id = excluded.id, unsubscribed_at = excluded.unsubscribed_at"""
        )
        self._leave = sql(
            "UPDATE removed_subscribers SET unsubscribed_at = :now WHERE id = :id AND unsubscribed_at IS NULL"
        )
        self._any = sql("SELECT EXISTS (SELECT 1 FROM removed_subscribers)")
        self._find = sql(
            """SELECT address_hash, id, unsubscribed_at FROM removed_subscribers
            WHERE address_hash IN (SELECT h FROM {hashes} AS g)""",
            hashes=hashes,
        )
        self._return = sql(
            "UPDATE subscribers SET id = g.id FROM {rows} AS g WHERE subscribers.email_key = g.email_key",
            rows=given("rows", email_key="text", id="int"),
        )
        self._stay_away = sql(
            """UPDATE subscribers SET status = 'unsubscribed', unsubscribed_at = g.at FROM {rows} AS g
            WHERE subscribers.email_key = g.email_key""",
            rows=given("rows", email_key="text", at="float"),
        )
        self._forget = sql(
            "DELETE FROM removed_subscribers WHERE address_hash IN (SELECT h FROM {hashes} AS g)", hashes=hashes
        )

    def note(self, connection: Connection, key: str, subscriber: int, unsubscribed_at: float | None) -> None:
        """A person has been deleted."""
        values = {"hash": _hash(key), "id": subscriber, "unsubscribed_at": unsubscribed_at}
        connection.execute(self._note, values)

    def leave(self, connection: Connection, subscriber: int, now: float) -> None:
        """Whoever was removed asks to be left alone: they would come back as somebody who has unsubscribed. The caller
        holds ``Lock.PEOPLE``, as those do who bring people back."""
        connection.execute(self._leave, {"id": subscriber, "now": now})

    def find(self, connection: Connection, keys: Collection[str]) -> dict[str, tuple[int, float | None]]:
        """Of these addresses, by their keys, the ones that were removed: the id, and when they had unsubscribed."""
        if not keys or not connection.execute(self._any).scalar():
            return {}
        by_hash = {_hash(key): key for key in keys}
        values = {"hashes": json.dumps([[one] for one in sorted(by_hash)])}
        return {
            by_hash[row.address_hash]: (row.id, row.unsubscribed_at) for row in connection.execute(self._find, values)
        }

    def come_back(
        self, connection: Connection, found: Mapping[str, tuple[int, float | None]], *, consenting: bool = False
    ) -> None:
        """They have just been inserted, and get what ``find`` has found. ``consenting``: they asked to come back."""
        if not found:
            return
        ids = [(key, number) for key, (number, _) in sorted(found.items())]
        connection.execute(self._return, {"rows": json.dumps(ids)})
        left = [(key, at) for key, (_, at) in sorted(found.items()) if at is not None]
        if left and not consenting:
            connection.execute(self._stay_away, {"rows": json.dumps(left)})
        connection.execute(self._forget, {"hashes": json.dumps([[_hash(key)] for key in sorted(found)])})


def _hash(key: str) -> str:
    return hashlib.sha256(_LABEL + key.encode()).hexdigest()

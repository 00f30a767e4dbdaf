"""Writing a send's ledger: who gets it, a row each, without a row passing through Python."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from mailer.delivery.destination import destination
from mailer.errors import SendError
from mailer.model.address import parse_address
from mailer.model.people import Subscriber
from mailer.service.ports import Addressee
from mailer.store.database import Database
from mailer.store.people import BY_KEYS, NOT_PAUSED, PERSON, REACHABLE, dump_persona, person

_CHUNK = 10_000

_WANTED = f"FROM subscribers s WHERE {REACHABLE} AND {NOT_PAUSED}"

_UNREACHED = """
    AND NOT EXISTS (
        SELECT 1 FROM sends e JOIN recipients r ON r.send = e.key
        WHERE e.slug = :slug AND e.kind = 'issue' AND e.key <> :send
            AND r.subscriber = s.id AND r.state <> 'skipped')"""
"""Nobody gets an issue twice: whoever an earlier send of it covers is left out, whatever became of that send."""

_WRITE = """
    INSERT INTO recipients (send, position, subscriber, email, destination, state, epoch, attempts, updated_at)
    SELECT :send, row_number() OVER (ORDER BY s.id), s.id, s.email, s.destination, 'pending', 0, 0,
        :now
    {wanted} {unreached} {chosen} ORDER BY s.id"""


class Audience:
    """Statements that pick subscribed, unsuppressed people."""

    def __init__(self, database: Database) -> None:
        sql, given = database.sql, database.given
        self._write = {
            segment: sql(
                _WRITE,
                wanted=_WANTED,
                unreached=_UNREACHED,
                chosen="AND s.id IN (SELECT id FROM segment)" if segment else "",
            )
            for segment in (False, True)
        }
        self._remaining = sql("SELECT count(*) {wanted} {unreached}", wanted=_WANTED, unreached=_UNREACHED)
        self._remaining_ids = sql("SELECT s.id {wanted} {unreached}", wanted=_WANTED, unreached=_UNREACHED)
        self._make_segment = sql("CREATE TEMPORARY TABLE segment (id integer PRIMARY KEY) {temporary}")
        self._fill_segment = sql(
            "INSERT INTO segment SELECT id FROM {ids} AS g WHERE true ON CONFLICT DO NOTHING",
            ids=given("ids", id="int"),
        )
        self._drop_segment = sql("DROP TABLE segment")
        self._by_keys = sql(BY_KEYS, person=PERSON, keys=given("keys", k="text"))
        self._write_tests = sql(
            """INSERT INTO recipients
                (send, position, email, destination, address_key, persona, state, epoch, attempts, updated_at)
            SELECT :send, position, email, destination, key, persona, 'pending', 0, 0, :now FROM {rows} AS g""",
            rows=given("rows", position="int", email="text", destination="text", key="text", persona="text"),
        )

    def write(
        self, connection: Connection, send: int, slug: str, segment: array[int] | None, now: float, at: float
    ) -> int:
        """Writes the rows of an issue send that begins at ``at``; gives how many."""
        if segment is not None:
            connection.execute(self._make_segment)
            for start in range(0, len(segment), _CHUNK):
                ids = [[number] for number in segment[start : start + _CHUNK]]
                connection.execute(self._fill_segment, {"ids": json.dumps(ids)})
        statement = self._write[segment is not None]
        written = connection.execute(statement, {"send": send, "slug": slug, "now": now, "at": at}).rowcount
        if segment is not None:
            connection.execute(self._drop_segment)
        return written

    def write_tests(self, connection: Connection, send: int, recipients: Sequence[Addressee], now: float) -> int:
        """Writes the rows of a test-send, each address once; gives how many."""
        addresses = [parse_address(one.email) for one in recipients]
        keys = json.dumps([[address.key] for address in addresses])
        known = {row.email_key: person(row) for row in connection.execute(self._by_keys, {"keys": keys})}
        rows: dict[str, tuple[int, str, str, str, str]] = {}
        for address, one in zip(addresses, recipients, strict=True):
            whom = one.persona or known.get(address.key) or Subscriber(id=0, email=address.text)
            row = len(rows) + 1, address.text, destination(address.text), address.key, dump_persona(whom)
            rows.setdefault(address.key, row)
        if rows:
            connection.execute(self._write_tests, {"send": send, "rows": json.dumps(list(rows.values())), "now": now})
        return len(rows)

    def remaining(self, connection: Connection, slug: str, segment: Iterable[int] | None, at: float) -> int:
        """How many people (of a segment) no issue send of the slug covers, and don't pause at ``at``."""
        values = {"slug": slug, "send": 0, "at": at}
        if segment is None:
            return int(connection.execute(self._remaining, values).scalar_one())
        wanted, found = frozenset(segment), connection.execute(self._remaining_ids, values)
        return sum(number in wanted for number in found.scalars())


def segment_ids(segment: Iterable[int] | None) -> array[int] | None:
    """The ids, eight bytes each: evaluated before the transaction begins, so that nobody waits for it."""
    return None if segment is None else array("q", segment)


def nobody(slug: str) -> SendError:
    """There is no one to send to."""
    return SendError(
        f"nobody would get {slug}: no subscriber is left after segment, suppressions and earlier sends",
        todo="Look at the segment, or import subscribers with mailer subscribers import FILE.csv.",
    )

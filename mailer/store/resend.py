"""Sending again whoever is in doubt, byte for byte the same message.

What was lost after its dot may have arrived, so a second one has to be the first: the same ``Message-ID``, the same
bytes. All of a message is fixed by its send, but for the person it is made for. Therefore:

* ``Resends.keep`` stores who a person was with the rows of theirs that a message is under way for, or in doubt, in the
  transaction that changes the person. It holds the locks of their sends: each claim that has read the person as they
  were is committed before, and seen; each later one reads them as they are then.
* A claim notes ``referrals``, and forgets whom an earlier one knew: what was given back, or refused by a 4xx, is made
  afresh. A row that is sent again (``resends > 0``) keeps both for good.

Whoever was removed, has unsubscribed or is suppressed isn't sent to again and stays in doubt, as the first message may
have arrived. For the same reason a resend that is given up before its dot is in doubt again, and not skipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import Connection

from mailer.model.ledger import SendId
from mailer.model.people import Subscriber
from mailer.store import statements
from mailer.store.database import Database, Lock
from mailer.store.people import dump_persona

_MAY = f"""
    r.lost_at IS NOT NULL AND NOT {statements.UNWANTED}
    AND (r.address_key IS NULL OR r.persona IS NOT NULL)"""  # of a test-send, when its persona was removed

TO_RESEND = f"{_MAY} AND r.resends = 0 AND r.lost_at > :since"
"""Rows that ``in_doubt = "resend"`` sends again: lost since, for the first time. ``r`` is a row of the ledger."""


class Resends:
    """Statements over rows that are, or may come to be, in doubt."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = database.sql
        self._active = sql("SELECT key FROM sends WHERE state IN ({active_sends})")
        self._in_doubt = sql(
            "SELECT send, subscriber FROM recipients r {by_lost} WHERE r.lost_at IS NOT NULL AND r.persona IS NULL"
        )
        self._keep = sql(
            """UPDATE recipients AS r SET persona = g.persona FROM {people} AS g
            WHERE r.send = g.send AND r.subscriber = g.subscriber AND r.persona IS NULL
                AND (r.state IN ('claimed', 'dotted', 'in_doubt') OR r.resends > 0 AND r.state IN ({can_claim}))""",
            people=database.given("people", send="int", subscriber="int", persona="text"),
        )
        again = """UPDATE recipients AS r {by_lost} SET state = 'deferred', next_attempt_at = :now,
                first_attempt_at = NULL, epoch = r.epoch + 1, resends = r.resends + 1, updated_at = :now
            WHERE r.send = :send AND r.state IN ({can_resend}) AND {which}"""
        self._again = sql(again, which=_MAY)
        self._once = sql(again, which=f"{TO_RESEND} AND r.lost_at <= :until")
        self._sends = sql(
            """SELECT DISTINCT e.id FROM recipients r {by_lost} JOIN sends e ON e.key = r.send
            WHERE e.state IN ('running', 'finished') AND r.lost_at <= :until AND {to_resend}""",
            to_resend=TO_RESEND,
        )

    def keep(self, connection: Connection, changed: Mapping[int, Subscriber]) -> None:
        """Stores people, as they were, by id, where a message for them may have to be made again.

        To be called before they are changed. Locks all sends that are under way until the transaction ends.
        """
        if not changed:
            return
        active = set(connection.execute(self._active).scalars())
        in_doubt = {(send, whom) for send, whom in connection.execute(self._in_doubt) if whom in changed}
        self._database.lock(connection, Lock.SEND, active | {send for send, _ in in_doubt})
        rows = in_doubt | {(send, whom) for send in active for whom in changed}
        if rows:
            dumped = {whom: dump_persona(person) for whom, person in changed.items()}
            values = [(send, whom, dumped[whom]) for send, whom in sorted(rows)]
            connection.execute(self._keep, {"people": json.dumps(values)})

    def again(self, connection: Connection, send: int, now: float) -> int:
        """in_doubt → deferred, due now, for all who may still be sent to; gives how many. The send's lock is held."""
        return connection.execute(self._again, {"send": send, "now": now}).rowcount

    def once(self, connection: Connection, send: int, now: float, since: float, until: float) -> int:
        """The same for those who were lost after ``since`` and no later than ``until``, and never sent to again."""
        values = {"send": send, "now": now, "since": since, "until": until}
        return connection.execute(self._once, values).rowcount

    def sends(self, since: float, until: float) -> list[SendId]:
        """Which sends, running or finished, ``once`` would move a row of."""
        with self._database.read() as connection:
            found = connection.execute(self._sends, {"since": since, "until": until})
            return [SendId(send) for send in found.scalars()]

"""The ledger's statements for a worker: templates, see ``mailer.store.dialect``.

``r`` is a row of the ledger, ``g`` the row given for it (a claim, a reason, an outcome), ``s`` its subscriber, ``x``
its suppression, ``e`` its send. Each row is given with its send: SQLite then goes through what is given and looks up
the ledger by its whole key, and not the other way round.
"""

from __future__ import annotations

SAME = "r.send = g.send AND r.position = g.position AND r.epoch = g.epoch"
"""The row of a claim, as long as the claim holds."""

UNWANTED = """(
    r.address_key IS NULL
    AND NOT EXISTS (SELECT 1 FROM subscribers s WHERE s.id = r.subscriber AND s.status = 'subscribed')
    OR EXISTS (SELECT 1 FROM suppressions x WHERE x.email_key = coalesce(
        r.address_key, (SELECT s.email_key FROM subscribers s WHERE s.id = r.subscriber))))"""
"""Unsubscribed, removed or suppressed. A test-send's row has an ``address_key``, and asks for no subscription."""

TRIED = "(r.state = 'dotted' OR r.state = 'claimed' AND (g.code > 0 OR g.state = 'deferred'))"
"""A try counts when it reached the relay: a dot was granted, or the relay refused or broke off before it."""

HOLDER = """
    SELECT w.key FROM workers w JOIN sends e ON e.key = :send AND e.state = 'running' WHERE w.id = :worker
    {share_worker}"""
"""The worker's number, while it lives and the send runs."""

CANDIDATES = """
    SELECT r.position, r.epoch, r.email, r.destination, r.attempts, r.first_attempt_at, r.address_key, r.persona,
        r.resends,
        r.referrals AS referrals_then,
        x.email_key IS NOT NULL AS suppressed, {person},
        (SELECT count(*) FROM subscribers f WHERE f.referrer_id = s.id AND f.confirmed_at >= :monday) AS referrals
    FROM recipients r {by_unfinished}
    LEFT JOIN subscribers s ON s.id = r.subscriber
    LEFT JOIN suppressions x ON x.email_key = coalesce(r.address_key, s.email_key)
    WHERE r.send = :send AND r.position BETWEEN :first AND :last AND r.open_epoch IS NOT NULL AND {waiting}
        {not_full}
    ORDER BY r.position LIMIT :limit {skip_locked}"""

NOT_FULL = "AND r.destination NOT IN (SELECT g.name FROM {full} AS g)"
"""Rows of destinations that may have some now."""

CLAIM = """
    UPDATE recipients AS r
    SET state = 'claimed', epoch = r.epoch + 1, worker = :worker, next_attempt_at = NULL, updated_at = :now,
        referrals = g.referrals,
        persona = CASE WHEN r.resends > 0 OR r.address_key IS NOT NULL THEN r.persona END
    FROM {taken} AS g
    WHERE {same} AND r.state IN ({can_claim})"""
"""For ``referrals`` and ``persona`` see ``mailer.store.resend``."""

SKIP = """
    UPDATE recipients AS r
    SET state = {skipped}, worker = NULL, next_attempt_at = NULL, reply = g.reason, updated_at = :now,
        email = CASE WHEN g.reason = :removed THEN '' ELSE r.email END,
        destination = CASE WHEN g.reason = :removed THEN '' ELSE r.destination END
    FROM {reasons} AS g
    WHERE r.send = g.send AND r.position = g.position AND r.state IN ({can_skip})"""

DOT = """
    UPDATE recipients AS r SET state = 'dotted', updated_at = :now FROM {claims} AS g
    WHERE {same} AND (r.state = 'dotted' OR r.state IN ({can_dot}) AND NOT {unwanted}
        AND EXISTS (SELECT 1 FROM sends e WHERE e.key = r.send AND e.state = 'running'))
    RETURNING {returned}"""
"""A row dotted with that very epoch was granted to that very claim: the answer was lost, and is given again."""

SKIP_UNWANTED = """
    UPDATE recipients AS r
    SET state = {skipped}, worker = NULL, reply = 'unsubscribed, suppressed or removed', updated_at = :now
    FROM {claims} AS g
    WHERE {same} AND r.state IN ({can_dot}) AND {unwanted}"""

RELEASE = """
    UPDATE recipients AS r SET state = 'pending', worker = NULL, updated_at = :now FROM {claims} AS g
    WHERE {same} AND r.state IN ({can_release})"""

SETTLE = """
    UPDATE recipients AS r
    SET state = g.state, worker = NULL, updated_at = :now,
        attempts = r.attempts + CASE WHEN {tried} THEN 1 ELSE 0 END,
        first_attempt_at = CASE WHEN {tried} THEN coalesce(r.first_attempt_at, :now) ELSE r.first_attempt_at END,
        next_attempt_at = g.next_attempt_at,
        code = nullif(g.code, 0), status = nullif(g.status, ''), reply = nullif(g.reply, '')
    FROM {outcomes} AS g
    WHERE {same} AND (r.state, g.state) IN {legal_moves}"""

FIRST_WAITING = """
    SELECT (r.position - 1) / :size FROM recipients r {by_unfinished}
    WHERE r.send = :send AND r.open_epoch IS NOT NULL AND {waiting} {not_full} AND r.position > """

BATCHES = """
    WITH RECURSIVE batch(number) AS (
        SELECT ({first_waiting} 0 ORDER BY r.position LIMIT 1)
        UNION ALL
        SELECT ({first_waiting} (batch.number + 1) * :size ORDER BY r.position LIMIT 1) FROM batch
        WHERE batch.number IS NOT NULL)
    SELECT number, coalesce((
        SELECT max(r.epoch) FROM recipients r {by_touched}
        WHERE r.send = :send AND r.open_epoch > 0 AND {waiting} {not_full}
            AND r.position BETWEEN number * :size + 1 AND (number + 1) * :size), 0) AS round
    FROM batch WHERE number IS NOT NULL"""
"""From batch to batch by the index, not over every row. A row that was never claimed has epoch 0."""

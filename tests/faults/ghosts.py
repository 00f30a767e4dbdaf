"""Workers that died before the test began: what they leave behind in the ledger, written through the store."""

from __future__ import annotations

import time

from mailer.model.ledger import SendId, WorkerId
from mailer.service.ports import Store


def haunt(store: Store, send: SendId) -> int:
    """A worker that was last heard of long ago, with some claims and two dots; gives how many will be in doubt."""
    now, ghost = time.time(), WorkerId("ghost")
    store.workers.register(ghost, "elsewhere", 1, now - 100)
    claims = store.ledger.claim(send, 1, 30, ghost, 10, now)
    dots = [(one.send, one.position, one.epoch) for one in claims[:2]]
    assert len(store.ledger.write(now, dots=dots)) == 2
    return len(dots)


def leave_in_doubt(store: Store, send: SendId, first: int, last: int) -> int:
    """Puts people in doubt who got nothing: granted to a worker that is gone; gives how many. The send must run."""
    now, ghost = time.time(), WorkerId("gone")
    store.workers.register(ghost, "elsewhere", 1, now)
    claims = store.ledger.claim(send, first, last, ghost, last - first + 1, now)
    dots = [(one.send, one.position, one.epoch) for one in claims]
    assert len(store.ledger.write(now, dots=dots)) == len(claims) > 0
    store.workers.retire(ghost, now)
    return len(claims)

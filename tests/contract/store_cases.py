"""Short ways for the store's tests to say what they need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mailer.model.ledger import Outcome, Recipient, RecipientState, Reply, Send, SendId, SendKind, WorkerId
from mailer.service.ports import Incoming, Key, NewSend
from mailer.store import SqlStore

NOW = 1_750_000_000.0  # a Sunday, 15:06:40 UTC
W1, W2 = WorkerId("w1"), WorkerId("w2")
OK = Reply(250, "2.0.0", "queued")


def incoming(name: str, **more: object) -> Incoming:
    return Incoming(email=f"{name}@example.com", key=f"{name}@example.com", **more)  # type: ignore[arg-type]


def people(store: SqlStore, *names: str) -> list[int]:
    """Subscribes them; gives their ids."""
    store.subscribers.upsert([incoming(name) for name in names], NOW)
    return [ident(store, name) for name in names]


def ident(store: SqlStore, name: str) -> int:
    found = store.subscribers.find(f"{name}@example.com")
    assert found is not None
    return found.id


def new(slug: str = "kw24", kind: SendKind = SendKind.ISSUE, at: float | None = None) -> NewSend:
    return NewSend(slug=slug, kind=kind, artefact="digest", date=NOW, scheduled_at=at)


def started(store: SqlStore, *names: str, slug: str = "kw24", segment: Iterable[int] | None = None) -> Send:
    """A running send to these people, and workers w1 and w2."""
    if names:
        people(store, *names)
    for worker in (W1, W2):
        if not store.workers.beat(worker, NOW):
            store.workers.register(worker, "host", 1, NOW)
    return store.sends.create(new(slug), segment, NOW)


def claim(store: SqlStore, send: SendId, limit: int = 1000, worker: WorkerId = W1, now: float = NOW) -> list[Recipient]:
    return store.ledger.claim(send, 1, 1_000_000, worker, limit, now)


def keys(recipients: Iterable[Recipient]) -> list[Key]:
    return [(one.send, one.position, one.epoch) for one in recipients]


def outcome(key: Key, state: RecipientState, reply: Reply = OK, due: float | None = None) -> Outcome:
    return Outcome(*key, state, reply, due)


def settle(store: SqlStore, claims: Sequence[Key], state: RecipientState, reply: Reply = OK, now: float = NOW) -> None:
    due = now + 60 if state is RecipientState.DEFERRED else None
    store.ledger.write(now, outcomes=[outcome(key, state, reply, due) for key in claims])


def dotted(store: SqlStore, send: SendId, limit: int = 1000, worker: WorkerId = W1, now: float = NOW) -> list[Key]:
    """Claims and dots; gives the claims."""
    claims = keys(claim(store, send, limit, worker, now))
    assert store.ledger.write(now, dots=claims) == set(claims)
    return claims


def counts(store: SqlStore, send: SendId) -> dict[str, int]:
    """Of the states that any row is in; checks that they add up."""
    status = store.sends.status(send, NOW)
    assert set(status.counts) == set(RecipientState)
    assert sum(status.counts.values()) == status.send.audience
    return {str(state): count for state, count in status.counts.items() if count}


def states(store: SqlStore, send: SendId) -> list[str]:
    """Of each row, in order."""
    return [str(row.state) for row in store.sends.recipients(send, None)]

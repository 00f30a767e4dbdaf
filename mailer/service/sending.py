"""Starting a send: the issue is stored, the ledger written, the batches queued."""

from __future__ import annotations

from collections.abc import Sequence

from mailer.errors import AddressError, SendError
from mailer.model.address import Address, parse_address
from mailer.model.ledger import Send, SendKind
from mailer.model.people import Subscriber
from mailer.service.issues import Edition
from mailer.service.ports import Addressee, NewSend, Store


def start_send(store: Store, edition: Edition, now: float, *, at: float | None = None, remaining: bool = False) -> Send:
    """Writes a send and its ledger in one transaction; ``at`` schedules it (Unix seconds).

    The audience is that of now, also of a send that is scheduled; who leaves until then is skipped.
    Raises ``SendError`` for an issue that was sent already (unless only the ``remaining`` are to get it) and for an
    empty audience.
    """
    compiled = edition.compiled
    digest = store.issues.put(compiled, now)
    date = now if at is None else at
    new = NewSend(compiled.slug, SendKind.ISSUE, digest, date, at)
    return store.sends.create(new, edition.segment, now, remaining=remaining)


def start_test_send(store: Store, edition: Edition, to: Sequence[str], persona: str, now: float) -> Send:
    """The same pipeline for a few addresses, outside every statistic.

    ``persona``: the address of the subscriber it is personalised for; without one, each recipient's own. Raises
    ``SendError`` for an address that is none, is suppressed, or a persona that isn't subscribed.
    """
    recipients = test_recipients(store, to, persona)
    digest = store.issues.put(edition.compiled, now)
    return store.sends.create_test(NewSend(edition.compiled.slug, SendKind.TEST, digest, now), recipients, now)


def test_recipients(store: Store, to: Sequence[str], persona: str) -> list[Addressee]:
    """Whom a test-send goes to, each address once. Raises ``SendError``."""
    if not to:
        raise SendError("nobody to send a test to", todo="Use --to EMAIL, or set [publication] editors.")
    seen_as = find_persona(store, persona) if persona else None
    addresses = {address.key: address for address in map(_address, to)}
    for key, suppression in store.suppressions.find(list(addresses)).items():
        raise SendError(
            f"{addresses[key].text} is suppressed ({suppression.reason})",
            todo=f"If mail may go there again: mailer suppressions remove {addresses[key].text}",
        )
    return [Addressee(address.text, seen_as) for address in addresses.values()]


def find_persona(store: Store, email: str) -> Subscriber:
    """The subscriber whom a message is to be personalised for. Raises ``SendError``."""
    found = store.subscribers.find(_address(email).key)
    if found is None:
        raise SendError(f"{email} is no subscriber", todo="See them with 'mailer subscribers export'.")
    return found


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except AddressError as error:
        raise SendError(f"'{text}' is no e-mail address: {error}") from None

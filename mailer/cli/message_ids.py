"""The ``Message-ID`` of each recipient of a send: worked out again, never stored."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parseaddr

from mailer.config import Loaded, secret_key
from mailer.model.address import parse_address
from mailer.model.ledger import Send
from mailer.service.ports import Store
from mailer.wire.message_id import make_message_id


def message_ids(loaded: Loaded, store: Store, send: Send) -> Callable[[int], str]:
    """A function from a recipient's position to the ``Message-ID`` that the message had or will have."""
    sender = store.issues.get(send.artefact).sender
    address = parseaddr(sender)[1] if "<" in sender else sender
    domain, secret = parse_address(address).ascii_domain, secret_key(loaded)
    return lambda position: make_message_id(secret, send.id, position, domain)

"""What every message says about who sends it, from the configuration."""

from __future__ import annotations

from email.utils import parseaddr
from urllib.parse import urlsplit

from mailer.config.data import secret_key
from mailer.config.load import Loaded
from mailer.model.address import parse_address
from mailer.model.ledger import Send
from mailer.wire.dkim import DkimKey, dkim_key
from mailer.wire.freeze import SendFacts
from mailer.wire.letter import Letterhead


def send_facts(loaded: Loaded, send: Send) -> SendFacts:
    """For ``mailer.wire.freeze``; the secret key is made when there is none yet."""
    publication = loaded.settings.publication
    sender = parse_address(parseaddr(publication.from_)[1] if "<" in publication.from_ else publication.from_)
    host = urlsplit(publication.base_url).hostname or sender.ascii_domain
    return SendFacts(
        send.id,
        send.key,
        send.date,
        send.kind,
        f"{publication.name} <newsletter.{host}>",
        publication.base_url,
        secret_key(loaded),
        loaded.settings.bounces.return_path,
        sender.ascii_domain,
        _dkim(loaded),
    )


def letterhead(loaded: Loaded) -> Letterhead:
    """For ``mailer.wire.letter``; the secret key is made when there is none yet."""
    publication = loaded.settings.publication
    return Letterhead(
        publication.from_,
        publication.reply_to,
        loaded.settings.bounces.return_path,
        publication.timezone,
        secret_key(loaded),
        _dkim(loaded),
    )


def _dkim(loaded: Loaded) -> DkimKey | None:
    dkim = loaded.settings.dkim
    return dkim_key(dkim.domain, dkim.selector, dkim.key.get_secret_value()) if dkim.domain else None

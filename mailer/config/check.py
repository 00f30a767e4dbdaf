"""What types can't say: addresses that parse, zones and languages that exist, URLs of a kind we speak."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator
from email.utils import parseaddr
from ipaddress import ip_network

from mailer.config.shape import Path
from mailer.delivery.destination import same_destination
from mailer.errors import AddressError, ConfigError, nearest
from mailer.model.address import parse_address
from mailer.model.settings import Settings
from mailer.wire.verp import MAX_LOCAL

Finding = tuple[Path, str, str]
"""Which key, what is wrong with it, what to do."""

_STORES = ("sqlite:///", "postgresql://", "postgresql+psycopg://", "postgres://")
_REDIS = ("redis://", "rediss://", "unix://", "redis+sentinel://")


def check(settings: Settings) -> Iterator[Finding]:
    """All findings, section by section."""
    yield from _addresses(settings)
    yield from _imap(settings)
    yield from _places(settings)
    yield from _urls(settings)
    yield from _names(settings)
    yield from _secrets(settings)
    yield from _proxies(settings)
    yield from _dkim(settings)
    yield from _domains(settings)


def _addresses(settings: Settings) -> Iterator[Finding]:
    publication = settings.publication
    named: list[tuple[Path, str]] = [(("publication", "from"), publication.from_)]
    if publication.reply_to:
        named.append((("publication", "reply_to"), publication.reply_to))
    for path, text in named:
        _, address = parseaddr(text) if "<" in text else ("", text.strip())
        if any(ord(char) < 32 for char in text) or "@" not in address or ("<" in text and text.rstrip()[-1] != ">"):
            yield path, f"'{text}' is no address", 'Write "Name <name@example.com>" or "name@example.com".'
        else:
            yield from _address(path, address)
    for index, text in enumerate(publication.editors):
        yield from _address(("publication", "editors", index), text)
    if settings.bounces.return_path:
        yield from _return_path(("bounces", "return_path"), settings.bounces.return_path)


def _address(path: Path, text: str) -> Iterator[Finding]:
    try:
        parse_address(text)
    except AddressError as error:
        yield path, f"'{text}' is no address: {error.what}", ""


def _return_path(path: Path, text: str) -> Iterator[Finding]:
    try:
        local = parse_address(text).local
    except AddressError:
        yield from _address(path, text)
        return
    if not local.isascii():
        yield path, f"'{local}' in '{text}' isn't ASCII, which many mail servers refuse", ""
    elif len(local) > MAX_LOCAL:
        todo = f"Take at most {MAX_LOCAL} characters before the @: a token is added for each recipient."
        yield path, f"'{local}' in '{text}' is too long", todo


def _imap(settings: Settings) -> Iterator[Finding]:
    imap = settings.bounces.imap
    if not imap.model_fields_set:
        return
    for key in ("host", "username"):
        if not getattr(imap, key):
            yield ("bounces", "imap", key), f"'bounces.imap.{key}' is missing", ""
    if not imap.password.get_secret_value():
        yield ("bounces", "imap", "password"), "'bounces.imap.password' is missing", ""
    if imap.folder == imap.processed:
        what = "'bounces.imap.processed' is the folder that is read"
        yield ("bounces", "imap", "processed"), what, "What was read is moved there: name another folder."


def _places(settings: Settings) -> Iterator[Finding]:
    publication = settings.publication
    if not _is_timezone(publication.timezone):
        todo = nearest(publication.timezone, sorted(zoneinfo.available_timezones()))
        todo = todo if todo.startswith("Did") else 'Give a name such as "Europe/Berlin".'
        yield ("publication", "timezone"), f"unknown timezone '{publication.timezone}'", todo
    if not _is_language(publication.language):
        todo = 'Give a tag such as "de" or "en-GB".'
        yield ("publication", "language"), f"unknown language '{publication.language}'", todo
    if publication.country and not _is_country(publication.country):
        todo = 'Give two capital letters such as "DE" or "AT".'
        yield ("publication", "country"), f"no public holidays are known for country '{publication.country}'", todo


def _is_timezone(name: str) -> bool:
    # One file is read. To list what there is, as is done for a wrong one, takes reading 600 for each command.
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder's name, or a long one
        return False
    return not name.startswith(("posix/", "right/"))


def _is_language(tag: str) -> bool:
    from babel import Locale, UnknownLocaleError

    try:
        Locale.parse(tag.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return False
    return True


def _is_country(code: str) -> bool:
    from holidays.utils import list_supported_countries

    return code in list_supported_countries()


def _urls(settings: Settings) -> Iterator[Finding]:
    store, redis = settings.store.url, settings.redis.url
    if store and not store.startswith(_STORES):
        scheme = store.split(":")[0]
        todo = 'Write "sqlite:///mailer.db" or "postgresql://user@host/database".'
        yield ("store", "url"), f"'{scheme}' is no database that mailer can use", todo
    if redis and not redis.startswith(_REDIS):
        scheme = redis.split(":")[0]
        yield (
            ("redis", "url"),
            f"'{scheme}' is no Redis URL",
            'Write "redis://host:6379/0" or "unix:///path/to/socket".',
        )
    for index, relay in enumerate(settings.relays):
        if not relay.host or (re.search(r"[\s/:@]", relay.host) and not re.fullmatch(r"[0-9a-fA-F:.]+", relay.host)):
            todo = "Give a host name or an IP address; the port has a key of its own."
            yield ("relays", index, "host"), f"'{relay.host}' is no host name", todo


def _names(settings: Settings) -> Iterator[Finding]:
    labels = [relay.label for relay in settings.relays]
    for index, label in enumerate(labels):
        if (first := labels.index(label)) < index:
            what = f"'relays[{index}]' has the name of 'relays[{first}]': {label}"
            yield ("relays", index), what, "Give each [[relays]] a name of its own."


def _secrets(settings: Settings) -> Iterator[Finding]:
    key = settings.web.secret_key.get_secret_value()
    if key and len(key) < 16:
        todo = "Give at least 16 characters, or leave it out: one is made and kept in the data directory."
        yield ("web", "secret_key"), "'web.secret_key' is too short", todo
    for index, relay in enumerate(settings.relays):
        if bool(relay.username) != bool(relay.password.get_secret_value()):
            lacks = "password" if relay.username else "username"
            yield ("relays", index, lacks), f"'relays[{index}].{lacks}' is missing: a login needs both", ""


def _proxies(settings: Settings) -> Iterator[Finding]:
    for index, text in enumerate(settings.web.trusted_proxies):
        try:
            everybody = ip_network(text.strip(), strict=False).prefixlen == 0
        except ValueError:
            yield ("web", "trusted_proxies", index), f"'{text}' is no address", 'Write "127.0.0.1" or "10.0.0.0/8".'
            continue
        if everybody:
            what = f"'{text}' is everybody: any client could pretend to be another"
            yield ("web", "trusted_proxies", index), what, "Name the reverse proxy's address."


def _domains(settings: Settings) -> Iterator[Finding]:
    domains = settings.delivery.domains
    for first, second, name in same_destination(domains):
        if domains[first] != domains[second]:
            what = f"'{first}' and '{second}' are the same destination ({name}) with different limits"
            yield ("delivery", "domains", second), what, "Keep one of them: it counts for both."


def _dkim(settings: Settings) -> Iterator[Finding]:
    given = {
        "domain": settings.dkim.domain,
        "selector": settings.dkim.selector,
        "key": settings.dkim.key.get_secret_value(),
    }
    if not any(given.values()):
        return
    if lacking := [name for name, value in given.items() if not value]:
        for name in lacking:
            todo = "Signing needs domain, selector and key; without [dkim] nothing is signed."
            yield ("dkim", name), f"'dkim.{name}' is missing", todo
        return
    from mailer.wire.dkim import dkim_key  # takes a while to import, and most commands sign nothing

    try:
        key = dkim_key(given["domain"], given["selector"], given["key"])
    except ConfigError as error:
        yield tuple(error.where.split(".")), error.what, error.todo
        return
    sender = _sender(settings)
    try:
        domain = parse_address(sender).ascii_domain
    except AddressError:
        return  # said already, of publication.from
    if not key.covers(domain):
        what = f"'dkim.domain' is {key.domain}, but mail comes from {sender}: DMARC would count it as unsigned"
        yield ("dkim", "domain"), what, "It must be the domain of 'publication.from', or one above it."


def _sender(settings: Settings) -> str:
    text = settings.publication.from_
    return parseaddr(text)[1] if "<" in text else text.strip()

"""Who asks, when a reverse proxy stands in between.

The connection's own address counts, unless it is a proxy's that ``web.trusted_proxies`` names: then what that proxy
writes is believed. Each proxy appends whom it heard from, so the last address that is no trusted proxy's is the client;
whatever stands further left the client may have written itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]

FORWARDING = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
"""Headers by which a request says that it came through a proxy."""

_HOPS = 20
"""Addresses that are looked at, from the right."""

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(?::\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?")
_PAIR = re.compile(r'\s*([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^;,"\s]*)\s*(?:;|$)')
_ELEMENTS = re.compile(r'((?:"(?:[^"\\]|\\.)*"|[^,"])+)')


def parse_networks(texts: Iterable[str]) -> Networks:
    """``10.0.0.0/8``, ``2001:db8::/32`` or single addresses. Raises ``ValueError``."""
    return [ip_network(text.strip(), strict=False) for text in texts]


def parse_client(text: str) -> Address | None:
    """An address as proxies write it: bare, in brackets, with a port (RFC 7239 §6). None for anything else."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def is_within(address: Address | None, networks: Networks) -> bool:
    """Whether an address belongs to one of the networks."""
    return address is not None and any(address in network for network in networks)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a trusted proxy says of a request. Empty: it says nothing that can be believed."""

    client: str = ""
    scheme: str = ""
    host: str = ""


def origin(peer: Address, headers: Headers, trusted: Networks) -> Origin:
    """Where a request that a trusted proxy handed on came from.

    Most proxies write ``X-Forwarded-…``, some ``Forwarded`` (RFC 7239), and hand on the other one as the client wrote
    it. So where both are there and disagree, neither is believed.
    """
    fors = _list(headers.getlist("x-forwarded-for"))
    elements = [_pairs(part) for part in _list(headers.getlist("forwarded"))]
    clients = {_client(peer, [pairs.get("for", "") for pairs in elements], trusted)} if elements else set()
    if fors or not elements:
        clients.add(_client(peer, fors, trusted))
    protos = _last(headers.getlist("x-forwarded-proto")), elements[-1].get("proto", "") if elements else ""
    hosts = _last(headers.getlist("x-forwarded-host")), elements[-1].get("host", "") if elements else ""
    schemes, names = {proto.lower() for proto in protos if proto}, {host for host in hosts if host}
    client = clients.pop() if len(clients) == 1 else peer
    scheme = schemes.pop() if len(schemes) == 1 else ""
    host = names.pop() if len(names) == 1 else ""
    return Origin(
        str(client),
        scheme if scheme in ("http", "https") else "",
        host if _HOST.fullmatch(host) else "",
    )


def _client(peer: Address, chain: Sequence[str], trusted: Networks) -> Address:
    """The rightmost address that isn't a trusted proxy's; before what can't be read, the one that handed it on."""
    found = peer
    for text in reversed(chain[-_HOPS:]):
        address = parse_client(text)
        if address is None:
            break
        found = address
        if not is_within(address, trusted):
            break
    return found


def _list(lines: Sequence[str]) -> list[str]:
    """The elements of a header that may stand in several lines."""
    return [part.strip() for part in _ELEMENTS.findall(",".join(lines)) if part.strip()]


def _last(lines: Sequence[str]) -> str:
    parts = _list(lines)
    return parts[-1] if parts else ""


def _pairs(element: str) -> dict[str, str]:
    """``for=192.0.2.1;proto=https`` (RFC 7239 §4)."""
    return {name.lower(): re.sub(r"\\(.)", r"\1", value.strip('"')) for name, value in _PAIR.findall(element)}


class ClientAddress:
    """ASGI middleware: ``client``, ``scheme`` and ``Host`` are the client's from here on."""

    def __init__(self, app: ASGIApp, trusted: Networks) -> None:
        self._app, self._trusted = app, trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._trusted:
            peer = client_of(scope)
            if peer is not None and is_within(peer, self._trusted):
                scope = _as_seen_outside(scope, origin(peer, Headers(scope=scope), self._trusted))
        await self._app(scope, receive, send)


def client_of(scope: Scope) -> Address | None:
    """The client's address; None where there is none (a unix socket)."""
    client = scope.get("client")
    return parse_client(client[0]) if client else None


def _as_seen_outside(scope: Scope, seen: Origin) -> Scope:
    headers = scope["headers"]
    if seen.host:
        headers = [pair for pair in headers if pair[0] != b"host"] + [(b"host", seen.host.encode("ascii"))]
    return {**scope, "client": (seen.client, 0), "scheme": seen.scheme or scope["scheme"], "headers": headers}

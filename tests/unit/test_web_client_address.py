"""Who asks, when proxies stand in between."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from mailer.web.client_address import Origin, origin, parse_client, parse_networks

TRUSTED = parse_networks(["127.0.0.1", "10.0.0.0/8", "2001:db8:ffff::/48"])
PEER = ip_address("10.0.0.1")


def headers(*pairs: tuple[str, str]) -> Headers:
    return Headers(raw=[(name.encode(), value.encode("latin-1")) for name, value in pairs])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1:8080 ", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("unknown", None),
        ("_hidden", None),
        ("", None),
        ("192.0.2.256", None),
        ("[", None),
    ],
)
def test_addresses(text: str, address: str | None) -> None:
    """An address is read however a proxy writes it; an IPv4 address in IPv6 is the IPv4 address."""
    found = parse_client(text)
    assert (None if found is None else str(found)) == address


CHAINS = {
    "one": ([("x-forwarded-for", "192.0.2.1")], "192.0.2.1"),
    "through two proxies": ([("x-forwarded-for", "192.0.2.1, 10.0.0.2")], "192.0.2.1"),
    "forged on the left": ([("x-forwarded-for", "203.0.113.9, 192.0.2.1")], "192.0.2.1"),
    "forged as a trusted proxy": ([("x-forwarded-for", "127.0.0.1, 192.0.2.1")], "192.0.2.1"),
    "forged behind a trusted one": ([("x-forwarded-for", "203.0.113.9, 10.9.9.9, 192.0.2.1, 10.0.0.2")], "192.0.2.1"),
    "in two lines": ([("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "192.0.2.1")], "192.0.2.1"),
    "all trusted": ([("x-forwarded-for", "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
    "nonsense": ([("x-forwarded-for", "192.0.2.1, nonsense")], "10.0.0.1"),
    "nonsense before a proxy": ([("x-forwarded-for", "192.0.2.1, nonsense, 10.0.0.2")], "10.0.0.2"),
    "empty": ([("x-forwarded-for", " , ")], "10.0.0.1"),
    "nothing": ([], "10.0.0.1"),
    "another header": ([("x-real-ip", "203.0.113.9")], "10.0.0.1"),
    "IPv6": ([("x-forwarded-for", "2001:db8:1::1, 2001:db8:ffff::2")], "2001:db8:1::1"),
    "RFC 7239": ([("forwarded", 'for=203.0.113.9, For="[2001:db8:1::1]:80";proto=https')], "2001:db8:1::1"),
    "RFC 7239, a comma in quotes": ([("forwarded", 'for=203.0.113.9;by="a, for=198.51.100.1"')], "203.0.113.9"),
    "RFC 7239, obfuscated": ([("forwarded", "for=192.0.2.1, for=_secret")], "10.0.0.1"),
    "both, agreeing": ([("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1")], "192.0.2.1"),
    "both, one forged": ([("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=203.0.113.9")], "10.0.0.1"),
    "both, one empty": ([("x-forwarded-for", "192.0.2.1"), ("forwarded", "proto=https")], "10.0.0.1"),
}


@pytest.mark.parametrize("case", CHAINS)
def test_chains(case: str) -> None:
    """The client is the rightmost address that isn't a trusted proxy's; in doubt, the proxy that can be believed."""
    pairs, client = CHAINS[case]
    assert origin(PEER, headers(*pairs), TRUSTED).client == client


@settings(max_examples=60)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60), st.booleans())
def test_forged(forged: str, several: bool) -> None:
    """Whatever a client sends of its own, the address that the proxy appends is found."""
    pairs = [("x-forwarded-for", forged), ("x-forwarded-for", "192.0.2.1")]
    if not several and forged.count('"') % 2 == 0:
        pairs = [("x-forwarded-for", f"{forged}, 192.0.2.1")]
    assert origin(PEER, headers(*pairs), TRUSTED).client == "192.0.2.1"


@pytest.mark.parametrize(
    ("pairs", "scheme", "host"),
    [
        (
            [("x-forwarded-proto", "https"), ("x-forwarded-host", "news.example.com:8443")],
            "https",
            "news.example.com:8443",
        ),
        ([("forwarded", "for=192.0.2.1;proto=https;host=news.example.com")], "https", "news.example.com"),
        ([("x-forwarded-proto", "http, HTTPS")], "https", ""),
        ([("x-forwarded-proto", "gopher")], "", ""),
        ([("x-forwarded-proto", "https"), ("forwarded", "proto=http")], "", ""),
        ([("x-forwarded-host", "evil.example/<script>")], "", ""),
        ([("x-forwarded-host", "a.example, b.example")], "", "b.example"),
        ([("x-forwarded-host", "[2001:db8::1]:80")], "", "[2001:db8::1]:80"),
        ([], "", ""),
    ],
)
def test_scheme_and_host(pairs: list[tuple[str, str]], scheme: str, host: str) -> None:
    """Scheme and host are what the nearest proxy says; nothing where that can't be, or two headers disagree."""
    assert origin(PEER, headers(*pairs), TRUSTED) == Origin(origin(PEER, headers(*pairs), TRUSTED).client, scheme, host)

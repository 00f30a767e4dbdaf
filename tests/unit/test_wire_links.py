"""Links, their tokens, and message ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.model.ledger import SendId
from mailer.wire.links import (
    LINKS,
    LinkMaker,
    TokenClaims,
    TokenError,
    make_token,
    read_share_code,
    read_token,
    share_code,
)
from mailer.wire.message_id import make_message_id, own_message, split_message_id

SECRET = b"a secret of the publisher's"


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1))
def test_token_comes_back(subscriber: int, send: int) -> None:
    """A token says which subscriber and send it was made for."""
    token = make_token(SECRET, "unsubscribe", subscriber, send)
    assert read_token(SECRET, "unsubscribe", token) == TokenClaims(subscriber, send)


def test_token_is_short_and_stable() -> None:
    """A token is the same each time, has 38 URL-safe characters, and shows no number."""
    token = make_token(SECRET, "unsubscribe", 1, 1)
    assert token == make_token(SECRET, "unsubscribe", 1, 1)
    assert len(token) == 38
    assert token.replace("-", "").replace("_", "").isalnum()
    others = {make_token(SECRET, "unsubscribe", number, 1)[:4] for number in range(50)}
    assert len(others) == 50


@pytest.mark.parametrize("position", range(38))
def test_changed_token_is_refused(position: int) -> None:
    """No character of a token can be changed, not even its case."""
    token = make_token(SECRET, "unsubscribe", 7, 3)
    for other in {"A", "b", token[position].swapcase()} - {token[position]}:
        with pytest.raises(TokenError):
            read_token(SECRET, "unsubscribe", token[:position] + other + token[position + 1 :])


@pytest.mark.parametrize("token", ["", "x", "é" * 38, "A" * 38, "A" * 37, "A" * 39, " " * 38])
def test_foreign_text_is_refused(token: str) -> None:
    """A text that is no token raises TokenError."""
    with pytest.raises(TokenError):
        read_token(SECRET, "unsubscribe", token)


def test_token_is_for_one_purpose_and_one_key() -> None:
    """A token for one purpose, or of another key, is refused."""
    token = make_token(SECRET, "unsubscribe", 7, 3)
    with pytest.raises(TokenError):
        read_token(SECRET, "preferences", token)
    with pytest.raises(TokenError):
        read_token(b"another", "unsubscribe", token)


def test_spare_bits_of_a_token_are_fixed() -> None:
    """A token has one spelling: the last character's unused bits must be zero."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = make_token(SECRET, "unsubscribe", 7, 3)
    accepted = []
    for last in alphabet:
        try:
            read_token(SECRET, "unsubscribe", token[:-1] + last)
        except TokenError:
            continue
        accepted.append(last)
    assert accepted == [token[-1]]


@given(st.integers(0, 2**40 - 1))
def test_share_code_comes_back(subscriber: int) -> None:
    """A share code says whose it is, however it is typed."""
    code = share_code(SECRET, subscriber)
    assert len(code) == 13
    assert read_share_code(SECRET, f" {code.upper()} ") == subscriber


@pytest.mark.parametrize("code", ["", "abc", "a" * 13, "1" * 13, "é" * 13])
def test_foreign_share_code_is_refused(code: str) -> None:
    """A code that isn't ours raises TokenError."""
    with pytest.raises(TokenError):
        read_share_code(SECRET, code)


def test_links_are_full_urls() -> None:
    """Every link is a URL below base_url, also for a persona that isn't in the store."""
    maker = LinkMaker.of(SECRET, "https://news.example.com/n", "kw 24/ü", 9)
    links = maker.links(LINKS, 0)
    assert set(links) == {"unsubscribe", "preferences", "web_version", "share"}
    assert links["web_version"] == "https://news.example.com/n/issues/kw%2024%2F%C3%BC"
    assert links["share"] == f"https://news.example.com/n/subscribe?ref={share_code(SECRET, 0)}"
    for purpose in ("unsubscribe", "preferences"):
        base, _, token = links[purpose].rpartition("/")
        assert base == f"https://news.example.com/n/{purpose}"
        assert read_token(SECRET, purpose, token) == TokenClaims(0, 9)


def test_message_id_is_stable_and_ours() -> None:
    """A Message-ID is the same for a send and position, tells them, and can be proven."""
    text = make_message_id(SECRET, SendId("kw24-1"), 17, "example.com")
    assert text == make_message_id(SECRET, SendId("kw24-1"), 17, "example.com")
    assert split_message_id(text) == ("kw24-1", 17)
    assert own_message(SECRET, text) == ("kw24-1", 17)
    assert own_message(SECRET, text.strip("<>")) == ("kw24-1", 17)
    assert own_message(b"other", text) is None
    assert own_message(SECRET, text.replace(".17.", ".18.")) is None


@pytest.mark.parametrize("text", ["", "<a@b>", "<kw24-1.x.0@b>", "<kw24-1.1.0123456789abcdef0123>"])
def test_foreign_message_id(text: str) -> None:
    """Another mailer's Message-ID is none of ours."""
    assert split_message_id(text) is None
    assert own_message(SECRET, text) is None

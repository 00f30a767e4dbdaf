"""Who gets which letter, what the form takes, and the token in the link."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.errors import AddressError
from mailer.model.address import parse_address
from mailer.model.people import BOUNCED, COMPLAINED, SOFT_BOUNCES, SubscriberStatus
from mailer.service.confirmations import SEND_SECONDS
from mailer.service.sign_up import CLAIM_SECONDS, Letter, letter_for
from mailer.web.subscribe import judge
from mailer.wire.links import ConfirmClaims, TokenError, make_confirm_token, make_token, read_confirm_token, read_token
from workers.settings import JOB_LIMIT

SECRET = b"a key of sixteen and more octets"
SUBSCRIBED, LEFT, UNCONFIRMED = (
    SubscriberStatus.SUBSCRIBED,
    SubscriberStatus.UNSUBSCRIBED,
    SubscriberStatus.UNCONFIRMED,
)


@pytest.mark.parametrize(
    ("status", "suppression", "letter"),
    [
        (None, None, Letter.CONFIRM),
        (LEFT, None, Letter.CONFIRM),
        (UNCONFIRMED, None, Letter.CONFIRM),
        (SUBSCRIBED, None, Letter.SUBSCRIBED),
        *((status, BOUNCED, Letter.CONFIRM) for status in (None, *SubscriberStatus)),
        *((status, SOFT_BOUNCES, Letter.CONFIRM) for status in (None, *SubscriberStatus)),
        *((status, COMPLAINED, None) for status in (None, *SubscriberStatus)),
        *((status, "added by hand", None) for status in (None, *SubscriberStatus)),
        *((status, "", None) for status in (None, *SubscriberStatus)),
    ],
)
def test_letter(status: SubscriberStatus | None, suppression: str | None, letter: Letter | None) -> None:
    """Only a bounce can be lifted by its reader: an address that is suppressed otherwise gets no mail at all."""
    assert letter_for(status, suppression) is letter


def test_times_fit() -> None:
    """A mail ends before its job does, and its job before somebody else may take the mail."""
    assert SEND_SECONDS < JOB_LIMIT < CLAIM_SECONDS


@given(st.text(max_size=80))
def test_addresses(text: str) -> None:
    """The form takes what an import takes, as the same person, and nothing else."""
    try:
        address = parse_address(text)
    except AddressError:
        assert judge(text, "", None) == (None, {"email": "subscribe_error_email"})
        return
    sign_up, errors = judge(text, "", 7)
    assert sign_up is not None
    assert (sign_up.email, sign_up.key, sign_up.referrer, errors) == (address.text, address.key, 7, {})


@given(number=st.integers(0, 2**48 - 1), asked_at=st.floats(0, 2**47))
def test_token(number: int, asked_at: float) -> None:
    """A token says the request's number and second, to nobody but us, and for nothing else."""
    token = make_confirm_token(SECRET, number, asked_at)
    assert read_confirm_token(SECRET, token) == ConfirmClaims(number, int(asked_at))
    for purpose in ("unsubscribe", "preferences"):
        with pytest.raises(TokenError):
            read_token(SECRET, purpose, token)
        with pytest.raises(TokenError):
            read_confirm_token(SECRET, make_token(SECRET, purpose, number, int(asked_at)))
    with pytest.raises(TokenError):
        read_confirm_token(SECRET + b"x", token)


@given(number=st.integers(0, 2**48 - 1), at=st.integers(0, 37), char=st.characters(codec="ascii"))
def test_a_letter_changed(number: int, at: int, char: str) -> None:
    """With one letter changed a token is none of ours."""
    token = make_confirm_token(SECRET, number, 1.0)
    changed = token[:at] + char + token[at + 1 :]
    if changed != token:
        with pytest.raises(TokenError):
            read_confirm_token(SECRET, changed)

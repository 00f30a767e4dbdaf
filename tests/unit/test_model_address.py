"""Addresses: the quick way to read one knows nothing that the library doesn't."""

from __future__ import annotations

from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from mailer.errors import AddressError
from mailer.model.address import Address, parse_address

LONG = f"{'b' * 63}.{'b' * 63}.{'b' * 53}.example"
LOCALS = st.one_of(
    st.text("abz09._+-", max_size=8),
    st.sampled_from(["postmaster", "Postmaster", "ABUSE", "a" * 64, "a" * 65, '"a b"', "jürgen", "a'b", "x <a", ""]),
)
LABELS = st.one_of(
    st.text("ab0-", min_size=1, max_size=5),
    st.sampled_from(
        ["com", "Example", "xn--mnchen-3ya", "xn--", "münchen", "a" * 63, "a" * 64, "local", "test", "[1", "１"]
    ),
)
DOMAINS = st.lists(LABELS, max_size=5).map(".".join)


@example("a@b.example")
@example(f"{'a' * 64}@{LONG}")  # 254 characters
@example(f"{'a' * 64}@{LONG}e")  # 255
@example(f"a@{LONG}")
@given(
    st.builds(
        "{}{}{}{}".format,
        LOCALS,
        st.sampled_from(["@", "@@", "", " @"]),
        DOMAINS,
        st.sampled_from(["", " ", ">", "\n"]),
    )
)
def test_as_the_library_reads_it(text: str) -> None:
    """Every text is the address, or none for the reason, that email-validator says; read again, it is the same."""
    assert ours(text) == ours(text) == librarys(text)


def ours(text: str) -> Address | str:
    try:
        return parse_address(text)
    except AddressError as error:
        return error.what


def librarys(text: str) -> Address | str:
    try:
        found = validate_email(
            text.strip(" \t"), check_deliverability=False, allow_smtputf8=True, test_environment=True
        )
    except EmailNotValidError as error:
        return str(error).rstrip(".")
    return Address(found.local_part, found.domain, found.ascii_domain)

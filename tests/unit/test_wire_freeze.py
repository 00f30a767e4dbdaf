"""Frozen issues and the messages made from them."""

from __future__ import annotations

import re
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.errors import AddressError, CompileError
from mailer.expressions.escape import escape
from mailer.model.compiled import Branch, Choice, CompiledIssue, Escape, Pieces, Slot
from mailer.model.ledger import Recipient, SendId, SendKind
from mailer.model.people import Subscriber
from mailer.wire.freeze import SendFacts, freeze
from mailer.wire.links import TokenClaims, read_token
from mailer.wire.verp import find_verp

SECRET = b"s" * 32
FACTS = SendFacts(
    send=SendId("kw24-1"),
    key=5,
    date=1749448800.0,
    kind=SendKind.ISSUE,
    list_id="Wöchentliches <weekly.example.com>",
    base_url="https://news.example.com",
    secret=SECRET,
    return_path="bounces@example.com",
    feedback_sender="example.com",
)
ISSUE = CompiledIssue(
    slug="kw24",
    title="T",
    language="de",
    country="DE",
    timezone="Europe/Berlin",
    date="2025-06-09",
    sender="Grüne Post <post@example.com>",
    reply_to="Redaktion <redaktion@example.com>",
    subject=("Neues aus Köln",),
    text=("Hallo ", Slot("subscriber.first_name", Escape.PLAIN), "!\n"),
    html=("<p>Hallo ", Slot("subscriber.first_name", Escape.TEXT), "</p>\n"),
    word_count=1,
    reading_minutes=1,
)
FIRST = Slot("subscriber.first_name", Escape.PLAIN)
UNSUBSCRIBE = Slot("links.unsubscribe", Escape.PLAIN)


def recipient(email: str = "erika@example.org", *, position: int = 3, **columns: str) -> Recipient:
    attributes = {name: columns.pop(name) for name in list(columns) if name not in ("first_name", "last_name")}
    subscriber = Subscriber(42, email, attributes=attributes, **columns)
    return Recipient(FACTS.send, position, 1, email, 0, None, subscriber)


def opened(raw: bytes) -> EmailMessage:
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def part(raw: bytes, kind: str) -> str:
    body = opened(raw).get_body((kind,))
    assert isinstance(body, EmailMessage)
    assert not body.defects
    return str(body.get_content()).replace("\r\n", "\n")


def assert_legal(raw: bytes, *, utf8: bool = False) -> None:
    assert raw.endswith(b"\r\n")
    assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")
    assert utf8 or raw.isascii()
    head, _, body = raw.partition(b"\r\n\r\n")
    for line in raw.split(b"\r\n"):
        assert len(line) <= 998
        assert not line.startswith(b".")
        assert b"\0" not in line
    assert max(map(len, body.split(b"\r\n"))) <= 78
    assert all(line.strip() for line in head.split(b"\r\n"))


def test_every_header() -> None:
    """A message has each header once, with the value it must have, and no Precedence."""
    envelope = freeze(ISSUE, FACTS).assemble(recipient(first_name="Erika", last_name="Muster"))
    assert_legal(envelope.message)
    assert (envelope.recipient, envelope.smtputf8) == ("erika@example.org", False)
    assert find_verp(SECRET, envelope.sender) == (5, 3, False)
    message = opened(envelope.message)
    assert " ".join(message.keys()) == (
        "From To Message-ID List-Unsubscribe Subject Date Reply-To List-Id List-Unsubscribe-Post Feedback-ID "
        "MIME-Version Content-Type"
    )
    assert message["From"] == "Grüne Post <post@example.com>"
    assert message["To"] == "Erika Muster <erika@example.org>"
    assert message["Reply-To"] == "Redaktion <redaktion@example.com>"
    assert message["Subject"] == "Neues aus Köln"
    assert message["Date"] == "Mon, 09 Jun 2025 08:00:00 +0200"
    assert message["Message-ID"].startswith("<kw24-1.3.")
    assert message["Message-ID"].endswith("@example.com>")
    assert message["List-Id"].endswith("<weekly.example.com>")
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Feedback-ID"] == "kw24-1:kw24:issue:example.com"
    assert message.get_content_type() == "multipart/alternative"
    assert [sub.get_content_type() for sub in message.iter_parts()] == ["text/plain", "text/html"]


def unsubscribe_url(raw: bytes) -> str:
    """The first address in List-Unsubscribe, which one click needs to be https (RFC 8058 §3.1)."""
    return str(opened(raw)["List-Unsubscribe"]).split(",")[0].strip("<>")


def test_list_unsubscribe_is_raw() -> None:
    """List-Unsubscribe stands there as bare URLs: first https, with a token that names subscriber and send, then
    mailto, to a signed address that names send and position."""
    raw = freeze(ISSUE, FACTS).assemble(recipient()).message
    head = raw.partition(b"\r\n\r\n")[0]
    found = re.search(rb"^List-Unsubscribe: <([^<>]+)>,\r\n <mailto:([^<>?]+)\?subject=unsubscribe>\r$", head, re.M)
    assert found is not None
    url, address = (group.decode() for group in found.groups())
    assert url.startswith("https://news.example.com/unsubscribe/")
    assert read_token(SECRET, "unsubscribe", url.rpartition("/")[2]) == TokenClaims(42, 5)
    assert find_verp(SECRET, address) == (5, 3, True)


def test_without_a_return_path() -> None:
    """Without a return path the sender is the author, and List-Unsubscribe has its https URL alone."""
    envelope = freeze(ISSUE, replace(FACTS, return_path="")).assemble(recipient())
    assert envelope.sender == "post@example.com"
    assert "mailto" not in opened(envelope.message)["List-Unsubscribe"]


def test_links_in_text_are_those_in_the_header() -> None:
    """The unsubscribe link of the text is the one in the header."""
    raw = freeze(replace(ISSUE, text=(UNSUBSCRIBE,)), FACTS).assemble(recipient()).message
    assert unsubscribe_url(raw) == part(raw, "plain").strip()


def test_same_recipient_same_bytes() -> None:
    """A message made again, by another worker, is byte for byte the same; another position's isn't."""
    again = freeze(CompiledIssue.from_json(ISSUE.to_json()), FACTS).assemble(recipient())
    assert again == freeze(ISSUE, FACTS).assemble(recipient())
    assert again != freeze(ISSUE, FACTS).assemble(recipient(position=4))


def test_test_send_is_marked() -> None:
    """A test-send's subject begins with [Test], also a personalised one."""
    facts = replace(FACTS, kind=SendKind.TEST)
    assert opened(freeze(ISSUE, facts).assemble(recipient()).message)["Subject"] == "[Test] Neues aus Köln"
    personal = replace(ISSUE, subject=("Für ", Slot("subscriber.first_name", Escape.HEADER)))
    message = opened(freeze(personal, facts).assemble(recipient(first_name="Ümit")).message)
    assert message["Subject"] == "[Test] Für Ümit"


@pytest.mark.parametrize("name", ["Erika", "Ümit", "x\r\nBcc: evil@example.com", "=?utf-8?q?x?=", "a" * 300, "\0", ""])
def test_personalised_subject(name: str) -> None:
    """A name in the subject shows as the name, in one header."""
    pieces: Pieces = (
        "Für ",
        Slot("subscriber.first_name", Escape.HEADER),
        Choice((Branch("subscriber.first_name == 'Erika'", ("!",)),), ("?",)),
    )
    raw = freeze(replace(ISSUE, subject=pieces), FACTS).assemble(recipient(first_name=name)).message
    assert_legal(raw)
    message = opened(raw)
    shown = escape(name, Escape.HEADER)
    assert message["Subject"].split() == f"Für {shown}{'!' if name == 'Erika' else '?'}".split()
    assert "Bcc" not in message


def test_idn_domain_is_punycode() -> None:
    """An internationalised domain travels as punycode, in envelope and header."""
    envelope = freeze(ISSUE, FACTS).assemble(recipient("erika@müller.example"))
    assert envelope.recipient == "erika@xn--mller-kva.example"
    assert not envelope.smtputf8
    assert_legal(envelope.message)
    assert opened(envelope.message)["To"].addresses[0].addr_spec == "erika@xn--mller-kva.example"


def test_non_ascii_local_part_needs_smtputf8() -> None:
    """A non-ASCII local part stands raw in the To header, and the envelope says that it needs SMTPUTF8."""
    envelope = freeze(ISSUE, FACTS).assemble(recipient("jörg@müller.example", first_name="Jörg"))
    assert envelope.smtputf8
    assert envelope.recipient == "jörg@xn--mller-kva.example"
    assert "\r\nTo: =?utf-8?b?SsO2cmc=?= <jörg@xn--mller-kva.example>\r\n".encode() in envelope.message
    assert_legal(envelope.message, utf8=True)


@pytest.mark.parametrize("email", ["a@b.de\r\nBcc: c@d.de", "a b@c.de", "<a@b.de>", "a@\udcff.de", "a@ß\u2028.de", ""])
def test_bad_stored_address(email: str) -> None:
    """An address that could break out of its field or command raises AddressError."""
    with pytest.raises(AddressError):
        freeze(ISSUE, FACTS).assemble(recipient(email))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"sender": "nobody"}, "from"),
        ({"sender": "Ä <ä@example.com>"}, "from"),
        ({"reply_to": "a@b@c"}, "reply_to"),
    ],
)
def test_bad_sender(change: dict[str, str], where: str) -> None:
    """A sender that can't be one is an error that names the key."""
    with pytest.raises(CompileError) as raised:
        freeze(replace(ISSUE, **change), FACTS)
    assert raised.value.where == where


@pytest.mark.parametrize(
    ("sender", "shown"),
    [
        ("post@example.com", "post@example.com"),
        ('"Post, Die" <post@example.com>', '"Post, Die" <post@example.com>'),
        ("Post, Die <post@example.com>", '"Post, Die" <post@example.com>'),
        ("<post@example.com>", "post@example.com"),
        ("A\r\nB <post@example.com>", "A B <post@example.com>"),
    ],
)
def test_sender_forms(sender: str, shown: str) -> None:
    """The sender may be an address, or a name and an address, quoted or not."""
    assert opened(freeze(replace(ISSUE, sender=sender), FACTS).assemble(recipient()).message)["From"] == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("weekly.example.com", "<weekly.example.com>"),
        ("Weekly <weekly.example.com>", "Weekly <weekly.example.com>"),
        ('"Post, Die" <weekly.example.com>', '"Post, Die" <weekly.example.com>'),
        ("Grün <newsletter.grüne.example>", "Grün <newsletter.xn--grne-1ra.example>"),
    ],
)
def test_list_id_forms(text: str, shown: str) -> None:
    """A List-Id is an id, with or without a name, in ASCII on the wire."""
    raw = freeze(ISSUE, replace(FACTS, list_id=text)).assemble(recipient()).message
    assert_legal(raw)
    assert opened(raw)["List-Id"] == shown


@pytest.mark.parametrize("text", ["two words", "<a> <b>", "x <>", "-ü-.example"])
def test_bad_list_id(text: str) -> None:
    """A List-Id that can't be one is an error."""
    with pytest.raises(CompileError):
        freeze(ISSUE, replace(FACTS, list_id=text))


@pytest.mark.parametrize(
    ("base_url", "link"),
    [
        ("https://news.example.com/", "https://news.example.com/unsubscribe/"),
        ("https://grüne.example:8443/ä b", "https://xn--grne-1ra.example:8443/%C3%A4%20b/unsubscribe/"),
        ("http://localhost:8000", "http://localhost:8000/unsubscribe/"),
    ],
)
def test_base_url_in_ascii(base_url: str, link: str) -> None:
    """The links are ASCII URLs below base_url, whatever it is."""
    raw = freeze(ISSUE, replace(FACTS, base_url=base_url)).assemble(recipient()).message
    assert_legal(raw)
    assert opened(raw)["List-Unsubscribe"].startswith(f"<{link}")


def test_return_path_defaults_to_from() -> None:
    """Without a return path the envelope sender is the address in From, in punycode."""
    frozen = freeze(replace(ISSUE, sender="Post <post@grüne.example>"), replace(FACTS, return_path=""))
    assert frozen.assemble(recipient()).sender == "post@xn--grne-1ra.example"


def test_secret_stays_secret() -> None:
    """The secret key is shown by no repr."""
    assert "ssss" not in repr(freeze(ISSUE, FACTS))
    assert "ssss" not in repr(FACTS)


# --- bodies: whatever the pieces and the values, what was put in comes out

VALUES = [".", "..x", ".\n", ".\n.\n", "\r\n.\r\n", "Ä" * 300, "a=b", "end  ", "\0", "From x", "{{ 7 }}", "<b>", ""]


@pytest.mark.parametrize("before", ["", "line\n", "x" * 74, "ends in blank ", "Ä" * 30])
@pytest.mark.parametrize("after", ["", "\n", ".", ".\n.", " x", "\n.\n"])
def test_value_between_chunks(before: str, after: str) -> None:
    """A value shows unchanged between any two chunks, in legal lines."""
    slot = Slot("subscriber.value_here", Escape.PLAIN)
    frozen = freeze(replace(ISSUE, text=(before, slot, after)), FACTS)
    for value in VALUES:
        raw = frozen.assemble(recipient(value_here=value)).message
        assert_legal(raw)
        expected = before + escape(value, Escape.PLAIN) + after
        assert part(raw, "plain") == (expected if after.endswith("\n") else expected + "\n")


_texts = st.text(max_size=60) | st.sampled_from(["\n", ".", ".\n", " ", "x" * 75, "=\n", "é" * 26])
_slots = st.sampled_from([FIRST, UNSUBSCRIBE, Slot("subscriber.last_name | default('.')", Escape.PLAIN)])
_pieces = st.recursive(
    st.lists(_texts | _slots, max_size=4).map(tuple),
    lambda inner: st.builds(
        lambda condition, then, otherwise, around: (around, Choice((Branch(condition, then),), otherwise), around),
        st.sampled_from(["subscriber.first_name", "subscriber.last_name == ''", "false"]),
        inner,
        inner,
        _texts,
    ),
    max_leaves=4,
)


def spliced(pieces: Pieces, first: str, last: str, unsubscribe: str) -> str:
    """What a reader should see: the plain text, made in the most obvious way."""
    values = {
        FIRST.expression: first,
        UNSUBSCRIBE.expression: unsubscribe,
        "subscriber.last_name | default('.')": last or ".",
        "subscriber.first_name": first,
        "subscriber.last_name == ''": not last,
        "false": False,
    }
    out = ""
    for piece in pieces:
        if isinstance(piece, str):
            out += piece
        elif isinstance(piece, Slot):
            out += escape(values[piece.expression], piece.escape)
        else:
            chosen = piece.branches[0].pieces if values[piece.branches[0].condition] else piece.otherwise
            out += spliced(chosen, first, last, unsubscribe)
    return out


@settings(max_examples=80)
@given(_pieces, st.text(max_size=40), st.text(max_size=5) | st.just(""))
def test_whatever_goes_in_comes_out(pieces: Pieces, first: str, last: str) -> None:
    """For any pieces, conditions and values, the decoded text is the text with the values in it."""
    issue = replace(ISSUE, text=(*pieces, "\n"), html=(*pieces, "\n"))
    raw = freeze(issue, FACTS).assemble(recipient(first_name=first, last_name=last)).message
    assert_legal(raw)
    unsubscribe = unsubscribe_url(raw)
    expected = spliced((*pieces, "\n"), first, last, unsubscribe).replace("\r\n", "\n").replace("\r", "\n")
    assert part(raw, "plain") == part(raw, "html") == expected

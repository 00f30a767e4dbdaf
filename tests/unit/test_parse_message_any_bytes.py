"""``parse_message`` on anything at all: no exception, nothing invented, time linear in the input."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.bounces.mail.addresses import field_address, find_addresses, header_addresses
from mailer.bounces.mail.mbox import split_mbox
from mailer.bounces.mail.mime import MAX_DEPTH, MAX_PARTS, decode_text, decode_words, first, read_mail
from mailer.bounces.message import parse_message, read_message

SAMPLES = [path.read_bytes() for path in sorted((Path(__file__).parent / "bounce_mails").glob("*.eml"))]
SYSTEM = b"From: MAILER-DAEMON@mx.example.net\nTo: bounces@example.org\nSubject: Undelivered Mail\n"


@given(st.binary(max_size=600))
@settings(max_examples=60)
def test_any_bytes_are_read(raw: bytes) -> None:
    """Arbitrary bytes raise nothing."""
    assert isinstance(parse_message(raw), list)


@given(st.text(max_size=300))
@settings(max_examples=40)
def test_any_text_is_read(raw: str) -> None:
    """Arbitrary text, with lone surrogates too, raises nothing."""
    assert isinstance(parse_message(raw + "\ud800"), list)


@given(st.data())
@settings(max_examples=60)
def test_mutated_mails_are_read(data: st.DataObject) -> None:
    """A sample with pieces cut, doubled or overwritten raises nothing, and its events hold what they promise."""
    raw = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw)))
        end = min(len(raw), at + data.draw(st.integers(0, 120)))
        match data.draw(st.integers(0, 3)):
            case 0:
                del raw[at:end]
            case 1:
                raw[at:at] = raw[at:end] * 3
            case 2:
                raw[at:end] = data.draw(st.binary(max_size=30))
            case _:
                raw[at:at] = data.draw(st.sampled_from(SAMPLES))[:500]
    report = read_message(bytes(raw))
    assert report.kind in ("bounce", "complaint", "auto-reply", "delivery", "other")
    for event in report.events:
        assert len(event.event_id) == 32
        assert event.recipient == "" or "@" in event.recipient[1:-1]
        assert "\n" not in event.diagnostic
        assert event.status == "" or event.status[0] in "245"


@pytest.mark.parametrize(
    "raw",
    [b"", b"\n", b"\x00\xff", b"Hello", b"From ", b":", b"Subject: Undeliverable\n\n", "ä\ud800", b"\xef\xbb\xbf\n"],
)
def test_rubbish_has_no_events(raw: bytes | str) -> None:
    """What is no report gives no events."""
    assert parse_message(raw) == []


def test_the_same_mail_has_the_same_ids() -> None:
    """An event's id is stable, and differs for each recipient and each mail."""
    several = next(raw for raw in SAMPLES if b"three@example.com" in raw)
    ids = [event.event_id for event in parse_message(several)]
    assert len(set(ids)) == 3
    assert ids == [event.event_id for event in parse_message(several)]
    assert set(ids).isdisjoint(event.event_id for event in parse_message(several + b"\n"))


HOSTILE = {
    "at signs": b"@",
    "one long word": b"a",
    "addresses without end": b"x@a.a.",
    "tags that never close": b"<",
    "styles that never close": b"<style>",
    "bare CRs": b"\r",
    "boundaries": b"--\n",
    "replies": b"550 a@b.cc 5.1.1 ",
    "blanks": b" ",
    "lines of fields": b"From: x\nReceived y\n",
    "subjects": b"Subject: x\n",
    "half a sentence": b"konnte nicht ",
    "half an expansion": b"(expanded from <",
    "lines of recipients": b"<a@b.cc>: x\n",
    "rules": b"- " * 90 + b"\n",
    "encoded words": b"=?utf-8?q?a?= ",
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_repetition_is_read(unit: bytes) -> None:
    """120 KB of what is worst for a pattern is read, in the header too; a quadratic reader would need minutes."""
    body = (unit * (120_000 // len(unit)))[:120_000]
    assert isinstance(parse_message(SYSTEM + b"\n" + body), list)
    assert isinstance(parse_message(SYSTEM + body[:20_000]), list)


@pytest.mark.parametrize("kind", [b"text/html", b"message/delivery-status", b"message/feedback-report"])
def test_hostile_repetition_in_other_parts_is_read(kind: bytes) -> None:
    """The same in parts that have readers of their own."""
    for unit in HOSTILE.values():
        body = (unit * (10_000 // len(unit)))[:10_000]
        assert isinstance(parse_message(SYSTEM + b"Content-Type: " + kind + b"\n\n" + body), list)


def test_parts_and_depth_are_bounded() -> None:
    """Parts past the limit are left out, and nesting past the limit is text."""
    many = SYSTEM + b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\nA\n" * (3 * MAX_PARTS)
    assert len(list(read_mail(many).leaves())) <= MAX_PARTS
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(200))
    part, depth = read_mail(SYSTEM + nested), 0
    while part.children:
        part, depth = part.children[0], depth + 1
    assert depth <= MAX_DEPTH


def test_recipients_are_bounded() -> None:
    """A report with more recipients than anybody sends to at once is cut."""
    groups = b"".join(b"\nFinal-Recipient: rfc822; a%d@b.cc\nAction: failed\n" % n for n in range(3000))
    assert len(parse_message(SYSTEM + b"Content-Type: message/delivery-status\n\n" + groups)) == 1000


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("rfc822; reader@example.com", "reader@example.com"),
        ("RFC822;<reader@example.com>", "reader@example.com"),
        ("rfc822 ;reader@example.com", "reader@example.com"),
        ("rfc822; rfc822;reader@example.com", "reader@example.com"),
        ("reader@example.com", "reader@example.com"),
        ("rfc822;reader@localhost", "reader@localhost"),
        ("rfc822;reader@[192.0.2.7]", "reader@[192.0.2.7]"),
        ("utf-8; Gr\\x{E4}fin@example.com", "Gräfin@example.com"),
        ("rfc822;reader+40example.com", "reader@example.com"),
        ('rfc822; "odd name"@example.com', ""),
        ("rfc822; Reader (the one) <reader@example.com>", "reader@example.com"),
        ('X-local; "|/usr/bin/procmail"', ""),
        ("rfc822; /home/reader/Maildir/", ""),
        ("rfc822; reader", ""),
        ("rfc822; reader@example.com_", "reader@example.com_"),
        ("rfc822; 读者reader@example.com", "读者reader@example.com"),
        ("rfc822; reader@example.com.", "reader@example.com"),
        ("rfc822; a@example.com, b@example.com", "a@example.com"),
        ("", ""),
    ],
)
def test_address_in_a_field(value: str, address: str) -> None:
    """The address in a report's field, whole or not at all; a pipe, a path or a name without a domain is none."""
    assert field_address(value) == address


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        (
            "to <a@example.com>, b@example.com. And 'c@example.com'!",
            ["a@example.com", "b@example.com", "c@example.com"],
        ),
        ("SMTP:a@example.com mailto:b@example.com", ["a@example.com", "b@example.com"]),
        ("a@example.com a@example.com", ["a@example.com"]),
        ("a@localhost user at example.com @example.com", []),
        (
            "无法发送到a@example.com 宛先はb@example.jpです 用户@例子.广告",
            ["a@example.com", "b@example.jp", "用户@例子.广告"],
        ),
        ("o'neil+tag=x@mail.example.co.uk", ["o'neil+tag=x@mail.example.co.uk"]),
    ],
)
def test_addresses_in_a_text(text: str, addresses: list[str]) -> None:
    """Addresses in prose, each once, without the punctuation around them."""
    assert find_addresses(text) == addresses


def test_addresses_in_a_header() -> None:
    """Display names are left out, even those that look like an address."""
    assert header_addresses('"x@y.example" <a@example.com>, b <b@example.com>') == ["a@example.com", "b@example.com"]
    assert header_addresses("a@example.com, b@example.com") == ["a@example.com", "b@example.com"]


def test_text_in_any_charset() -> None:
    """A charset that doesn't exist or doesn't fit gives way to UTF-8, then Latin-1."""
    assert decode_text("ü".encode(), "no-such-charset") == "ü"
    assert decode_text(b"\xfc", "utf-8") == "ü"
    assert decode_text("ü".encode("utf-16"), "utf-16") == "ü"
    assert decode_text(b"x", "\x00") == "x"


@pytest.mark.parametrize("charset", ["idna", "punycode", "unicode-escape", "hex", "undefined"])
def test_codecs_that_are_no_charset(charset: str) -> None:
    """A codec that is no mail's charset isn't used, some take quadratic time."""
    assert decode_text(b"a\\x41-b" * 50_000, charset) == "a\\x41-b" * 50_000


def test_encoded_words() -> None:
    """Encoded words are decoded, broken ones left."""
    assert decode_words("=?utf-8?Q?Grüße_an?= =?utf-8?B?IGRpY2g=?=".replace("ü", "=C3=BC").replace("ß", "=C3=9F")) == (
        "Grüße an dich"
    )
    assert decode_words("=?utf-8?B?####?= x") == "#### x"
    assert decode_words("=?utf-8?X?a?=") == "=?utf-8?X?a?="


def test_header_without_a_blank_line() -> None:
    """A line that can be no field begins the body."""
    part = read_mail(b"Subject: one\n two\nThe body begins: here\n")
    assert first(part.fields, "subject") == "one two"
    assert part.text.startswith("The body begins")


def test_an_mbox_is_split_at_its_from_lines_only() -> None:
    """A line that begins with ``From`` inside a mail splits nothing."""
    line = b"From a@example.com Mon Jun  2 06:00:05 2025\n"
    joined = line + b"Subject: 1\n\nFrom here on it is text.\n\nFrom b@example.com\n\n" + line + b"Subject: 2\n\nx\n"
    assert [mail.count(b"Subject") for mail in split_mbox(joined)] == [1, 1]
    assert split_mbox(b"Subject: 1\n\n" + line + b"Subject: 2\n") == [b"Subject: 1\n\n" + line + b"Subject: 2\n"]

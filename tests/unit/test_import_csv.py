"""Subscribers from CSV: what is taken, what is refused and why."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.errors import MailerError
from mailer.model.people import Subscriber, SubscriberStatus, Suppression
from mailer.service import csv_import, import_subscribers
from mailer.service.csv_import import RefusedRow
from mailer.service.import_subscribers import export_csv, import_csv
from mailer.service.ports import Change, Incoming, Leader, Upserted


class People:
    """As much of ``ports.Subscribers`` as an import and an export use, in a dict."""

    def __init__(self) -> None:
        self.rows: dict[str, Subscriber] = {}
        self.chunks: list[int] = []

    def upsert(self, rows: Sequence[Incoming], now: float) -> list[Upserted]:
        self.chunks.append(len(rows))
        answers: list[Upserted] = []
        for row in rows:
            old = self.rows.get(row.key)
            base = old or Subscriber(len(self.rows) + 1, row.email)
            names = ("first_name", "last_name", "language", "timezone")
            fields = {name: getattr(base, name) if (v := getattr(row, name)) is None else v for name in names}
            attributes = {**base.attributes, **(row.attributes or {})}
            new = Subscriber(base.id, base.email, **fields, attributes=attributes, status=base.status)
            change: Change = "added" if old is None else "unchanged" if old == new else "updated"
            answers.append(Upserted(change, new.status))
            self.rows[row.key] = new
        return answers

    def each(self, *, reachable: bool = False) -> Iterator[Subscriber]:
        yield from self.rows.values()

    def attribute_names(self) -> list[str]:
        return sorted({name for one in self.rows.values() for name in one.attributes})

    def find(self, key: str) -> Subscriber | None:
        return self.rows.get(key)

    def remove(self, key: str, now: float) -> bool:
        return self.rows.pop(key, None) is not None

    def unsubscribe(self, subscriber: int, now: float) -> bool:
        return False

    def count(self) -> int:
        return len(self.rows)

    def leaders(self, since: float, until: float, limit: int) -> list[Leader]:
        return []


def load(data: bytes | str, people: People | None = None) -> tuple[People, import_subscribers.ImportReport]:
    people = people or People()
    raw = data.encode() if isinstance(data, str) else data
    return people, import_csv(io.BytesIO(raw), "people.csv", people, lambda: 1.0)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_ways_to_write_csv(delimiter: str, end: str, bom: str) -> None:
    """Delimiter and byte order mark are found by themselves; quoted fields may hold delimiters and line breaks."""
    rows = [
        ["email", "first_name", "plan"],
        ["a@example.com", f'"An{delimiter}na{end}Lu"', "x"],
        ["b@example.com", "", ""],
    ]
    people, report = load(bom + "".join(delimiter.join(row) + end for row in rows))
    assert (report.added, report.refused) == (2, [])
    a, b = people.each()
    inside = " " if delimiter == "\t" else delimiter  # a tab is a control character
    assert (a.first_name, a.attributes) == (f"An{inside}na Lu", {"plan": "x"})
    assert (b.first_name, b.attributes) == ("", {})


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("First Name", "first_name"),
        ("E-Mail", None),
        ("Größe (cm)", "groesse_cm"),
        ("Prénom", "prenom"),
        ("2nd", "_2nd"),
        ("  Plan ", "plan"),
        ("Straße", "strasse"),
    ],
)
def test_names(title: str, name: str | None) -> None:
    """A title becomes the name an expression can say; ``E-Mail`` is the address."""
    people, _ = load(f"{title},email\nv,a@example.com\n" if name else f"{title},plan\na@example.com,v\n")
    (one,) = people.each()
    assert one.email == "a@example.com"
    assert one.value(name or "plan") == "v"


@pytest.mark.parametrize(
    ("data", "where", "says"),
    [
        ("", "people.csv", "the file is empty"),
        ("\n\n", "people.csv", "the file is empty"),
        (",,\n", "people.csv:1", "no column is named email"),
        ('email,"plan\n', "people.csv:1", "the header isn't CSV: a quoted field doesn't end"),
        (b"email," + b"a" * 1_000_001, "people.csv:1", "the header isn't CSV: it is longer than a million characters"),
        ("name,plan\n", "people.csv:1", "no column is named email, only name, plan"),
        ("\nname\n", "people.csv:2", "no column is named email"),
        ("email,Plan,plan\n", "people.csv:1", "columns 'Plan' and 'plan' are both 'plan'"),
        ("email,e-mail\n", "people.csv:1", "are both 'email'"),
        ("email,名前\n", "people.csv:1", "column 2 ('名前') has no usable name"),
        ("email,Referrals this week\n", "people.csv:1", "is a name of ours: referrals_this_week"),
        ("email,plan\ra@example.com,x\r", "people.csv:1", "lines end with CR alone"),
        ("email,größe\n".encode("latin-1"), "people.csv:1", "the header isn't UTF-8"),
        ("email\na@example.com\n".encode("utf-16"), "people.csv", "the file is UTF-16"),
        ("email\na@example.com\n".encode("utf-16-le"), "people.csv", "the file is UTF-16"),
    ],
)
def test_unreadable_files(data: bytes | str, where: str, says: str) -> None:
    """A file or header that can't be read is an error that says where, and what to do."""
    with pytest.raises(MailerError) as caught:
        load(data)
    assert caught.value.where == where
    assert says in caught.value.what
    assert caught.value.todo


BAD = [
    ("x", "x", "it has 1 field, and the header has 3"),
    ("a@example.com,b,c,d", "a@example.com", "it has 4 fields, and the header has 3"),
    ("a@example.com,b,,,x", "a@example.com", "it has 5 fields, and the header has 3"),
    (",Nobody,", "", "it has no address"),
    ('"a@example.com","Bob" Smith,', "a@example.com", "text follows a closing quote"),
    ('a@example.com,"unclosed,', "a@example.com", "a quoted field doesn't end"),
    (b"a@example.com," + b"x" * 1_500_000, "", "it is longer than a million characters"),
    ("dot.@example.net,,", "dot.@example.net", "cannot have a period immediately before the @-sign"),
    ("no-at-sign,,", "no-at-sign", "must have an @-sign"),
    ("Ann <a@example.com>,,", "Ann <a@example.com>", ""),
    ('"a@example.net\r\nRCPT TO:<x@example.com>",,', "a@example.net RCPT TO:<x@example.com>", ""),
    (f"a@example.com,{'x' * 1001},", "a@example.com", "its first_name is longer than 1,000 characters"),
    (b"a@example.com,J\xfcrgen,", "a@example.com", "it isn't UTF-8 (save the file as CSV in UTF-8"),
    (b"j\xfcrgen@example.com,,", "j\ufffdrgen@example.com", "it isn't UTF-8"),
]


@pytest.mark.parametrize(("row", "email", "reason"), BAD)
def test_bad_rows(row: bytes | str, email: str, reason: str) -> None:
    """A bad row is refused with its line, its address and the reason; the rows around it are taken."""
    raw = row.encode() if isinstance(row, str) else row
    head = b'email,first_name,plan\n"first@example.com","two\nlines",\n\n'
    people, report = load(head + raw + b"\nlast@example.com,,\n")
    assert list(people.rows) == ["first@example.com", "last@example.com"]
    (refused,) = report.refused
    assert report.refused_count == 1
    assert (refused.line, refused.email) == (5, email)
    assert reason in refused.reason
    assert refused.reason


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_columns_without_a_name(delimiter: str) -> None:
    """A column without a name is nothing while it is empty; a value in it refuses the row."""
    header, rows = ",email,,plan,,", [",a@x.com,,p,,", ",b@x.com,,p", ",c@x.com,v,p,,", ",d@x.com,,p,v,", ",e@x.com"]
    people, report = load("\n".join([header, *rows]).replace(",", delimiter))
    assert [(one.email, one.attributes) for one in people.each()] == [
        ("a@x.com", {"plan": "p"}),
        ("b@x.com", {"plan": "p"}),
    ]
    assert [(row.email, row.reason) for row in report.refused] == [
        ("c@x.com", "column 3 isn't empty, and has no name in the header"),
        ("d@x.com", "it has 6 fields, and the header has 4"),
        ("e@x.com", "it has 2 fields, and the header has 4"),
    ]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("Eve\r\nBcc: victim@example.com", "Eve Bcc: victim@example.com"),
        ("a\0b\x1b[31mc\x7f", "a b [31mc"),
        ("a\u2028b\u2029c\x85d", "a b c d"),
        ("  a  b  ", "a  b"),
        ("{{ 7*7 }}", "{{ 7*7 }}"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("=cmd()", "=cmd()"),
        ("👩‍👩‍👧‍👦", "👩‍👩‍👧‍👦"),
        ("\u202egnp.exe", "\u202egnp.exe"),
        ("x" * 1000, "x" * 1000),
    ],
)
def test_values_are_data(cell: str, value: str) -> None:
    """Control characters become spaces; everything else stays as it is."""
    people, report = load(f'email,first_name,plan\na@example.com,"{cell}","{cell}"\n')
    assert report.refused == []
    (one,) = people.each()
    assert (one.first_name, one.attributes) == (value, {"plan": value})


def test_merging() -> None:
    """Addresses that differ only in case, or in how the domain is written, are one person."""
    people, report = load("email,plan\nA@Example.org,x\na@example.ORG,y\nb@müller.example,\nB@xn--mller-kva.example,\n")
    assert (report.added, report.updated, report.unchanged) == (2, 1, 1)
    assert [one.email for one in people.each()] == ["A@example.org", "b@müller.example"]


def test_empty_cells_keep() -> None:
    """An empty cell leaves what is there."""
    people, _ = load("email,first_name,plan\na@example.com,Ann,x\n")
    _, report = load("email,first_name,plan\na@example.com,,\n", people)
    assert report.unchanged == 1
    _, report = load("email,first_name\na@example.com,Eve\n", people)
    assert (report.updated, people.rows["a@example.com"].attributes) == (1, {"plan": "x"})


def test_chunks_and_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows go to the store a chunk at a time, and progress counts taken and refused rows."""
    monkeypatch.setattr(import_subscribers, "CHUNK", 3)
    people, seen = People(), list[int]()
    data = "email\n" + "".join(f"p{n}@example.com\n" for n in range(7)) + "bad\n"
    import_csv(io.BytesIO(data.encode()), "x", people, lambda: 1.0, seen.append)
    assert people.chunks == [3, 3, 1]
    assert seen == [3, 6, 8]


def test_many_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """All refused rows are counted and told; only the first are kept."""
    monkeypatch.setattr(csv_import, "KEEP", 2)
    told: list[RefusedRow] = []
    data = b"email\n" + b"bad\n" * 5
    report = import_csv(io.BytesIO(data), "x", People(), lambda: 1.0, on_refused=told.append)
    assert (report.refused_count, len(report.refused), [row.line for row in told]) == (5, 2, [2, 3, 4, 5, 6])


def test_who_stays_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of people who have unsubscribed, or are suppressed, are taken and counted, each one however many there are,
    over all chunks; the first are kept, in the order of the file. One may be both."""
    monkeypatch.setattr(import_subscribers, "CHUNK", 2)
    monkeypatch.setattr(import_subscribers, "KEEP", 3)
    people, _ = load("email\n" + "".join(f"p{n}@example.com\n" for n in range(6)))
    for key in [f"p{n}@example.com" for n in range(1, 5)]:
        people.rows[key] = Subscriber(people.rows[key].id, key, status=SubscriberStatus.UNSUBSCRIBED)
    stopped = {key: Suppression(key, "bounced", "x", 1.0) for key in ("p0@example.com", "p3@example.com")}
    asked: list[int] = []

    def find(keys: Sequence[str]) -> dict[str, Suppression]:
        asked.append(len(keys))
        return {key: stopped[key] for key in keys if key in stopped}

    rows = "".join(f"p{n}@example.com,Ann\n" for n in (4, 3, 2, 1, 0, 5)) + "P3@Example.com,Eve\nnew@example.com,\n"
    data = io.BytesIO(f"email,first_name\n{rows}".encode())
    report = import_csv(data, "x", people, lambda: 1.0, find_suppressed=find)
    assert (report.added, report.updated) == (1, 7)
    assert report.unsubscribed_count == 5
    assert report.unsubscribed == ["p4@example.com", "p3@example.com", "p2@example.com"]
    assert report.suppressed_count == 3
    assert [one.email for one in report.suppressed] == ["p3@example.com", "p0@example.com", "p3@example.com"]
    assert asked == [2, 2, 2, 2]
    assert people.rows["p3@example.com"].status is SubscriberStatus.UNSUBSCRIBED


def test_export_leaves_out() -> None:
    """Those who have unsubscribed aren't exported: another store would subscribe them again."""
    people, _ = load("email\na@example.com\nb@example.com\n")
    b = people.rows["b@example.com"]
    people.rows["b@example.com"] = Subscriber(b.id, b.email, status=SubscriberStatus.UNSUBSCRIBED)
    out = io.StringIO(newline="")
    assert export_csv(people, out) == 1
    assert out.getvalue() == "email,first_name,last_name,language,timezone\r\na@example.com,,,,\r\n"


CELLS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
ROWS = st.lists(st.tuples(st.integers(0, 5), CELLS, CELLS, CELLS), max_size=8)


@settings(max_examples=60)
@given(ROWS)
def test_export_and_import(rows: list[tuple[int, str, str, str]]) -> None:
    """What is exported comes back the same, and imports into the same store without a change."""
    people = People()
    raw = io.StringIO(newline="")
    raw.write("email,first_name,language,plan\n")
    for number, *cells in rows:
        raw.write(",".join([f"p{number}@example.com", *('"' + cell.replace('"', '""') + '"' for cell in cells)]) + "\n")
    load(raw.getvalue(), people)
    out = io.StringIO(newline="")
    export_csv(people, out)
    other, report = load(out.getvalue())
    assert report.refused == []
    assert other.rows == people.rows
    _, again = load(out.getvalue(), people)
    assert (again.added, again.updated) == (0, 0)


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_any_bytes(junk: bytes) -> None:
    """Whatever bytes follow a header, they are taken or refused row by row, or the file is refused with a reason."""
    people = People()
    refusal, report = None, None
    try:
        _, report = load(b"email,plan\n" + junk, people)
    except MailerError as error:
        refusal = error
    assert refusal is None or refusal.todo
    assert report is None or all(row.reason and row.line >= 2 for row in report.refused)

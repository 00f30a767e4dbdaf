"""Compilation with templates of its own and a stand-in for MJML, which only takes the MJML tags away."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from mailer.compile.compile import compile_document
from mailer.compile.identity import Identity
from mailer.compile.report import report
from mailer.compile.templates import Templates, block_shapes
from mailer.content.parse import parse_issue
from mailer.errors import CompileError
from mailer.expressions.names import Names
from mailer.model.compiled import Branch, Choice, CompiledIssue, Escape, Slot

FRONT = (
    '---\ntitle: T & T\nsubject: "KW{{ issue.week }} {{ subscriber.first_name }}"\npreheader: P\nauthor: Ada\n'
    "date: 2025-06-09\nlanguage: de\n---\n"
)
SOURCES: Mapping[str, str] = {
    "labels.toml": "[en]\n[de]\nbyline='Von {author} · {date}'\ncalendar_day='{weekday} {day}'\n",
    "layout.mjml": "<mjml>{% for group in groups %}{{ group.mjml }}{% endfor %}</mjml>",
    "layout.txt": "{{ byline }}\n\n{{ body }}\n\n{{ links.unsubscribe }}",
    "prose.mjml": "<mj-text>{{ body }}</mj-text>",
    "blocks/box.mjml": "{# attributes: icon? #}\n<mj-text>{{ body | lead(icon) }}</mj-text>",
    "text/box.txt": "{{ icon }} {{ body }}",
    "blocks/card.mjml": "{# attributes: ; body: rows #}\n<mj-spacer />{{ body }}",
    "text/card.txt": "{{ body }}",
    "blocks/go.mjml": '{# attributes: href #}\n<mj-button><a href="{{ href }}">{{ body | unwrap }}</a></mj-button>',
    "text/go.txt": "{{ body }}: {{ href }}",
    "blocks/days.mjml": (
        "{# attributes: ; body: raw #}\n{% for row in calendar() %}<p>{{ row.day }}: {{ row.html }}</p>{% endfor %}"
    ),
    "text/days.txt": "{% for row in calendar() %}{{ row.day }}: {{ row.text }}\n{% endfor %}",
    "blocks/wide.mjml": "{# attributes: ; placement: section #}\n<mj-section>{{ body }}</mj-section>",
    "text/wide.txt": "{{ body }}",
}
IDENTITY = Identity("N <n@example.com>", "", "en", "DE", "Europe/Berlin", "N", "https://n.example/", "Weg 1")
VALUES: Mapping[str, object] = {
    "publication": {"name": "N", "reply_to": "n@example.com"},
    "audience": {"count": 1000, "delta": 3},
    "referrals": {"leaders": []},
}


def render(mjml: str) -> str:
    return re.sub(r"</?mj[\w-]*[^>]*>", "", mjml)


@dataclass(frozen=True)
class Case:
    body: str
    html: tuple[object, ...]
    text: tuple[object, ...]


def build(body: str, sources: Mapping[str, str] = SOURCES) -> CompiledIssue:
    templates = Templates(sources)
    document = parse_issue(FRONT + body + "\n", "kw24.md", Names(), block_shapes(templates))
    return compile_document(document, VALUES, templates, render, IDENTITY)


def name(escape: Escape) -> Slot:
    return Slot("subscriber.first_name", escape)


def when(*pieces: str | Slot) -> Choice:
    return Choice((Branch("subscriber.first_name", pieces),))


CASES = [
    Case("a *b*", ("<p>a <em>b</em></p>",), ("a b",)),
    Case("a <script>x</script>", ("<p>a &lt;script&gt;x&lt;/script&gt;</p>",), ("a <script>x</script>",)),
    Case("{{ issue.title }}", ("<p>T &amp; T</p>",), ("T & T",)),
    Case("{{ issue.url }}", ("<p>https://n.example/issues/kw24</p>",), ("https://n.example/issues/kw24",)),
    Case(
        '::: box icon="<{{ subscriber.first_name }}>"\na\n:::',
        ("<p>&lt;", name(Escape.TEXT), "&gt; a</p>"),
        ("<", name(Escape.PLAIN), "> a"),
    ),
    Case(
        "a\n\n{% if subscriber.first_name %}\nb\n{% endif %}\n\nc",
        ("<p>a</p>", when("<p>b</p>"), "<p>c</p>"),
        ("a", when("\n\nb"), "\n\nc"),
    ),
    Case(
        "{% if subscriber.first_name %}\nb\n{% endif %}\n\nc",
        (when("<p>b</p>"), "<p>c</p>"),
        (when("b\n\n"), "c"),
    ),
    Case("{% if referrals.leaders %}\na\n{% else %}\nb\n{% endif %}", ("<p>b</p>",), ("b",)),
    Case(
        "::: card\na\n\n::: box\nb\n:::\n:::",
        ("<p>a</p><p>b</p>",),
        ("a\n\nb",),
    ),
    Case(
        '::: go href="https://x/{{ subscriber.first_name }}"\nGo{% if subscriber.first_name %} on{% endif %}\n:::',
        ('<a href="https://x/', name(Escape.URL_PART), '">Go', when(" on"), "</a>"),
        ("Go", when(" on"), ": https://x/", name(Escape.PLAIN)),
    ),
    Case(
        "::: days\n- 2025-06-09:\n- 2025-06-10: **a** & b\n- 2025-06-11:\n:::",
        (
            "<p>Montag 9. Juni: Pfingstmontag</p><p>Dienstag 10. Juni: <strong>a</strong> &amp; b</p>"
            "<p>Mittwoch 11. Juni: </p>",
        ),
        ("Montag 9. Juni: Pfingstmontag\nDienstag 10. Juni: a & b\nMittwoch 11. Juni:",),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.body[:30])
def test_html(case: Case) -> None:
    """Each construct of an issue becomes the HTML it stands for, with slots escaped for their place."""
    assert build(case.body).html == case.html


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.body[:30])
def test_text(case: Case) -> None:
    """The text part says the same in text, without gaps where a condition doesn't hold."""
    compiled = build(case.body)
    text = ("Von Ada · 9. Juni 2025\n\n", *case.text, "\n\n", Slot("links.unsubscribe", Escape.PLAIN), "\n")
    merged: list[object] = []
    for piece in text:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    assert compiled.text == tuple(merged)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{{ issue.title | number }}", "kw24.md:9: 'issue.title | number' can't be evaluated"),
        ("{{ 1 / 0 }}", "kw24.md:9: '1 / 0' can't be evaluated: division by zero. Nothing can be divided by 0"),
        ("::: days\n- 2025-06-09: a\nb\n:::", "kw24.md:11: 'b' is no day of a calendar"),
        ("::: days\n- 2025-06-31: a\n:::", "kw24.md:10: '2025-06-31' is no date"),
        ("::: box\na\n\n::: box\nb\n:::\n:::", "kw24.md:12: The block 'box' can't stand inside 'box'"),
        ("::: card\n::: wide\na\n:::\n:::", "kw24.md:9: 'card' can't hold a block that draws its own sections"),
        ("[a][b]\n\n[b]: {{ links.share }}\n[c]: {{ links.share }}", "kw24.md:9: An expression was lost"),
        ('::: go href="https://x"\na\n\nb\n:::', "templates/blocks/go.mjml:2: the text here is one paragraph"),
    ],
)
def test_refused(body: str, message: str) -> None:
    """What can't be compiled is an error with file and line."""
    with pytest.raises(CompileError) as caught:
        build(body)
    assert str(caught.value).startswith(message)


def test_sections() -> None:
    """Neighbouring rows share one section; a block that draws its own stands between them, its condition around it."""
    sources = {**SOURCES, "layout.mjml": "{% for group in groups %}[{{ group.mjml }}]{% endfor %}"}
    compiled = build("a\n\nb\n\n{% if subscriber.first_name %}\n::: wide\nc\n:::\n{% endif %}\n\nd", sources)
    assert compiled.html == (
        "[<p>a</p>\n<p>b</p>][",
        Choice((Branch("subscriber.first_name", ("][<p>c</p>][",)),)),
        "][<p>d</p>]",
    )


def test_lost() -> None:
    """A template that drops an expression of the text it is given is an error, not a mail without it."""
    sources = {
        **SOURCES,
        "blocks/box.mjml": "{# attributes: icon? #}\n<mj-text>{{ body | striptags | upper }}</mj-text>",
    }
    with pytest.raises(CompileError, match="'box' doesn't show all of its text: an expression of line 10"):
        build("::: box\n{{ subscriber.first_name }}\n:::", sources)


def test_nothing_drawn() -> None:
    """A block whose template draws nothing leaves no gap in either part, and its text goes with it."""
    sources = {
        **SOURCES,
        "layout.mjml": "{% for group in groups %}[{{ group.mjml }}]{% endfor %}",
        "blocks/wide.mjml": "{# attributes: ; placement: section #}\n{% if false %}{{ body }}{% endif %}",
        "text/wide.txt": "{% if false %}{{ body }}{% endif %}",
    }
    compiled = build("a\n\n::: wide\n{{ subscriber.first_name }}\n:::\n\nb\n\n::: wide\n:::", sources)
    assert compiled.html == ("[<p>a</p><p>b</p>]",)
    assert compiled.text[0] == "Von Ada · 9. Juni 2025\n\na\n\nb\n\n"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("x {{ links.share }} y", True),
        ("x", False),
        ("{{ subscriber.first_name }}", False),
        ("{% if subscriber.first_name %}{{ links.share }}{% endif %}", False),
        ("{% if subscriber.first_name %}a{% endif %} {{ links.share }}", True),
    ],
)
def test_says(body: str, said: bool) -> None:
    """A template can ask whether its text already says to everyone what a link is."""
    sources = {**SOURCES, "text/box.txt": "{{ body | says(links.share) }}"}
    assert f"\n\n{said}\n\n" in str(build(f"::: box\n{body}\n:::", sources).text[0])


@pytest.mark.parametrize("name", ["blocks/go.mjml", "text/go.txt"])
@pytest.mark.parametrize("filter", ["upper", "truncate(9, True, '')"])
def test_changed(name: str, filter: str) -> None:
    """A template that changes a value before it is known is an error: the rest of a token is never sent."""
    sources = {**SOURCES, name: SOURCES[name].replace("{{ href }}", f"{{{{ href | {filter} }}}}")}
    with pytest.raises(CompileError, match=r"9: A template changes 'subscriber\.first_name' before its value is known"):
        build('::: go href="{{ subscriber.first_name }}"\na\n:::', sources)


def test_counted() -> None:
    """Tokens that MJML doubles or drops stop the compilation, with the expression that is to blame."""
    templates = Templates(SOURCES)
    document = parse_issue(FRONT + "{{ links.share }}\n", "kw24.md", Names(), {})
    with pytest.raises(CompileError, match=r"'links\.share' stands 1 times in the MJML, but 2 times"):
        compile_document(document, VALUES, templates, lambda mjml: render(mjml) * 2, IDENTITY)


def test_issue_values() -> None:
    """Subject, date and identity are the issue's own where it has them, else the publication's."""
    compiled = build("a")
    assert compiled.subject == ("KW24 ", name(Escape.HEADER))
    assert (compiled.slug, compiled.date, compiled.language) == ("kw24", "2025-06-09", "de")
    assert (compiled.sender, compiled.reply_to, compiled.country) == ("N <n@example.com>", "", "DE")


@pytest.mark.parametrize(
    ("body", "words", "minutes"),
    [
        ("one two – three & four", 4, 1),
        ("a {{ audience.count | number }} b {{ subscriber.first_name }} {{ issue.word_count }}", 5, 1),
        ("see [a b](https://example.com/x) https://example.com", 3, 1),
        ("x{% if subscriber.first_name %} a b c{% else %} d{% endif %}", 4, 1),
        ("{% if referrals.leaders %}\na b c\n{% endif %}\n\nd", 1, 1),
        ("w " * 1826, 1826, 5),
    ],
)
def test_words(body: str, words: int, minutes: int) -> None:
    """Words are what a reader reads: values count, URLs and what is cut away don't; minutes follow from them."""
    compiled = build(body)
    assert (compiled.word_count, compiled.reading_minutes) == (words, minutes)


def test_deterministic() -> None:
    """Equal input gives the equal artefact."""
    body = "a {{ subscriber.first_name }}\n\n::: card\nb\n:::"
    assert build(body).digest == build(body).digest


def test_report() -> None:
    """The report counts bytes, slots and links, and names images without a text."""
    sources = {
        **SOURCES,
        "prose.mjml": '<mj-text>{{ body }}<img src="/a.png" alt=" "/><img src="b" alt="B"/></mj-text>',
    }
    found = report(build('[x](https://e.com/{{ subscriber.first_name | default("a") }}) ü', sources))
    assert found["links"] == ["https://e.com/{{ subscriber.first_name | default('a') }}"]
    assert (found["images"], found["images_without_alt"]) == (2, ["/a.png"])
    assert found["slots"] == {
        "links.unsubscribe": 1,
        "subscriber.first_name": 1,
        'subscriber.first_name | default("a")': 2,
    }
    assert found["html_bytes"] == len(
        "<p><a href=\"https://e.com/{{ subscriber.first_name | default('a') }}\">x</a> ü</p>"
        '<img src="/a.png" alt=" "/><img src="b" alt="B"/>'.encode()
    )

"""From an issue file to a document: structure, tokens, and every problem with its line."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.content.document import Block, Conditional, Control, Document, Prose
from mailer.content.parse import parse_issue
from mailer.content.shapes import BlockShape
from mailer.content.tokens import PATTERN
from mailer.errors import ContentError, Problem
from mailer.expressions.expression import Expression
from mailer.expressions.names import Names

NAMES = Names(frozenset({"city"}))
SHAPES = {
    shape.name: shape
    for shape in (
        BlockShape("intro"),
        BlockShape("news", optional=frozenset({"icon", "title"})),
        BlockShape("image", required=frozenset({"src", "alt"}), optional=frozenset({"href"})),
        BlockShape("columns"),
        BlockShape("html", raw=True),
        BlockShape("divider", empty=True),
        BlockShape("calendar", raw=True),
        BlockShape("code", optional=frozenset({"language"}), raw=True),
    )
}
HEAD = "---\ntitle: Spring\nsubject: Hello\ndate: 2026-03-02\n---\n"
"""Five lines: the body begins in line 6."""


def parse(body: str, head: str = HEAD) -> Document:
    return parse_issue(head + body, "issues/kw10.md", NAMES, SHAPES, language="en")


def problems(body: str, head: str = HEAD) -> list[Problem]:
    with pytest.raises(ContentError) as caught:
        parse(body, head)
    return list(caught.value.problems)


def plain(document: Document, text: str) -> str:
    """A text with its tokens written as expressions again."""

    def source(token: str) -> str:
        match document.tokens[token]:
            case Expression(source=expression):
                return f"{{{{{expression}}}}}"
            case Control(keyword=keyword, condition=condition):
                return f"{{%{keyword}{' ' + condition.source if condition else ''}%}}"

    return PATTERN.sub(lambda found: source(found.group()), text)


def shape(document: Document, nodes: object = None) -> list[object]:
    """The tree as nested lists, easy to compare."""
    out: list[object] = []
    for node in document.nodes if nodes is None else nodes:  # type: ignore[attr-defined]
        match node:
            case Prose():
                out.append(plain(document, node.markdown))
            case Block():
                attributes = {key: plain(document, value) for key, value in node.attributes.items()}
                out.append((node.name, attributes, shape(document, node.body)))
            case Conditional():
                out.append([(c and plain(document, c), shape(document, branch)) for c, branch in node.branches])
    return out


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", []),
        ("One\n\nTwo", ["One\n\nTwo"]),
        ("::: intro\nHi\n:::", [("intro", {}, ["Hi"])]),
        (":::intro\nHi\n:::::", [("intro", {}, ["Hi"])]),
        (
            'a\n::: news icon="x" title=\'b "c"\'\nd\n:::\ne',
            ["a", ("news", {"icon": "x", "title": 'b "c"'}, ["d"]), "e"],
        ),
        ('::: news title="say \\"hi\\""\n:::', [("news", {"title": 'say "hi"'}, [])]),
        (
            "::: columns\n  ::: news\n  a\n  :::\n  ::: news\n  b\n  :::\n:::",
            [("columns", {}, [("news", {}, ["  a"]), ("news", {}, ["  b"])])],
        ),
        ('Hello {{ subscriber.first_name | default("you") }}!', ['Hello {{subscriber.first_name | default("you")}}!']),
        ("[x]({{ links.share }})", ["[x]({{links.share}})"]),
        (
            '::: image src="{{ issue.url }}" alt="{{ "}}" }}"\n:::',
            [("image", {"src": "{{issue.url}}", "alt": '{{"}}"}}'}, [])],
        ),
        (
            "Hi{% if subscriber.city %} {{ subscriber.city }}{% else %}!{% endif %} there",
            ["Hi{%if subscriber.city%} {{subscriber.city}}{%else%}!{%endif%} there"],
        ),
        (
            "{% if subscriber.city %}\n::: news\na\n:::\n\nb\n{% elif issue.week %}\nc\n{% else %}\nd\n{% endif %}",
            [[("{{subscriber.city}}", [("news", {}, ["a"]), "b"]), ("{{issue.week}}", ["c"]), (None, ["d"])]],
        ),
        ("a\n{% if issue.week %}\nb\n{% endif %}\nc", ["a", [("{{issue.week}}", ["b"])], "c"]),
        (
            "{% if issue.week %}a{% else %}b {{ issue.week }}{% endif %}",
            [[("{{issue.week}}", ["a"]), (None, ["b {{issue.week}}"])]],
        ),
        (
            "a\n{% if issue.week %}b{% endif %}",
            ["a\n{%if issue.week%}b{%endif%}"],
        ),
        (
            "{% if issue.week %}b{% endif %}{% if issue.week %}c{% endif %}",
            ["{%if issue.week%}b{%endif%}{%if issue.week%}c{%endif%}"],
        ),
        ("```\n::: intro\n{{ nothing }}\n{% if %}\n````\nb", ["```\n::: intro\n{{ nothing }}\n{% if %}\n````\nb"]),
        ("~~~ jinja\n```\n:::\n~~~", ["~~~ jinja\n```\n:::\n~~~"]),
        ("``` `a` {{ issue.week }}", ["``` `a` {{issue.week}}"]),
        ("`{{ issue.week }}`", ["`{{issue.week}}`"]),
        ("a {# b {{ c }} #}d", ["a d"]),
        ("a\n{# one\n::: two\n#}\nb", ["a\nb"]),
        ("a\n\n{# one #}\nb", ["a\n\n\nb"]),
        ("a {{- issue.week -}} b", ["a{{issue.week}}b"]),
        (
            "::: html\n<b>{{ issue.week }}</b>\n{% if issue.week %}\nx\n{% endif %}\n:::",
            [("html", {}, ["<b>{{issue.week}}</b>\n{%if issue.week%}\nx\n{%endif%}"])],
        ),
        ("::: code\n\n{{ x }}\n```\n::: news\n{# y #}\n:::", [("code", {}, ["\n{{ x }}\n```\n::: news\n{# y #}"])]),
        ("::: calendar\n- 2026-03-02: {{ issue.title }}\n:::", [("calendar", {}, ["- 2026-03-02: {{issue.title}}"])]),
        ("{ not one } {subscriber} {a.b}", ["{ not one } {subscriber} {a.b}"]),
    ],
)
def test_a_body_becomes_a_tree(body: str, expected: list[object]) -> None:
    """Prose, blocks and conditions come out as they stand, with tokens for expressions."""
    assert shape(parse(body)) == expected


def test_nodes_know_their_lines() -> None:
    """Each node says in which line of the file it begins, and each token where it stands."""
    found = parse("\nOne\n\n::: news\n\nTwo {{ issue.week }}\n:::\n{% if issue.week %}\nThree\n{% endif %}")
    one, news, condition = found.nodes
    assert (one.line, news.line, condition.line) == (7, 9, 13)
    assert isinstance(news, Block)
    assert news.body[0].line == 11
    assert sorted(entry.line for entry in found.tokens.values()) == [11, 13]


def test_every_token_of_the_texts_is_in_the_table() -> None:
    """Tokens are unlike each other, and the table holds exactly those that the texts hold."""
    found = parse('{{ issue.week }} {{ issue.week }}\n\n::: news title="{{ issue.title }}"\n:::')
    assert len(found.tokens) == 3
    assert set(PATTERN.findall(str(found.nodes))) == {PATTERN.fullmatch(key).groups() for key in found.tokens}  # type: ignore[union-attr]


def test_equal_sources_give_equal_documents() -> None:
    """Parsing is repeatable, so a compiled issue can be named by its content."""
    assert parse("{{ issue.week }}") == parse("{{ issue.week }}")
    assert parse("{{ issue.week }}").tokens.keys() != parse("{{ issue.week }} ").tokens.keys()


@pytest.mark.parametrize("ends", ["\r\n", "\r"])
def test_line_ends_and_byte_order_mark_do_not_matter(ends: str) -> None:
    """A file from Windows or an old Mac, with a byte order mark, gives the same nodes."""
    body = "One\n\n::: news\nTwo\n:::\n"
    data = b"\xef\xbb\xbf" + (HEAD + body).replace("\n", ends).encode()
    assert parse_issue(data, "kw10.md", NAMES, SHAPES).nodes == parse(body).nodes


def test_control_characters_become_spaces() -> None:
    """Invisible characters that editors paste don't reach the mail."""
    assert shape(parse("a\x00b\u2028c\x0bd\te")) == ["a b c d\te"]


@pytest.mark.parametrize(
    ("data", "line", "todo"),
    [
        (b"---\ntitle: Gr\xfc\xdfe\n", 2, "Save it as UTF-8"),
        (b"a\r\nb\r\n\xff", 3, "Save it as UTF-8"),
        ("---\n".encode("utf-16"), 1, "UTF-16"),
        ("a\n\ud800", 2, "Save it as UTF-8"),
    ],
)
def test_a_file_that_is_not_utf8_is_named(data: bytes | str, line: int, todo: str) -> None:
    """What isn't UTF-8 is one problem, in the line of the first wrong byte."""
    with pytest.raises(ContentError) as caught:
        parse_issue(data, "x.md", NAMES, SHAPES)
    [problem] = caught.value.problems
    assert (problem.what, problem.line) == ("The file isn't UTF-8 text", line)
    assert todo in problem.todo


@pytest.mark.parametrize(
    ("body", "line", "what", "todo"),
    [
        ("::: nwes\n:::", 6, "There is no block 'nwes'", "'news'"),
        ('\n::: news ikon="x"\n:::', 7, "The block 'news' has no attribute 'ikon'", "'icon'"),
        ('::: intro icon="x"\n:::', 6, "The block 'intro' has no attribute 'icon'", "takes none"),
        ('::: image src="https://example.com"\n:::', 6, "The block 'image' needs the attribute 'alt'", 'alt="…"'),
        ('::: news icon="a" icon="b"\n:::', 6, "has 'icon' twice", "Remove"),
        ("::: news icon=x\n:::", 6, "'icon=x' is no attribute", 'icon="value"'),
        ('::: news icon="x\n:::', 6, "is no attribute", 'icon="value"'),
        ('::: news icon="x"title="y"\n:::', 6, "is no attribute", 'icon="value"'),
        ("::: news icon=„x“\n:::", 6, "typographic quotation marks", 'icon="…"'),
        ("::: news {{ issue.week }}\n:::", 6, "'{{ … }}' is no attribute", "key="),
        ("::: {{ issue.week }}\n:::", 6, "name is missing", "::: name"),
        ('::: "news"\n:::', 6, "name is missing", "::: name"),
        ("a\n::: news\nb", 7, "The block 'news' is never closed", "Write :::"),
        ("a\n:::\nb", 7, "::: closes nothing here", "Remove it"),
        ("::: divider\n\na\n:::", 8, "The block 'divider' can hold nothing", "after line 6"),
        ("::: divider\n::: news\n:::\n:::", 7, "The block 'divider' can hold nothing", "after line 6"),
        ("::: calendar\n- a\n::: news\nb\n:::", 8, "can hold no other block, but 'news'", "before it"),
        ("a\n\n{% if issue.week %}\nb", 8, "This {% if %} is never closed", "{% endif %}"),
        ("a\n{% endif %}", 7, "'{% endif %}' has no {% if %}", "Remove it"),
        ("{% else %}", 6, "'{% else %}' has no {% if %}", "Remove it"),
        (
            "{% if issue.week %}\n{% else %}\n{% else %}\n{% endif %}",
            8,
            "'{% else %}' comes after the {% else %}",
            "Remove",
        ),
        (
            "{% if issue.week %}\n{% else %}\n{% elif issue.week %}\n{% endif %}",
            8,
            "'{% elif %}' comes after",
            "Remove",
        ),
        (
            "{% if issue.week %}\n::: news\n{% endif %}",
            8,
            "The block 'news' in line 7 isn't closed before {% endif %}",
            ":::",
        ),
        ("::: news\n{% if issue.week %}\n:::", 8, "The {% if %} in line 7 isn't closed", "{% endif %}"),
        ("{% if %}\nb\n{% endif %}", 6, "'{% if %}' has no condition", "{% if subscriber.first_name %}"),
        ("{% if issue.week %}\n{% else if issue.slug %}\n{% endif %}", 7, "takes no condition", "{% elif … %}"),
        ("a {% endif issue.week %}", 6, "takes no condition", "Write {% endif %}"),
        ("{% for x in y %}", 6, "'{% for %}' isn't possible", "Only {% if"),
        ("a {% set x = 1 %}", 6, "'{% set %}' isn't possible", "Only {% if"),
        ("{% if issue.week %}\n{% endfi %}", 7, "'{% endfi %}' isn't possible", "'endif'"),
        (
            "a {% if issue.week %} b\n\nc {% endif %}",
            6,
            "'{% if %}' is never closed in its paragraph",
            "alone on a line",
        ),
        ("a {% endif %}", 6, "'{% endif %}' has no {% if %} in its paragraph", "before it"),
        ("{% if issue.week %}\n\na {% endif %}", 8, "'{% endif %}' has no {% if %}", "line 6 stands alone"),
        ("a {% if issue.week %}b{% else %}c{% else %}d{% endif %}", 6, "'{% else %}' comes after", "Remove"),
        ("**a{% if issue.week %}b** c{% endif %}", 6, "different parts of the text's formatting", "Put both"),
        ("- {% if issue.week %}a\n- b{% endif %}", 6, "is never closed in its paragraph", "alone on a line"),
        ("[a{% if issue.week %}b](https://example.com/{% endif %})", 6, "is never closed in its paragraph", "alone"),
        ('::: news title="{% if issue.week %}a"\n:::', 6, "never closed in the attribute 'title'", "same one"),
        ("::: html\n{% if issue.week %}\n:::", 7, "never closed in the block 'html'", "same one"),
        ("{{ issue.titel }}", 6, "'issue' has no 'titel'", "'issue.title'"),
        ("a\nb {{ }} c", 7, "nothing between the braces", "{{ issue.title }}"),
        ("a {{ issue.title } b", 6, "'{{ issue.title } b' is never closed on its line", "{{ … }}"),
        ("a {{ issue.title b {{ issue.week }}", 6, "'{{ issue.title b' is never closed", "{{ … }}"),
        ("a {% if issue.week = 3 %}b{% endif %}", 6, "unexpected '='", "write =="),
        ("{% if issue.week = 3 %}\nb\n{% endif %}", 6, "unexpected '='", "write =="),
        ("{% if issue.week > %}\nb\n{% endif %}", 6, "its end is missing", "{% if subscriber.first_name %}"),
        ("a {{ 'it }} b", 6, "is no expression", "Write it like"),
        ("{% if issue.week\na\n{% endif %}", 6, "'{% if issue.week' is never closed on its line", "{% … %}"),
        (
            "a { subscriber.first_name } b",
            6,
            "'{ subscriber.first_name' has one brace only",
            "{{ subscriber.first_name }}",
        ),
        ("a\n```\nb", 7, "The code fence ``` is never closed", "after the code"),
        ("a\nb {# c\nd", 7, "The comment {# is never closed", "#}"),
        ("{% if issue.week %}\n" * 21 + "{% endif %}\n" * 21, 26, "nested more than 20 deep", "Close"),
        ("{{ issue.week }} " * 5001, 6, "can hold 5000 expressions", "Shorten"),
    ],
)
def test_each_mistake_is_named_once(body: str, line: int, what: str, todo: str) -> None:
    """A mistake is named in its line, once, with what to do."""
    found = [problem for problem in problems(body) if what in problem.what]
    assert [problem.line for problem in found] == [line]
    assert todo in found[0].todo
    assert all(problem.file == "issues/kw10.md" for problem in found)


@pytest.mark.parametrize(
    "body",
    [
        "::: nwes\na\n:::\n\nb",
        "{% if issue.titel %}\na\n{% endif %}",
        "a {% if issue.titel %}b{% endif %}",
        "{% endfi %}",
        "a {% if issue.week b{% endif %}",
        "::: news icon=x\na\n:::",
    ],
)
def test_a_mistake_has_no_followers(body: str) -> None:
    """After a mistake parsing goes on as if it hadn't been made."""
    body = body if "endfi " not in body else "{% if issue.week %}\n" + body
    assert len(problems(body)) == 1


def test_all_problems_are_reported_in_order() -> None:
    """One run finds everything, front matter and body, ordered by line."""
    found = problems(
        "{{ issue.titel }}\n\n::: nwes\n:::\n\n:::", "---\ntitle: a\nsubject: '{{ issue.wek }}'\ndate: 1.2.2026\n---\n"
    )
    assert [problem.line for problem in found] == [3, 4, 6, 8, 11]


def test_a_problem_reads_well() -> None:
    """A problem is one line: file, line, what is wrong, what to do."""
    with pytest.raises(ContentError) as caught:
        parse("::: nwes\n:::")
    assert str(caught.value) == "issues/kw10.md:6: There is no block 'nwes'. Did you mean 'news'?"


PIECES = [
    "::: news\n",
    ":::\n",
    "::: html\n",
    "::: code\n",
    "::: nope x=1\n",
    '::: image src="{{ issue.url }}" alt=""\n',
    "```\n",
    "{% if issue.week %}",
    "{% if subscriber.x %}",
    "{% elif issue.week %}",
    "{% else %}",
    "{% endif %}",
    "{{ issue.week }}",
    "{{ ",
    "}}",
    "{% ",
    "%}",
    "{# ",
    "#}",
    "\n",
    "\n\n",
    "text ",
    "**",
    "[",
    "](",
    ")",
    "- ",
    "> ",
    "| ",
    "`",
    "'",
    '"',
    "-",
    "---\n",
    "title: a\n",
    "subject: b\n",
    "date: 2026-01-01\n",
    "tags: [a]\n",
    ": ",
    "# ",
    "&a ",
    "*a",
    "\t",
    "\r\n",
    "\u2028",
]


@settings(max_examples=300)
@given(
    st.one_of(
        st.text(),
        st.binary(max_size=60),
        st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
        st.lists(st.sampled_from(PIECES), max_size=40).map(lambda parts: HEAD + "".join(parts)),
        st.lists(st.sampled_from(PIECES), max_size=20).map(lambda parts: "---\n" + "".join(parts) + "\n---\n"),
    )
)
def test_any_text_parses_or_has_problems(text: str | bytes) -> None:
    """Whatever is in a file, it gives a document or problems whose lines are in the file."""
    try:
        found = parse_issue(text, "x.md", NAMES, SHAPES)
    except ContentError as error:
        whole = text.decode(errors="replace") if isinstance(text, bytes) else text
        last = whole.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
        lines = [problem.line for problem in error.problems]
        assert lines == sorted(lines)
        assert 1 <= lines[0] <= lines[-1] <= last
    else:
        assert isinstance(found.front.date, datetime.date)
        assert all(PATTERN.fullmatch(key) for key in found.tokens)

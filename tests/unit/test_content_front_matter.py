"""Front matter: its keys, its values, its lines."""

from __future__ import annotations

import datetime

import pytest

from mailer.content.document import FrontMatter
from mailer.content.parse import parse_issue
from mailer.content.tokens import PATTERN
from mailer.errors import ContentError, Problem
from mailer.expressions.names import Names

GOOD = {"title": "Spring", "subject": "Hello", "date": "2026-03-02"}


def front(file: str = "issues/kw10.md", publication: str = "", **keys: str) -> FrontMatter:
    lines = "\n".join(f"{key.replace('sender', 'from')}: {value}" for key, value in {**GOOD, **keys}.items())
    return parse_issue(f"---\n{lines}\n---\nText", file, Names(), {}, language=publication).front


def problems(text: str, file: str = "issues/kw10.md") -> list[Problem]:
    with pytest.raises(ContentError) as caught:
        parse_issue(text, file, Names(), {})
    return list(caught.value.problems)


def test_defaults() -> None:
    """Title, subject and date are enough; the language is the publication's, the slug the file's stem."""
    assert front(publication="de") == FrontMatter(
        title="Spring",
        subject="Hello",
        preheader="",
        author="",
        date=datetime.date(2026, 3, 2),
        language="de",
        slug="kw10",
    )


def test_every_key() -> None:
    """Each key has its place."""
    found = front(
        preheader="Short",
        author="Ada",
        language="de_AT",
        slug="spring-issue",
        sender="Ada <ada@example.com>",
        reply_to="reply@example.com",
        segment="subscriber.language == 'de'",
        tags="[a, b c]",
    )
    assert (found.preheader, found.author, found.language, found.slug) == ("Short", "Ada", "de-AT", "spring-issue")
    assert (found.sender, found.reply_to) == ("Ada <ada@example.com>", "reply@example.com")
    assert (found.segment, found.tags) == ("subscriber.language == 'de'", ("a", "b c"))


@pytest.mark.parametrize(
    ("key", "written", "expected"),
    [
        ("title", "No", "No"),
        ("title", "2026", "2026"),
        ("title", '"A: b # c"', "A: b # c"),
        ("title", ">\n  two\n  lines", "two lines"),
        ("tags", "a, b", ("a", "b")),
        ("tags", "", ()),
        ("date", "2026-03-02 06:00", datetime.date(2026, 3, 2)),
        ("date", '"2026-03-02"', datetime.date(2026, 3, 2)),
        ("date", "2026-03-02 # Monday", datetime.date(2026, 3, 2)),
        ("preheader", "", ""),
        ("preheader", "~", ""),
    ],
)
def test_values_are_taken_as_written(key: str, written: str, expected: object) -> None:
    """A value is the text an editor wrote, not what YAML would turn it into."""
    assert getattr(front(**{key: written}), key) == expected


@pytest.mark.parametrize(
    ("file", "slug"),
    [
        ("kw24.md", "kw24"),
        ("a/b/KW 24_Grüße.md", "kw-24-gruesse"),
        ("Été.md", "ete"),
        ("--x--.markdown", "x"),
        ("a" * 80 + ".md", "a" * 60),
    ],
)
def test_slug_from_the_file_name(file: str, slug: str) -> None:
    """A file's stem becomes a slug of lower-case letters, digits and hyphens."""
    assert front(file).slug == slug


def test_subject_and_preheader_hold_expressions() -> None:
    """Expressions and conditions in subject and preheader become tokens."""
    found = front(
        subject="\"KW{{ issue.week }}{% if links.share %}, {{ subscriber.first_name | default('x') }}{% endif %}\"",
        preheader="Week {{ issue.week }}",
    )
    assert PATTERN.sub("T", found.subject) == "KWTT, TT"
    assert PATTERN.sub("T", found.preheader) == "Week T"


@pytest.mark.parametrize(
    ("lines", "line", "what", "todo"),
    [
        (["titel: a"], 5, "no key 'titel'", "'title'"),
        (["colour: a"], 5, "no key 'colour'", "Known: author"),
        (["slug: A b"], 5, "The slug 'A b' can't stand in a link", "'a-b'"),
        (["slug: " + "a" * 61], 5, "can't stand in a link", "at most 60"),
        (["language: klingon"], 5, "'klingon' is no language", "de-AT"),
        (["from: Ada"], 5, "'from' holds no e-mail address", "Name <name@example.com>"),
        (["reply_to: a@b@c"], 5, "'reply_to' holds no e-mail address", "name@example.com"),
        (["author: [a, b]"], 5, "'author' must be a text, not a list", "one text"),
        (["author: {a: b}"], 5, "The value of 'author' is no text", "quotation marks"),
        (["author:", "  a: b"], 5, "The value of 'author' is no text", "Write a text"),
        (["tags: [[a]]"], 5, "The value of 'tags' is no text", "Write a text"),
        (["author: a", "author: b"], 6, "'author' is given twice", "Remove"),
        (["author: We are #1 # really"], 5, "YAML takes what follows # in 'author' for a comment", "quotation marks"),
        (["author: {{ issue.title }}"], 5, "The value of 'author' is no text", '"{{ … }}"'),
        (["author: a {{ issue.title }}"], 5, "'author' can hold no expression", "subject and preheader"),
        (["segment: subscriber.language = 'de'"], 5, "is no expression: unexpected '='", "write =="),
        (["segment: subscriber.email >"], 5, "is no expression: its end is missing", "subscriber.plan == 'premium'"),
        (["segment: subscriber.emial"], 5, "'subscriber' has no 'emial'", "'subscriber.email'"),
        (["segment: issue.week > 2"], 5, "isn't about subscribers alone", "subscriber.plan == 'premium'"),
        (["segment: links.share and subscriber.email"], 5, "isn't about subscribers alone", "subscriber.plan"),
        (["tags: ['{{ issue.title }}']"], 5, "'tags' can hold no expression", "subject and preheader"),
        (["preheader: a {{ issue.titel }}"], 5, "'issue' has no 'titel'", "'issue.title'"),
        (["preheader: a {% if issue.week %}"], 5, "never closed in the preheader", "same one"),
        (["preheader: a {% endif %}"], 5, "has no {% if %} in the preheader", "Remove"),
        (["preheader: a {{ issue.week"], 5, "is never closed on its line", "{{ … }}"),
        (["preheader: 'a {# b'"], 5, "comment {# is never closed", "#}"),
        (["author: a: b"], 5, "a colon with a blank after it", "quotation marks"),
        (["author: 'a"], 5, "can't be read", "Write key: value"),
        (["? [a]", ": b"], 5, "no plain word", "title: My issue"),
    ],
)
def test_a_wrong_line_is_named(lines: list[str], line: int, what: str, todo: str) -> None:
    """Each mistake in the front matter is a problem in its line of the file, with what to do."""
    good = [f"{key}: {value}" for key, value in GOOD.items()]
    found = problems("\n".join(["---", *good, *lines, "---", "Text"]))
    assert any(problem.line == line and what in problem.what and todo in problem.todo for problem in found), found


@pytest.mark.parametrize(
    ("text", "whats"),
    [
        ("", ["The issue has no front matter"]),
        ("Text", ["The issue has no front matter"]),
        ("---\ntitle: a\n", ["The front matter is never closed"]),
        ("---\n- a\n---\n", ["The front matter is no list of key: value"]),
        (
            "---\n---\n",
            ["The front matter has no title", "The front matter has no subject", "The front matter has no date"],
        ),
        ("---\ntitle: a\nsubject:\ndate: 2026-01-01\n---\n", ["The front matter has no subject"]),
        ("---\ntitle: a\nsubjekt: b\ndate: 2026-01-01\n---\n", ["The front matter has no key 'subjekt'"]),
        ("---\ntitle: a\nsubject: {{ b }}\ndate: 2026-01-01\n---\n", ["The value of 'subject' is no text"]),
    ],
)
def test_what_is_missing_is_named_once(text: str, whats: list[str]) -> None:
    """Missing front matter or keys are named, and nothing else is."""
    assert [problem.what for problem in problems(text)] == whats


@pytest.mark.parametrize(
    ("written", "suggested"), [("9.6.2025", "2025-06-09"), ("06/09/2025", "2026-11-23"), ("2025-13-01", "2026-11-23")]
)
def test_a_wrong_date_is_shown_how(written: str, suggested: str) -> None:
    """A date in another order is refused, with the right spelling where it can be told."""
    [problem] = problems(f"---\ntitle: a\nsubject: b\ndate: {written}\n---\n")
    assert (problem.line, problem.what) == (4, f"'{written}' is no date")
    assert suggested in problem.todo


def test_a_file_name_without_letters_needs_a_slug() -> None:
    """Where the file's name gives no slug, one is asked for."""
    [problem] = problems("---\ntitle: a\nsubject: b\ndate: 2026-01-01\n---\n", "期刊.md")
    assert (problem.line, problem.what) == (1, "The file's name gives no slug")

"""The built-in templates, and the sample issue that uses all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mailer.compile.compile import compile_document
from mailer.compile.identity import Identity
from mailer.compile.report import report
from mailer.compile.templates import Templates, block_shapes
from mailer.content.parse import parse_issue
from mailer.errors import CompileError
from mailer.expressions.names import Names
from mailer.mjml.render import render
from mailer.mjml.templates import load_templates, sample_issue
from mailer.model.compiled import Choice, CompiledIssue, Escape, Pieces, Slot, slots_of
from mailer.service.ports import Leader

BLOCKS = {"intro", "quote", "news", "chart", "image", "button", "calendar", "share", "leaders", "divider"}
IDENTITY = Identity(
    "Bote <bote@example.com>", "", "de", "DE", "Europe/Berlin", "Gießkannen-Bote", "https://bote.example", "Beet 1 & 2"
)
VALUES: dict[str, object] = {
    "publication": {
        "name": "Gießkannen-Bote",
        "reply_to": "bote@example.com",
        "base_url": "https://bote.example",
        "postal_address": "Beet 1 & 2",
        "language": "de",
    },
    "audience": {"count": 500, "delta": 12},
    "referrals": {"leaders": [Leader("Mia", 7), Leader("Jo <3", 4)]},
}


def build(templates: Templates, text: str) -> CompiledIssue:
    document = parse_issue(text, "issue.md", Names(), block_shapes(templates))
    return compile_document(document, VALUES, templates, render, IDENTITY)


@pytest.fixture(scope="module")
def sample() -> CompiledIssue:
    return build(load_templates(), sample_issue())


def flat(pieces: Pieces, *, holds: bool) -> str:
    """The pieces as text: ``x`` for a slot, every condition true or false."""
    parts: list[str] = []
    for piece in pieces:
        match piece:
            case str():
                parts.append(piece)
            case Slot():
                parts.append("x")
            case Choice():
                parts.append(flat(piece.branches[0].pieces if holds else piece.otherwise, holds=holds))
    return "".join(parts)


def test_blocks() -> None:
    """Every built-in block has its two files and declares its attributes."""
    assert set(block_shapes(load_templates())) >= BLOCKS


def test_sample_uses_all() -> None:
    """The sample issue shows every built-in block."""
    used = set(re.findall(r"^::: ([\w-]+)", sample_issue(), re.MULTILINE))
    assert used == set(block_shapes(load_templates()))


def test_sample_compiles(sample: CompiledIssue) -> None:
    """The sample issue compiles small, with nothing of its source left over and no image without a text."""
    found = report(sample)
    assert isinstance(found["html_bytes"], int)
    assert found["html_bytes"] < 70_000
    assert found["images_without_alt"] == []
    for holds in (True, False):
        for part in (flat(sample.html, holds=holds), flat(sample.text, holds=holds)):
            assert not re.search(r"\{\{|\{%|\{#|:::|zq[xu]\d|mj-raw|<mj-|fonts\.g", part)


def test_sample_slots(sample: CompiledIssue) -> None:
    """The sample has a slot in every kind of place, and each way out of the letter in both parts."""
    assert {slot.escape for slot in slots_of(sample.html)} == {Escape.TEXT, Escape.URL, Escape.URL_PART}
    assert {slot.escape for slot in slots_of(sample.subject)} == {Escape.HEADER}
    for part in (sample.html, sample.text):
        links = {slot.expression for slot in slots_of(part)}
        assert links >= {"links.unsubscribe", "links.share"}


def test_sample_balanced(sample: CompiledIssue) -> None:
    """Whichever way the conditions go, tags and MSO comments stay in balance."""
    for holds in (True, False):
        html = flat(sample.html, holds=holds)
        assert len(re.findall(r"<!--\[if [^\]]*\]>", html)) == html.count("<![endif]-->")
        visible = re.sub(r"<!--.*?-->", "", html, flags=re.DOTALL)
        for tag in ("table", "tbody", "tr", "td", "div", "p", "a", "ol", "li", "strong"):
            assert len(re.findall(rf"<{tag}[\s>]", visible)) == visible.count(f"</{tag}>")


def test_sample_text(sample: CompiledIssue) -> None:
    """The text part has no gaps where a condition doesn't hold, and its lines are short."""
    for holds in (True, False):
        text = flat(sample.text, holds=holds)
        assert "\n\n\n" not in text
        assert max(len(line) for line in text.split("\n") if "http" not in line) <= 82
    assert "Von Ottilie Krautwurst · 11. Mai 2026" in flat(sample.text, holds=True)
    assert "Donnerstag 14. Mai: Christi Himmelfahrt" in flat(sample.text, holds=True)


def test_layout(sample: CompiledIssue) -> None:
    """The letter says its language, its colours for dark mode, who publishes it and where to leave it."""
    html = flat(sample.html, holds=True)
    assert '<html lang="de"' in html
    assert '<meta name="color-scheme" content="light dark">' in html
    assert "@media (prefers-color-scheme: dark)" in html
    assert "Impressum: Beet 1 &amp; 2" in html
    assert "Jo &lt;3 (4)" in html
    assert all(re.search(r' width="\d+"', image) for image in re.findall(r"<img[^>]*>", html))


def test_english() -> None:
    """In English the letter's own words and dates are English."""
    compiled = build(load_templates(), sample_issue().replace("language: de", "language: en"))
    text = flat(compiled.text, holds=True)
    assert "By Ottilie Krautwurst · May 11, 2026" in text
    assert "Unsubscribe: " in text
    assert "Monday, May 11: " in text


def test_leaders_without_any() -> None:
    """The block of the most successful helpers vanishes in a week without any."""
    front = sample_issue().split("\n---\n")[0] + "\n---\n"
    text = 'a\n\n::: leaders title="Thanks"\nTo these:\n:::\n\nb\n'
    templates = load_templates()
    document = parse_issue(front + text, "issue.md", Names(), block_shapes(templates))
    nobody = {**VALUES, "referrals": {"leaders": []}}
    without, some = compile_document(document, nobody, templates, render, IDENTITY), build(templates, front + text)
    assert "Thanks" in flat(some.html, holds=True)
    assert "Thanks" not in flat(without.html, holds=True)
    assert "\n\na\n\nb\n\n" in flat(without.text, holds=True)


@pytest.mark.parametrize("body", ["{{ links.share }}", "Hand it on."])
def test_share_link_once(body: str) -> None:
    """The text part has the share link once, in the block's own words or after them."""
    front = sample_issue().split("\n---\n")[0] + "\n---\n"
    text = build(load_templates(), front + f"::: share\n{body}\n:::\n").text
    assert [slot.expression for slot in slots_of(text)].count("links.share") == 1


def test_own_templates(tmp_path: Path) -> None:
    """A publisher's file replaces the built-in one of the same name, and a new block is two new files."""
    (tmp_path / "blocks").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "prose.mjml").write_text('<mj-text css-class="mine">{{ body }}</mj-text>', encoding="utf-8")
    (tmp_path / "blocks" / "shout.mjml").write_text(
        "{# attributes: word #}\n<mj-text>{{ word }}!</mj-text>", encoding="utf-8"
    )
    (tmp_path / "text" / "shout.txt").write_text("{{ word }}!!", encoding="utf-8")
    front = sample_issue().split("\n---\n")[0] + "\n---\n"
    compiled = build(load_templates(tmp_path), front + 'a\n\n::: shout word="{{ subscriber.first_name }}ü"\n:::\n')
    html = flat(compiled.html, holds=True)
    assert 'class="mine"' in html
    assert "xü!" in html
    assert "ü!!" in flat(compiled.text, holds=True)
    assert Slot("subscriber.first_name", Escape.PLAIN) in compiled.text


def test_no_folder(tmp_path: Path) -> None:
    """A folder of templates that isn't there is an error, not the built-in look."""
    with pytest.raises(CompileError, match="no such folder"):
        load_templates(tmp_path / "gone")

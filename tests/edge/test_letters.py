"""The letters that answer sign-ups, drawn from real templates by the real renderer."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailer.compile.confirmation import Drawn, LetterPress
from mailer.errors import CompileError
from mailer.mjml.render import render
from mailer.mjml.templates import load_templates
from mailer.model.settings import Publication

BASE = "https://garten.example/news"
TOKEN = "t" * 38
LINK = f"{BASE}/confirm/{TOKEN}"
NAME = 'Brot & <Spiele> "{x}"'


def drawn(folder: Path | None = None, *, language: str = "de", linked: bool = True, address: str = "Kai 1") -> Drawn:
    publication = Publication(name=NAME, language=language, postal_address=address)
    press = LetterPress(load_templates(folder), load_templates(), publication, BASE, render)
    return press.draw("confirm" if linked else "subscribed", linked=linked).for_token(TOKEN)


@pytest.mark.parametrize(
    ("language", "subject", "button"),
    [
        ("de", f"Bitte bestätigen: {NAME}", "Abo bestätigen"),
        ("de-AT", f"Bitte bestätigen: {NAME}", "Abo bestätigen"),
        ("en", f"Please confirm: {NAME}", "Confirm the subscription"),
        ("fr", f"Please confirm: {NAME}", "Confirm the subscription"),
    ],
)
def test_confirm(language: str, subject: str, button: str) -> None:
    """In the publication's language, with the link in both parts, and the name escaped where it has to be."""
    letter = drawn(language=language)
    assert letter.subject == subject
    assert f"{button}:\n{LINK}\n" in letter.text
    assert f'href="{LINK}"' in letter.html
    assert button in letter.html
    assert NAME in letter.text
    assert "<Spiele>" not in letter.html
    assert "Kai 1" in letter.text
    assert "Kai 1" in letter.html
    assert max(len(line) for line in letter.text.splitlines()) <= 78
    shown = language if language.startswith("de") else "en"
    assert f'lang="{shown}"' in letter.html


def test_subscribed() -> None:
    """Whoever is subscribed already gets no link, and no button."""
    letter = drawn(linked=False)
    assert letter.subject.startswith("Du hast schon abonniert")
    for content in (letter.text, letter.html):
        assert "confirm" not in content
        assert TOKEN not in content
    assert "<a " not in letter.html


def test_nothing_is_loaded() -> None:
    """The letter loads nothing from anywhere: no picture, no font, no script."""
    html = drawn().html
    for loading in ("<img", "<script", "@import", "url(", "fonts.google", 'src="'):
        assert loading not in html


def test_no_address() -> None:
    """Without a postal address there is no empty foot."""
    assert "Impressum" not in drawn(address="").text
    assert "Impressum" not in drawn(address="").html


@pytest.mark.parametrize(
    ("name", "source", "where", "what"),
    [
        ("confirmation.mjml", "<mjml>\n<mj-body>{{ nonsense }}</mj-body></mjml>", ":2", "nonsense"),
        ("confirmation.mjml", "<mjml>\n<mj-body><mj-blink>x</mj-blink></mj-body></mjml>", ":2", "mj-blink"),
        ("confirmation.mjml", "<mjml><mj-body></mj-body></mjml>", "", "link"),
        ("confirmation.txt", "{{ title }}", "", "link"),
        ("confirmation.txt", "a\n{{ link", ":2", ""),
    ],
)
def test_own_templates(tmp_path: Path, name: str, source: str, where: str, what: str) -> None:
    """A publisher's own template is used; one without the link, or that can't be drawn, is an error that says where."""
    (tmp_path / name).write_text(source)
    with pytest.raises(CompileError) as caught:
        drawn(tmp_path)
    assert caught.value.where == f"templates/{name}{where}"
    assert what in str(caught.value)


def test_old_labels(tmp_path: Path) -> None:
    """A publisher's labels.toml from before there were letters serves still: their texts are the built-in ones."""
    (tmp_path / "labels.toml").write_text('[de]\nconfirm_mail_button = "Na los"\n')
    letter = drawn(tmp_path)
    assert "Na los" in letter.html
    assert letter.subject.startswith("Bitte bestätigen")

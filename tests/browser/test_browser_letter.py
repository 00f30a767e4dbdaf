"""The sample issue in a real browser. It loads nothing: what images would show must read well as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from mailer.compile.compile import compile_document
from mailer.compile.identity import Identity
from mailer.compile.templates import block_shapes
from mailer.content.parse import parse_issue
from mailer.expressions.names import Names
from mailer.mjml.render import render
from mailer.mjml.templates import load_templates, sample_issue
from mailer.model.compiled import Choice, Pieces, Slot
from mailer.service.ports import Leader

READ = """() => {
  const channels = text => text.match(/[\\d.]+/g).map(Number);
  const luminance = rgb => {
    const [r, g, b] = rgb.slice(0, 3).map(c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = element => {
    for (let at = element; at; at = at.parentElement) {
      const rgba = channels(getComputedStyle(at).backgroundColor);
      if (rgba.length < 4 || rgba[3] > 0) return rgba;
    }
    return [255, 255, 255];
  };
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const [a, b] = [luminance(channels(style.color)), luminance(background(element))];
    texts.push({
      text: walker.currentNode.textContent.trim().slice(0, 40), size: parseFloat(style.fontSize),
      contrast: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), dark: b < 0.2,
    });
  }
  return texts;
}"""


def spliced(pieces: Pieces) -> str:
    """The letter of somebody with a long name, for whom every condition holds."""
    parts: list[str] = []
    for piece in pieces:
        match piece:
            case str():
                parts.append(piece)
            case Slot(expression=expression):
                url = expression.startswith("links.")
                parts.append(f"https://bote.example/{'x' * 60}" if url else "Maximiliane-Theodora")
            case Choice():
                parts.append(spliced(piece.branches[0].pieces))
    return "".join(parts)


@pytest.fixture(scope="module")
def html() -> str:
    templates = load_templates()
    name, base, address = "Gießkannen-Bote", "https://bote.example", "Beet 1, Obermühlbach"
    document = parse_issue(sample_issue(), "issue.md", Names(), block_shapes(templates))
    values: dict[str, object] = {
        "publication": {"name": name, "reply_to": "bote@example.com", "base_url": base, "postal_address": address},
        "audience": {"count": 500, "delta": 12},
        "referrals": {"leaders": [Leader("Mia", 7)]},
    }
    identity = Identity("Bote <bote@example.com>", "", "de", "DE", "Europe/Berlin", name, base, address)
    return spliced(compile_document(document, values, templates, render, identity).html)


@pytest.fixture(params=["light-375", "light-1200", "dark-375", "dark-1200"])
def page(browser: Browser, html: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    scheme, _, width = request.param.partition("-")
    opened = browser.new_page(
        viewport={"width": int(width), "height": 800}, color_scheme="dark" if scheme == "dark" else "light"
    )
    opened.route("**/*", lambda route: route.abort())
    opened.set_content(html)
    yield opened
    opened.close()


def read(page: Page) -> list[dict[str, Any]]:
    texts: list[dict[str, Any]] = page.evaluate(READ)
    assert len(texts) > 40
    return texts


def test_no_sideways(page: Page) -> None:
    """Nobody has to scroll sideways, on a phone or on a desk."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_legible(page: Page) -> None:
    """No text is smaller than 14 pixels, and the letter's own text has 16 or more."""
    sizes = [text["size"] for text in read(page)]
    assert min(sizes) >= 14
    assert sorted(sizes)[len(sizes) // 2] >= 16


def test_contrast(page: Page) -> None:
    """Every text stands out from its background by WCAG's AA, in light and in dark."""
    assert [text for text in read(page) if text["contrast"] < 4.5] == []


def test_dark(browser: Browser, html: str) -> None:
    """In dark mode nothing but a button is bright."""
    page = browser.new_page(color_scheme="dark")
    page.route("**/*", lambda route: route.abort())
    page.set_content(html)
    assert [text["text"] for text in read(page) if not text["dark"]] == []
    page.close()


def test_images(page: Page) -> None:
    """Every image has a text, and where images don't load that text is as legible as the rest."""
    images = page.evaluate(
        "[...document.images].map(i => ({alt: i.alt, size: parseFloat(getComputedStyle(i).fontSize), width: i.width}))"
    )
    assert len(images) == 2
    assert all(image["alt"] and image["size"] >= 14 and image["width"] > 200 for image in images)


def test_structure(page: Page) -> None:
    """A screen reader learns the language and one main heading, and reads no layout table as a table of data."""
    assert page.evaluate("document.documentElement.lang") == "de"
    assert page.locator("h1").count() == 1
    assert page.locator("table:not([role=presentation])").evaluate_all("all => all.map(t => t.className)") == ["grid"]
    assert (
        page.locator("a:visible").evaluate_all("all => all.filter(a => !a.innerText.trim() && !a.querySelector('img'))")
        == []
    )

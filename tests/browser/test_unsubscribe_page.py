"""The unsubscribe page in a real browser, from a real server: by keyboard alone, on a phone, without CSS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from mailer.mjml.templates import load_templates
from mailer.model.people import SubscriberStatus
from mailer.model.settings import Publication
from mailer.service.ports import Incoming
from mailer.store.store import SqlStore, open_store
from mailer.web.app import create_app
from mailer.web.pages import PagePress
from mailer.web.unsubscribe import draw_unsubscribe_pages, unsubscribe_routes
from mailer.wire.links import make_token
from tests.servers.web import serving

SECRET = b"a key of sixteen and more octets"
EMAIL = "anna@example.com"
NAME = "Donaudampfschifffahrtsgesellschafts-Bote"
TITLES = {
    "de": (f"{NAME} abbestellen", "Abbestellen", "Du bist abgemeldet"),
    "en": (f"Unsubscribe from {NAME}", "Unsubscribe", "You are unsubscribed"),
}
CONTRASTS = """() => {
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
  return [...document.querySelectorAll('p, h1, button, footer')].map(element => {
    const [a, b] = [luminance(channels(getComputedStyle(element).color)), luminance(background(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
}"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'mailer.db'}", create=True)
    opened.subscribers.upsert([Incoming(EMAIL, EMAIL)], 1.0)
    yield opened
    opened.close()


@pytest.fixture
def url(store: SqlStore, language: str) -> Iterator[str]:
    templates = load_templates()
    publication = Publication(name=NAME, language=language, postal_address="Kai 1, Linz")
    pages = draw_unsubscribe_pages(PagePress(templates, templates, publication))
    with serving(create_app(NAME, language, {}, unsubscribe_routes(store, SECRET, pages))) as base:
        yield f"{base}/unsubscribe/{make_token(SECRET, 'unsubscribe', 1, 1)}"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 375, "height": 700})
    yield opened
    opened.close()


def status(store: SqlStore) -> SubscriberStatus:
    found = store.subscribers.find(EMAIL)
    assert found is not None
    return found.status


def test_keyboard(page: Page, url: str, store: SqlStore, language: str) -> None:
    """Tab and Enter are enough: the first stop is the button, which shows that it has the focus."""
    title, button, done = TITLES[language]
    page.goto(url)
    assert page.evaluate("document.documentElement.lang") == language
    assert page.locator("h1").inner_text() == title
    assert status(store) is SubscriberStatus.SUBSCRIBED
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    assert (focused.evaluate("e => e.tagName"), focused.inner_text()) == ("BUTTON", button)
    assert focused.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    with page.expect_navigation() as navigation:
        page.keyboard.press("Enter")
    assert (navigation.value.status, page.url) == (200, url)
    assert page.locator("h1").inner_text() == done
    assert page.locator("button").count() == 0
    assert status(store) is SubscriberStatus.UNSUBSCRIBED


def test_no_style_no_script(browser: Browser, url: str, store: SqlStore, language: str) -> None:
    """Without CSS and JavaScript the page says the same in the same order, and its button works."""
    title, button, done = TITLES[language]
    page = browser.new_page(java_script_enabled=False)
    bare = re.compile(r"<style>.*?</style>", re.DOTALL)
    answers = []

    def strip(route) -> None:
        answers.append(route.fetch())
        route.fulfill(response=answers[-1], body=bare.sub("", answers[-1].text()))

    page.route("**/unsubscribe/*", strip)
    page.goto(url)
    said = page.locator("body").inner_text().split("\n\n")
    assert said[:2] == [NAME, title]
    page.get_by_role("button", name=button).click()
    assert page.get_by_role("heading").inner_text() == done
    assert [answer.status for answer in answers] == [200, 200]
    assert status(store) is SubscriberStatus.UNSUBSCRIBED
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 375, 1200])
@pytest.mark.parametrize("language", ["de"], indirect=True)
def test_looks(browser: Browser, url: str, width: int, scheme: str) -> None:
    """At every width nobody scrolls sideways, all text stands out by WCAG's AA, and the button is thumb-sized."""
    page = browser.new_page(viewport={"width": width, "height": 700}, color_scheme="dark" if scheme == "dark" else None)
    page.goto(url)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) == 5
    assert min(contrasts) >= 4.5
    box = page.locator("button").bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 44
    page.close()


@pytest.mark.parametrize("language", ["de"], indirect=True)
def test_policy(page: Page, url: str) -> None:
    """The browser applies our style and finds no breach of the policy; a style or script from elsewhere is refused."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(url)
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(241, 239, 234)"
    assert complaints == []
    assert [request for request in requests if not request.startswith("data:")] == [url]
    page.evaluate("""() => {
        const style = document.createElement('style');
        style.textContent = 'body { background: red }';
        document.body.append(style);
        const script = document.createElement('script');
        script.textContent = 'document.title = "run"';
        document.body.append(script);
    }""")
    assert page.evaluate(background) == "rgb(241, 239, 234)"
    assert page.title() != "run"

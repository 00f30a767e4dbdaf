"""The preferences page in a real browser, from a real server: by keyboard alone, on a phone, without CSS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from mailer.mjml.templates import load_templates
from mailer.model.people import Preferences, SubscriberStatus
from mailer.model.settings import Publication
from mailer.service.ports import Incoming
from mailer.store.store import SqlStore, open_store
from mailer.web.app import create_app
from mailer.web.pages import PagePress
from mailer.web.preferences import PreferencesPages, preferences_routes
from mailer.wire.links import make_token
from tests.servers.web import serving

SECRET = b"a key of sixteen and more octets"
EMAIL = "anna@example.com"
NAME = "Donaudampfschifffahrtsgesellschafts-Bote"
BEFORE = Preferences("Anna", "Beispiel", "de")
TEXTS = {
    "de": {
        "title": "Deine Einstellungen",
        "labels": ["Vorname", "Nachname", "Sprache", "Pause"],
        "save": "Speichern",
        "saved": "Gespeichert.",
        "leave": "Abbestellen",
        "left": "Du bist abgemeldet",
    },
    "en": {
        "title": "Your preferences",
        "labels": ["First name", "Last name", "Language", "Pause"],
        "save": "Save",
        "saved": "Saved.",
        "leave": "Unsubscribe",
        "left": "You are unsubscribed",
    },
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'mailer.db'}", create=True)
    opened.subscribers.upsert([Incoming(EMAIL, EMAIL, BEFORE.first_name, BEFORE.last_name, BEFORE.language)], 1.0)
    yield opened
    opened.close()


@pytest.fixture
def url(store: SqlStore, language: str) -> Iterator[str]:
    templates = load_templates()
    publication = Publication(name=NAME, language=language, postal_address="Kai 1, Linz")
    pages = PreferencesPages(PagePress(templates, templates, publication), publication)
    with serving(create_app(NAME, language, {}, preferences_routes(store, SECRET, pages))) as base:
        yield f"{base}/preferences/{make_token(SECRET, 'preferences', 1, 1)}"


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
    """On a phone's width Tab walks through the labelled fields in their order, typing changes them, Enter saves, and
    the last stop is the way out; nothing changes before."""
    texts = TEXTS[language]
    page.goto(url)
    assert page.evaluate("document.documentElement.lang") == language
    assert page.locator("h1").inner_text() == texts["title"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    stops = []
    for _ in range(6):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        assert focused.evaluate("e => getComputedStyle(e).outlineStyle") != "none"
        box = focused.bounding_box()
        assert box is not None
        assert box["height"] >= 44
        stops.append(focused.evaluate("e => e.labels?.[0]?.innerText || e.innerText"))
    assert stops == [*texts["labels"], texts["save"], texts["leave"]]
    assert (store.preferences.find(1), status(store)) == (BEFORE, SubscriberStatus.SUBSCRIBED)
    for _ in range(5):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type("Zoë")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("Eng")
    with page.expect_navigation() as navigation:
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
    assert (navigation.value.status, page.url) == (200, url)
    assert page.get_by_role("status").inner_text().startswith(texts["saved"])
    assert store.preferences.find(1) == Preferences("Zoë", "Beispiel", "en")
    assert status(store) is SubscriberStatus.SUBSCRIBED
    for _ in range(6):
        page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.locator("h1").inner_text() == texts["left"]
    assert status(store) is SubscriberStatus.UNSUBSCRIBED


def test_error(page: Page, url: str, store: SqlStore) -> None:
    """What is wrong is said in words at its field, which has the focus; nothing was saved, and what was typed stays."""
    page.goto(url)
    page.locator("#first_name").evaluate("e => { e.removeAttribute('maxlength'); e.value = 'x'.repeat(101) }")
    with page.expect_navigation() as navigation:
        page.locator("button").first.click()
    assert navigation.value.status == 422
    focused = page.locator(":focus")
    assert focused.get_attribute("id") == "first_name"
    assert focused.input_value() == "x" * 101
    said = page.locator(f"#{focused.get_attribute('aria-describedby')}").inner_text()
    assert "100" in said
    assert store.preferences.find(1) == BEFORE


def test_no_style_no_script(browser: Browser, url: str, store: SqlStore, language: str) -> None:
    """Without CSS and JavaScript heading, labels, fields and buttons stand in the same order, and the form works."""
    texts = TEXTS[language]
    page = browser.new_page(java_script_enabled=False)
    bare = re.compile(r"<style>.*?</style>", re.DOTALL)
    taken = []

    def strip(route) -> None:
        taken.append(route.fetch())
        route.fulfill(response=taken[-1], body=bare.sub("", taken[-1].text()))

    page.route("**/preferences/*", strip)
    page.goto(url)
    assert page.locator("style").count() == 0
    said = page.locator("body").inner_text()
    wanted = [NAME, texts["title"], *texts["labels"], texts["save"], texts["leave"]]
    places = [re.search(rf"^{re.escape(text)}", said, re.MULTILINE) for text in wanted]
    assert all(places), said
    assert [found.start() for found in places if found] == sorted(found.start() for found in places if found)
    page.get_by_label(texts["labels"][3]).select_option("4")
    page.get_by_role("button", name=texts["save"]).click()
    assert page.get_by_role("status").inner_text().startswith(texts["saved"])
    found = store.preferences.find(1)
    assert found is not None
    assert found.paused_until is not None
    page.get_by_role("button", name=texts["leave"]).click()
    assert page.get_by_role("heading").inner_text() == texts["left"]
    assert [answer.status for answer in taken] == [200, 200, 200]
    assert status(store) is SubscriberStatus.UNSUBSCRIBED
    page.close()


@pytest.mark.parametrize("language", ["de"], indirect=True)
def test_reading_changes_nothing(page: Page, url: str, store: SqlStore) -> None:
    """Opening, reloading, going back, and fetching with what a form would send in the address change nothing."""
    for address in (url, f"{url}?leave=yes", f"{url}?first_name=X&pause=12"):
        page.goto(address)
        page.reload()
    page.go_back()
    assert (store.preferences.find(1), status(store)) == (BEFORE, SubscriberStatus.SUBSCRIBED)

"""Signing up in a real browser, from a real server: by keyboard alone, on a phone, without CSS and scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from sqlalchemy import text

from mailer.mjml.templates import load_templates
from mailer.model.settings import Publication
from mailer.service.sign_up import SignUp
from mailer.store.store import SqlStore, open_store
from mailer.web.app import create_app
from mailer.web.confirm import confirm_routes, draw_confirm_pages
from mailer.web.pages import PagePress
from mailer.web.subscribe import TRAP, SubscribePages, subscribe_routes
from mailer.wire.links import make_confirm_token, share_code
from tests.servers.web import serving

SECRET = b"a key of sixteen and more octets"
NAME = "Donaudampfschifffahrtsgesellschafts-Bote"
NOW = 1_900_000_000.0
TEXTS = {
    "de": {
        "title": f"{NAME} abonnieren",
        "labels": ["E-Mail-Adresse", "Vorname (freiwillig)"],
        "trap": "Bitte leer lassen",
        "button": "Abonnieren",
        "asked": "Schau in dein Postfach",
        "error": "Das ist keine E-Mail-Adresse",
        "confirm": "Abo bestätigen",
        "confirmed": "Du hast abonniert",
        "again": "Noch einmal abonnieren",
    },
    "en": {
        "title": f"Subscribe to {NAME}",
        "labels": ["E-mail address", "First name (optional)"],
        "trap": "Please leave this empty",
        "button": "Subscribe",
        "asked": "Look into your mailbox",
        "error": "This is no e-mail address",
        "confirm": "Confirm the subscription",
        "confirmed": "You are subscribed",
        "again": "Subscribe again",
    },
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'mailer.db'}", create=True)
    yield opened
    opened.close()


@pytest.fixture
def base(store: SqlStore, language: str) -> Iterator[str]:
    templates = load_templates()
    publication = Publication(name=NAME, language=language, postal_address="Kai 1, Linz")
    press = PagePress(templates, templates, publication, "/subscribe")

    async def wake(_: int) -> None:
        return

    routes = [
        *subscribe_routes(store.sign_ups, wake, SECRET, SubscribePages(press), 100, lambda: NOW),
        *confirm_routes(store.sign_ups, SECRET, draw_confirm_pages(press), lambda: NOW),
    ]
    with serving(create_app(NAME, language, {}, routes)) as address:
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 375, "height": 700})
    yield opened
    opened.close()


def asked(store: SqlStore) -> list[tuple[str, str, int | None]]:
    with store.database.read() as connection:
        rows = connection.execute(text("SELECT email, first_name, referrer_id FROM sign_ups ORDER BY number"))
        return [(row.email, row.first_name, row.referrer_id) for row in rows]


def test_keyboard(page: Page, base: str, store: SqlStore, language: str) -> None:
    """On a phone's width Tab walks through address, name and button, all labelled, and never into the trap; Enter sends
    the form, and the code of whoever recommended the newsletter goes with it."""
    texts = TEXTS[language]
    page.goto(f"{base}/subscribe?ref={share_code(SECRET, 42)}")
    assert page.evaluate("document.documentElement.lang") == language
    assert page.locator("h1").inner_text() == texts["title"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    stops = []
    for _ in range(3):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        assert focused.evaluate("e => getComputedStyle(e).outlineStyle") != "none"
        box = focused.bounding_box()
        assert box is not None
        assert box["height"] >= 44
        stops.append(focused.evaluate("e => e.labels?.[0]?.innerText || e.innerText"))
    assert stops == [*texts["labels"], texts["button"]]
    trap = page.locator(f"#{TRAP}")
    assert trap.evaluate("e => e.parentElement.getBoundingClientRect().width") <= 1
    page.locator("#email").focus()
    page.keyboard.type("jürgen@müller.example")
    page.keyboard.press("Tab")
    page.keyboard.type("Jürgen")
    with page.expect_navigation() as navigation:
        page.keyboard.press("Enter")
    assert navigation.value.status == 200
    assert page.locator("h1").inner_text() == texts["asked"]
    assert asked(store) == [("jürgen@müller.example", "Jürgen", 42)]


def test_error(page: Page, base: str, store: SqlStore, language: str) -> None:
    """What is wrong is said in words at its field, which has the focus; nothing was stored, and what was typed
    stays."""
    page.goto(f"{base}/subscribe")
    page.locator("#email").fill("anna(at)example.com")
    page.locator("#first_name").fill("Anna")
    with page.expect_navigation() as navigation:
        page.locator("button").click()
    assert navigation.value.status == 422
    focused = page.locator(":focus")
    assert (focused.get_attribute("id"), focused.input_value()) == ("email", "anna(at)example.com")
    assert page.locator("#first_name").input_value() == "Anna"
    assert TEXTS[language]["error"] in page.locator(f"#{focused.get_attribute('aria-describedby')}").inner_text()
    assert asked(store) == []
    focused.fill("anna@example.com")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert asked(store) == [("anna@example.com", "Anna", None)]


def test_no_style_no_script(browser: Browser, base: str, store: SqlStore, language: str) -> None:
    """Without CSS and JavaScript the page reads in its order, the trap says what to do with it, and the form works."""
    texts = TEXTS[language]
    page = browser.new_page(java_script_enabled=False)
    bare = re.compile(r"<style>.*?</style>", re.DOTALL)

    def strip(route) -> None:
        taken = route.fetch()
        route.fulfill(response=taken, body=bare.sub("", taken.text()))

    page.route("**/subscribe", strip)
    page.goto(f"{base}/subscribe")
    assert page.locator("style").count() == 0
    said = page.locator("body").inner_text()
    wanted = [NAME, texts["title"], *texts["labels"], texts["trap"], texts["button"]]
    at = 0
    for one in wanted:
        found = re.compile(rf"^{re.escape(one)}", re.MULTILINE).search(said, at)
        assert found, (one, said)
        at = found.end()
    page.get_by_label(texts["labels"][0]).fill("anna@example.com")
    page.get_by_role("button", name=texts["button"]).click()
    assert page.get_by_role("heading").inner_text() == texts["asked"]
    assert asked(store) == [("anna@example.com", "", None)]
    page.close()


def test_confirming(page: Page, base: str, store: SqlStore, language: str) -> None:
    """The link in the mail opens a page with one button; Tab and Enter press it, and only that subscribes."""
    texts = TEXTS[language]
    number = store.sign_ups.ask(SignUp("anna@example.com", "anna@example.com"), NOW - 60, 10)
    assert number is not None
    url = f"{base}/confirm/{make_confirm_token(SECRET, number, NOW - 60)}"
    page.goto(url)
    page.reload()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert store.subscribers.count() == 0
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == texts["confirm"]
    with page.expect_navigation() as navigation:
        page.keyboard.press("Enter")
    assert (navigation.value.status, page.url) == (200, url)
    assert page.locator("h1").inner_text() == texts["confirmed"]
    assert store.subscribers.count() == 1
    page.reload()
    assert page.locator("h1").inner_text() == texts["confirmed"]


def test_way_back(page: Page, base: str, language: str) -> None:
    """A link that is too old or cut off leads back to the form."""
    for token in (make_confirm_token(SECRET, 1, NOW - 8 * 86_400), "cut-off"):
        page.goto(f"{base}/confirm/{token}")
        page.get_by_role("link", name=TEXTS[language]["again"]).click()
        assert page.locator("h1").inner_text() == TEXTS[language]["title"]

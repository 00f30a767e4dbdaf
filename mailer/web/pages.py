"""The pages that readers see: drawn once when the process starts, so that a template can't fail before a reader."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from mailer.compile.templates import Drawing, Templates
from mailer.model.settings import Publication

_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Page:
    """A finished page and the headers that belong to it."""

    html: str
    headers: Mapping[str, str]

    def response(self, status: int = 200, **more: str) -> HTMLResponse:
        """The page as an answer; ``more`` headers with ``_`` for ``-``."""
        extra = {name.replace("_", "-"): value for name, value in more.items()}
        return HTMLResponse(self.html, status, {**self.headers, **extra})


class PagePress:
    """Draws a publication's pages in its language.

    Texts that the publisher's own ``labels.toml`` doesn't have are taken from the built-in one, so that a copy made for
    an older version serves still.
    """

    def __init__(self, templates: Templates, builtin: Templates, publication: Publication) -> None:
        language = publication.language
        tables = {*templates.label_tables, *builtin.label_tables}
        known = language in tables or language.partition("-")[0] in tables
        # Drawing doesn't escape for .html: all values are escaped here, and Markup, so that nothing does it twice.
        self._labels = {name: escape(text) for name, text in _labels(templates, builtin, language).items()}
        self._name = escape(publication.name)
        self._drawing = Drawing(
            templates,
            {
                "publication": {"name": self._name, "postal_address": escape(publication.postal_address)},
                "language": escape(language if known else "en"),
                "labels": self._labels,
            },
            {},
        )

    def page(self, template: str, title: str, text: str, *, button: bool = False) -> Page:
        """A page; ``title`` and ``text`` are labels' names. Raises ``CompileError`` with template and line."""
        html = self._drawing.draw(template, title=self._text(title), text=self._text(text), button=button)
        return Page(html, page_headers(html))

    def _text(self, label: str) -> Markup:
        # Replaced, not formatted: a stray brace in a publisher's own text is no reason to have no page.
        return Markup(self._labels[label].replace("{name}", self._name))  # noqa: S704 - both are escaped


def page_headers(html: str) -> dict[str, str]:
    """What a browser may do with a page: apply the ``<style>`` elements it has now, submit forms to us, nothing else.

    The URL holds a token, so it goes to nobody as a referrer and the page into no cache, frame or search index.
    """
    hashes = "".join(f" 'sha256-{b64encode(sha256(css.encode()).digest()).decode()}'" for css in _STYLE.findall(html))
    styles = hashes or " 'none'"
    policy = (
        f"default-src 'none'; img-src data:; style-src{styles}; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "X-Robots-Tag": "noindex",
        "Cache-Control": "no-store",
    }


def _labels(templates: Templates, builtin: Templates, language: str) -> dict[str, str]:
    return {**builtin.labels(language), **templates.labels(language)}

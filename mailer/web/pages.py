"""The pages that readers see: drawn once when the process starts, so that a template can't fail before a reader."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from mailer.compile.templates import Drawing, Templates, spoken
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
    """Draws a publication's pages in its language. ``subscribe_url``: the form's (empty: there is none)."""

    def __init__(
        self, templates: Templates, builtin: Templates, publication: Publication, subscribe_url: str = ""
    ) -> None:
        self._languages = {*templates.label_tables, *builtin.label_tables}
        self.language, labels = spoken(templates, builtin, publication.language)
        self._labels = {name: escape(text) for name, text in labels.items()}
        self._name = escape(publication.name)
        self._drawing = Drawing(
            templates,
            {
                "publication": {
                    "name": self._name,
                    "postal_address": escape(publication.postal_address),
                    "subscribe_url": subscribe_url,
                },
                "language": self.language,
                "labels": self._labels,
            },
            {},
        )

    def page(self, template: str, title: str, text: str, **values: object) -> Page:
        """A page; ``title`` and ``text`` are labels' names, ``values`` what else the template needs.

        Texts in them are escaped when they are drawn. Raises ``CompileError`` with template and line.
        """
        html = self._drawing.draw(template, title=self.text(title), text=self.text(text), **values)
        return Page(html, page_headers(html))

    @property
    def languages(self) -> list[str]:
        """Those that there are texts in."""
        return sorted(self._languages)

    def text(self, label: str) -> Markup:
        """A label's text in the publication's language, with its name."""
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

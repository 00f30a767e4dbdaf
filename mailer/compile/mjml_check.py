"""What mrml would let pass in silence or refuse without a word of help: asked of each template before it is drawn."""

from __future__ import annotations

import re

from mailer.compile.templates import Templates, file_of
from mailer.errors import CompileError, nearest

ELEMENTS = (
    "mj-accordion",
    "mj-accordion-element",
    "mj-accordion-text",
    "mj-accordion-title",
    "mj-all",
    "mj-attributes",
    "mj-body",
    "mj-breakpoint",
    "mj-button",
    "mj-carousel",
    "mj-carousel-image",
    "mj-class",
    "mj-column",
    "mj-divider",
    "mj-font",
    "mj-group",
    "mj-head",
    "mj-hero",
    "mj-image",
    "mj-navbar",
    "mj-navbar-link",
    "mj-preview",
    "mj-raw",
    "mj-section",
    "mj-social",
    "mj-social-element",
    "mj-spacer",
    "mj-style",
    "mj-table",
    "mj-text",
    "mj-title",
    "mj-wrapper",
)
"""The MJML elements that mrml draws."""

_REFUSED = {
    "script": "Mail clients remove scripts and distrust mail that has them.",
    "mj-include": "Use Jinja's {% include %} instead.",
    "mj-html-attributes": "Give the element a css-class instead.",
}
_NO_MARKUP = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"</?\s*(mj-[\w-]*|script\b|link\b)", re.IGNORECASE)


def check_templates(templates: Templates) -> None:
    """Raises ``CompileError`` with template and line for an element that MJML doesn't have, and for scripts."""
    for name, source in templates.sources.items():
        if name.endswith(".mjml"):
            check_mjml(source, name)


def check_mjml(source: str, name: str) -> None:
    """The same for one source; ``name``: the template's."""
    plain = _NO_MARKUP.sub(lambda found: "\n" * found.group().count("\n"), source)
    for found in _TAG.finditer(plain):
        tag = found.group(1).lower()
        if tag in ELEMENTS:
            continue
        where = f"{file_of(name)}:{plain[: found.start()].count(chr(10)) + 1}"
        if tag == "link":
            raise CompileError(
                "<link> would load something from elsewhere when the mail is opened",
                where=where,
                todo="Put CSS into <mj-style>.",
            )
        if tag in _REFUSED:
            raise CompileError(f"<{tag}> can't stand in a template", where=where, todo=_REFUSED[tag])
        raise CompileError(f"<{tag}> is no MJML element", where=where, todo=nearest(tag, ELEMENTS))

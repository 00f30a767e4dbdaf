"""Templates: Jinja2 that draws MJML and text. A block is one MJML file and one text file; nothing else registers it."""

from __future__ import annotations

import re
import tomllib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from jinja2 import FunctionLoader, StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mailer.content.shapes import BlockShape
from mailer.errors import CompileError, nearest

_DECLARATION = re.compile(r"\A\s*\{#-?\s*attributes:(?P<attributes>[^;#-]*)(?:;(?P<more>[^#-]*))?-?#\}")
_WORD = re.compile(r"[a-z][a-z0-9_]*\??")
BODIES = ("markdown", "rows", "raw", "none")


def file_of(name: str) -> str:
    """Where a person finds a template, or puts it: beside ``mailer.toml``."""
    return f"templates/{name}"


@dataclass(frozen=True)
class Templates:
    """All templates' sources by name: ``layout.mjml``, ``prose.mjml``, ``layout.txt``, ``labels.toml``,
    ``blocks/<name>.mjml`` and ``text/<name>.txt``."""

    sources: Mapping[str, str]

    def source(self, name: str) -> str:
        """Raises ``CompileError`` for a template that isn't there."""
        try:
            return self.sources[name]
        except KeyError:
            todo = nearest(name, list(self.sources))
            raise CompileError("This template is missing", where=file_of(name), todo=todo) from None

    @cached_property
    def blocks(self) -> dict[str, Declaration]:
        """What each block declares in its first line."""
        names = (
            name.removeprefix("blocks/").removesuffix(".mjml") for name in self.sources if name.startswith("blocks/")
        )
        return {name: _declaration(name, self) for name in sorted(names)}

    @cached_property
    def label_tables(self) -> dict[str, dict[str, str]]:
        """The labels by language."""
        try:
            return tomllib.loads(self.source("labels.toml"))
        except tomllib.TOMLDecodeError as error:
            raise CompileError(
                str(error), where=file_of("labels.toml"), todo="Each language is a table of texts."
            ) from None

    def labels(self, language: str) -> dict[str, str]:
        """The layout's own words in a language: its table (``de-AT``, else ``de``), else English."""
        tables = self.label_tables
        fallback = tables.get("en", {})
        return {**fallback, **tables.get(language.partition("-")[0], {}), **tables.get(language, {})}


def spoken(templates: Templates, builtin: Templates, language: str) -> tuple[str, dict[str, str]]:
    """The language in which pages and short letters of a publication are, and their texts.

    A language that nobody has texts in is English. Texts that the publisher's own ``labels.toml`` doesn't have are
    taken from the built-in one, so that a copy made for an older version serves still.
    """
    tables = {*templates.label_tables, *builtin.label_tables}
    known = language in tables or language.partition("-")[0] in tables
    return language if known else "en", {**builtin.labels(language), **templates.labels(language)}


@dataclass(frozen=True, slots=True)
class Declaration:
    """A block template's first line: ``{# attributes: src alt href?; body: rows; placement: section #}``.

    ``body``: ``markdown`` (default), ``rows`` (may hold other blocks), ``raw`` (kept as it is) or ``none``.
    ``placement``: ``row`` of the letter's one column (default), or ``section`` if it draws its own sections.
    """

    shape: BlockShape
    body: str = "markdown"
    placement: str = "row"


def block_shapes(templates: Templates) -> dict[str, BlockShape]:
    """What each block may look like in an issue. Raises ``CompileError`` for an ill-formed template."""
    return {name: declaration.shape for name, declaration in templates.blocks.items()}


def _declaration(name: str, templates: Templates) -> Declaration:
    where = f"{file_of(f'blocks/{name}.mjml')}:1"
    example = "{# attributes: src alt href? #}"
    found = _DECLARATION.match(templates.source(f"blocks/{name}.mjml"))
    if found is None:
        raise CompileError(
            "A block's template begins with a line that declares its attributes", where=where, todo=example
        )
    words = found.group("attributes").split()
    if wrong := [word for word in words if not _WORD.fullmatch(word)]:
        raise CompileError(f"'{wrong[0]}' is no attribute's name", where=where, todo=f"Write such as {example}")
    options = dict(_option(part, where) for part in (found.group("more") or "").split(";") if part.strip())
    if f"text/{name}.txt" not in templates.sources:
        todo = f"Add {file_of(f'text/{name}.txt')}."
        raise CompileError(f"The block '{name}' has no text template", where=where, todo=todo)
    body = options.get("body", "markdown")
    return Declaration(
        BlockShape(
            name,
            frozenset(word for word in words if not word.endswith("?")),
            frozenset(word[:-1] for word in words if word.endswith("?")),
            raw=body == "raw",
            empty=body == "none",
        ),
        body,
        options.get("placement", "row"),
    )


def _option(part: str, where: str) -> tuple[str, str]:
    key, _, value = (text.strip() for text in part.partition(":"))
    known = {"body": BODIES, "placement": ("row", "section")}
    if value not in known.get(key, ()):
        raise CompileError(
            f"'{part.strip()}' means nothing here",
            where=where,
            todo="Known: body: markdown, rows, raw or none; placement: row or section.",
        )
    return key, value


class Drawing:
    """Renders templates: sandboxed, strict about names, escaping in ``.mjml`` and ``.html`` and not in ``.txt``."""

    def __init__(
        self, templates: Templates, context: Mapping[str, object], filters: Mapping[str, Callable[..., object]]
    ) -> None:
        self._templates = templates
        self._environment = ImmutableSandboxedEnvironment(
            loader=FunctionLoader(self._load),
            autoescape=lambda name: name is not None and name.endswith((".mjml", ".html")),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(filters)
        self._environment.globals.update(context)

    def draw(self, name: str, **context: object) -> str:
        """A template's text. Raises ``CompileError`` that names template and line."""
        self._templates.source(name)
        try:
            return self._environment.get_template(name).render(context)
        except TemplateSyntaxError as error:
            raise CompileError(str(error.message), where=f"{file_of(error.name or name)}:{error.lineno}") from None
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise CompileError(str(error) or type(error).__name__, where=self._place(name, error)) from None

    def _load(self, name: str) -> tuple[str, str, Callable[[], bool]] | None:
        source = self._templates.sources.get(name)
        return None if source is None else (source, name, lambda: True)

    def _place(self, name: str, error: Exception) -> str:
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if frame.filename in self._templates.sources:
                return f"{file_of(frame.filename)}:{frame.lineno}"
        return file_of(name)

"""Document → MJML and text → pieces: a compiled issue."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping

from babel.dates import format_date
from markupsafe import Markup, escape

from mailer.compile.body import Body, prune
from mailer.compile.identity import Identity
from mailer.compile.mjml_check import check_templates
from mailer.compile.pieces import html_pieces, text_pieces
from mailer.compile.plain import Reading, wrap
from mailer.compile.templates import Drawing, Templates
from mailer.compile.token_table import TokenTable, tokens_in
from mailer.compile.values import IssueValues
from mailer.compile.words import count_words, reading_minutes
from mailer.content.document import Document, FrontMatter, Node
from mailer.errors import CompileError
from mailer.expressions.expression import Expression, Scope
from mailer.expressions.locale import Locale, babel_locale
from mailer.expressions.names import LINKS
from mailer.model.compiled import CompiledIssue, Escape

SLOT_WIDTH = 12
"""Columns that a value unknown while compiling is taken to have when lines of text are broken."""


def compile_document(
    document: Document,
    values: Mapping[str, object],
    templates: Templates,
    render: Callable[[str], str],
    identity: Identity,
) -> CompiledIssue:
    """One issue for everyone.

    ``values`` are those of issue scope by root: ``issue`` (may be left out: what an issue says of itself is worked out
    here, its word count too), ``publication``, ``audience``, ``referrals``. ``render`` turns MJML into HTML with the
    CSS inlined. Equal input gives the equal issue. Raises ``CompileError``.
    """
    check_templates(templates)
    locale = Locale(document.front.language or identity.language, identity.country, identity.timezone)
    about = _about(document.front, identity)
    issue, nodes = _counted(document, {**values, "issue": about}, templates, locale)
    return _Letter(document, {**values, "issue": issue}, templates, locale).compiled(nodes, render, identity, issue)


def _about(front: FrontMatter, identity: Identity) -> dict[str, object]:
    return {
        "title": front.title,
        "date": front.date,
        "week": front.date.isocalendar().week,
        "slug": front.slug,
        "url": f"{identity.base_url.rstrip('/')}/issues/{front.slug}",
        "word_count": 0,
        "reading_minutes": 0,
    }


def _counted(
    document: Document, values: Mapping[str, object], templates: Templates, locale: Locale
) -> tuple[dict[str, object], tuple[Node, ...]]:
    """What an issue says of itself, words counted: its text is drawn once before the count is known."""
    letter = _Letter(document, values, templates, locale)
    nodes = prune(document.nodes, letter.tokens, letter.values)
    words = count_words(text_pieces(letter.body.text(nodes), Escape.PLAIN, letter.tokens, letter.values))
    issue = values["issue"]
    assert isinstance(issue, dict)
    return {**issue, "word_count": words, "reading_minutes": reading_minutes(words)}, nodes


class _Letter:
    """One drawing of a document with one set of values."""

    def __init__(self, document: Document, values: Mapping[str, object], templates: Templates, locale: Locale) -> None:
        self.front = document.front
        self.tokens = TokenTable(document)
        self.values = IssueValues(values, locale, document.file)
        self.reading = Reading(self._known, self._source, self._width)
        labels = templates.labels(locale.language)
        self.drawing = Drawing(
            templates,
            {
                **values,
                "front": document.front,
                "language": locale.language,
                "labels": labels,
                "links": _Links(self.tokens),
                "byline": _byline(document.front, labels, locale),
            },
            {
                "lead": _lead,
                "says": self._says,
                "unwrap": _unwrap,
                "wrap": lambda text, hanging="": wrap(text, self.reading, hanging=hanging),
            },
        )
        day = labels.get("calendar_day", "{weekday} {day}")
        self.body = Body(templates, self.drawing, self.tokens, self.values, self.reading, day)

    def compiled(
        self, nodes: tuple[Node, ...], render: Callable[[str], str], identity: Identity, issue: Mapping[str, object]
    ) -> CompiledIssue:
        mjml = self.drawing.draw("layout.mjml", groups=self.body.groups(nodes), preheader=self.front.preheader)
        html = render(mjml)
        self._complete(mjml, html)
        text = self.drawing.draw("layout.txt", body=self.body.text(nodes)).strip() + "\n"
        words, minutes = issue["word_count"], issue["reading_minutes"]
        assert isinstance(words, int)
        assert isinstance(minutes, int)
        return CompiledIssue(
            slug=self.front.slug,
            title=self.front.title,
            language=self.values.locale.language,
            country=identity.country,
            timezone=identity.timezone,
            date=self.front.date.isoformat(),
            sender=self.front.sender or identity.sender,
            reply_to=self.front.reply_to or identity.reply_to,
            subject=text_pieces(self.front.subject or self.front.title, Escape.HEADER, self.tokens, self.values),
            text=text_pieces(text, Escape.PLAIN, self.tokens, self.values),
            html=html_pieces(html, self.tokens, self.values),
            word_count=words,
            reading_minutes=minutes,
        )

    def _complete(self, mjml: str, html: str) -> None:
        before, after = Counter(tokens_in(mjml)), Counter(tokens_in(html))
        if before == after:
            return
        token = next(iter((before - after) or (after - before)))
        entry = self.tokens[token]
        what = f"'{entry.source}'" if isinstance(entry, Expression) else f"{{% {entry.keyword} %}}"
        raise CompileError(
            f"{what} stands {before[token]} times in the MJML, but {after[token]} times in its HTML",
            where=f"{self.tokens.file}:{entry.line}",
            todo="Look at the template that draws it: MJML drops or repeats some attributes.",
        )

    def _says(self, text: str, token: str) -> bool:
        """Whether a text says to everyone what a token stands for; what stands in a condition doesn't count."""
        depth = 0
        for found in tokens_in(text):
            match self.tokens.keyword(found):
                case "if":
                    depth += 1
                case "endif":
                    depth -= 1
                case None if depth == 0 and self._source(found) == self._source(token):
                    return True
        return False

    def _known(self, token: str) -> str:
        """The value of an issue-scope token, where it can be had; another's turn comes with the pieces."""
        entry = self.tokens[token]
        if not isinstance(entry, Expression) or entry.scope is Scope.RECIPIENT:
            return token
        try:
            return self.values.text(entry, Escape.PLAIN)
        except CompileError:
            # It may stand in a branch that nobody reaches; if not, the pieces raise this with file and line.
            return token

    def _source(self, token: str) -> str:
        entry = self.tokens[token]
        return entry.source if isinstance(entry, Expression) else token

    def _width(self, token: str) -> int:
        return 0 if self.tokens.keyword(token) else SLOT_WIDTH


class _Links:
    """``links.unsubscribe`` in a template: a new token each time."""

    def __init__(self, tokens: TokenTable) -> None:
        self._tokens = tokens

    def __getitem__(self, name: str) -> str:
        if name not in LINKS:
            raise KeyError(name)
        return self._tokens.slot(f"links.{name}")


def _byline(front: FrontMatter, labels: Mapping[str, str], locale: Locale) -> str:
    date = format_date(front.date, "long", locale=babel_locale(locale))
    return labels.get("byline", "{author} · {date}").format(author=front.author, date=date) if front.author else date


def _lead(html: Markup, words: str) -> Markup:
    """Puts words at the beginning of the first paragraph."""
    if not words:
        return html
    if html.startswith("<p>"):
        return Markup("<p>") + escape(words) + " " + html[len("<p>") :]
    return Markup("<p>{}</p>").format(words) + html


def _unwrap(html: Markup) -> Markup:
    """The inside of a single paragraph, for elements that hold a line and no blocks."""
    inner = html.removeprefix("<p>").removesuffix("</p>")
    if re.search(r"</?(?:p|h[1-6]|ul|ol|table|blockquote|pre)\b", inner):
        raise ValueError("the text here is one paragraph")
    return Markup(inner)  # noqa: S704

"""From an issue file to a compiled issue, with the figures it tells its readers."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.utils import parseaddr
from zoneinfo import ZoneInfo

from mailer.compile.compile import compile_document
from mailer.compile.identity import Identity
from mailer.compile.templates import Templates, block_shapes
from mailer.content.document import Document
from mailer.content.parse import parse_issue
from mailer.errors import SendError
from mailer.expressions.errors import ExpressionError
from mailer.expressions.evaluate import evaluator
from mailer.expressions.locale import Locale
from mailer.expressions.names import Names
from mailer.expressions.segment import parse_segment
from mailer.model.compiled import CompiledIssue
from mailer.model.settings import Publication
from mailer.service.ports import Leader, Store

LEADERS = 5
"""How many of last week's most successful helpers an issue names."""


@dataclass(frozen=True, slots=True)
class Press:
    """What turns issues into mail: the templates, the MJML renderer, and who publishes."""

    publication: Publication
    templates: Templates
    render: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Edition:
    """A compiled issue and whom it was compiled for: ``segment`` holds subscriber ids, None is everyone."""

    compiled: CompiledIssue
    audience: int
    segment: tuple[int, ...] | None


def read_issue(data: bytes, file: str, press: Press, names: Names) -> Document:
    """Parses an issue file. Raises ``ContentError`` with all that is wrong."""
    return parse_issue(data, file, names, block_shapes(press.templates), language=press.publication.language)


def known_names(store: Store) -> Names:
    """The names an expression may use: the columns and the attributes that imports have brought."""
    return Names(frozenset(store.subscribers.attribute_names()))


def edit(document: Document, press: Press, store: Store, segment: str = "") -> Edition:
    """Compiles a document for everyone, or for a segment (an expression; else the front matter's).

    Raises ``CompileError``, ``SendError`` for a segment that can't be understood.
    """
    publication = press.publication
    ids = None
    if segment := segment or document.front.segment:
        ids = tuple(_members(segment, store, publication))
    subscribers = store.subscribers.count()
    previous = store.sends.previous_subscribers(document.front.slug)
    values = {
        "publication": {
            **publication.model_dump(include={"name", "base_url", "postal_address", "language"}),
            "reply_to": publication.reply_to or parseaddr(publication.from_)[1],
        },
        "audience": {"count": subscribers, "delta": 0 if previous is None else subscribers - previous},
        "referrals": {"leaders": _leaders(store, document.front.date, publication.timezone)},
    }
    identity = Identity(
        publication.from_,
        publication.reply_to,
        publication.language,
        publication.country,
        publication.timezone,
        publication.name,
        publication.base_url,
        publication.postal_address,
    )
    compiled = compile_document(document, values, press.templates, press.render, identity)
    return Edition(compiled, subscribers if ids is None else len(ids), ids)


def _members(segment: str, store: Store, publication: Publication) -> Iterable[int]:
    try:
        parse_segment(segment, 0, known_names(store))
    except ExpressionError as error:
        raise SendError(error.what, where="--segment", todo=error.todo) from None
    holds = evaluator(segment, Locale(publication.language, publication.country, publication.timezone))
    for subscriber in store.subscribers.each(reachable=True):
        if holds({"subscriber": subscriber}):
            yield subscriber.id


def _leaders(store: Store, day: datetime.date, timezone: str) -> list[Leader]:
    """Those of the week before the issue's, Monday to Sunday in the publication's timezone."""
    monday = day - datetime.timedelta(days=day.weekday())
    start, end = (
        datetime.datetime.combine(
            monday - datetime.timedelta(days=back), datetime.time(), ZoneInfo(timezone)
        ).timestamp()
        for back in (7, 0)
    )
    return store.subscribers.leaders(start, end, LEADERS)

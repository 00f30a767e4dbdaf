"""The issue in the forms that each sender takes: compiled for us, as templates and ready values for the others.

In a folder: ``issue.json`` (``CompiledIssue.to_json``), ``message.txt`` (one recipient's message, as smtp-source takes
it), ``jinja.json`` and ``handlebars.json`` (``{"subject", "text", "html"}``), ``people.json``
(``[{"email", "name", "unsubscribe", "values": {"v0": …}}, …]``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.people import person
from mailer.cli.press import compile_file
from mailer.config import load_settings
from mailer.expressions.evaluate import evaluator
from mailer.expressions.locale import Locale
from mailer.model.compiled import Choice, CompiledIssue, Pieces
from mailer.model.ledger import Recipient, SendId, SendKind
from mailer.store import open_store
from mailer.wire.dkim import DkimKey
from mailer.wire.envelope import Envelope
from mailer.wire.freeze import SendFacts, freeze
from mailer.wire.links import LINKS, LinkMaker

BASE_URL: Final = "https://news.example.com"
SENDER: Final = "Bench <bench@example.com>"
PEOPLE: Final = 500
"""How many recipients the peers have, over and over."""

_SECRET: Final = bytes(32)
_SEND: Final = SendId("bench-1")


@dataclass(frozen=True, slots=True)
class Letter:
    """The folder, and the mean size of a message of ours in bytes."""

    folder: Path
    size: int


def compile_letter(issue: Path, home: Path, folder: Path) -> Letter:
    """Compiles the issue for the people of a publication's folder, and writes all forms of it."""
    loaded = load_settings(home / "mailer.toml", {})
    store = open_store(loaded.store_url)
    try:
        compiled = compile_file(issue, loaded, store).compiled
    finally:
        store.close()
    folder.mkdir()
    (folder / "issue.json").write_text(compiled.to_json(), encoding="utf-8")
    assemble = assembler(compiled)
    messages = [assemble(recipient(number)).message for number in range(1, PEOPLE + 1)]
    (folder / "message.txt").write_bytes(messages[0].replace(b"\r\n", b"\n"))
    values = _Values(Locale(compiled.language, compiled.country, compiled.timezone))
    for language in (JINJA, HANDLEBARS):
        templates = {
            part: "".join(values.template(getattr(compiled, part), language)) for part in ("subject", "text", "html")
        }
        (folder / f"{language.name}.json").write_text(json.dumps(templates), encoding="utf-8")
    (folder / "people.json").write_text(json.dumps(list(values.people(compiled.slug))), encoding="utf-8")
    return Letter(folder, sum(map(len, messages)) // len(messages))


def read_issue(folder: Path) -> CompiledIssue:
    """What ``compile_letter`` wrote."""
    return CompiledIssue.from_json((folder / "issue.json").read_text(encoding="utf-8"))


def assembler(compiled: CompiledIssue, key: DkimKey | None = None) -> Callable[[Recipient], Envelope]:
    """Our frozen message, signed with the key."""
    list_id = "Bench <newsletter.example.com>"
    facts = SendFacts(_SEND, 1, 1.7e9, SendKind.ISSUE, list_id, BASE_URL, _SECRET, dkim=key)
    return freeze(compiled, facts).assemble


def recipient(number: int) -> Recipient:
    """A made-up claim of the person of that number."""
    subscriber = person(number)
    return Recipient(_SEND, number, 1, subscriber.email, 0, None, subscriber)


@dataclass(frozen=True, slots=True)
class Language:
    """How a template language writes a value and a choice. ``literal`` makes text of ours stand for itself."""

    name: str
    value: str
    condition: str
    otherwise: str
    end: str
    literal: Callable[[str], str]


JINJA: Final = Language(
    "jinja",
    "{{{{ {} }}}}",
    "{{% if {} %}}",
    "{% else %}",
    "{% endif %}",
    lambda text: re.sub(r"\{[{%#]", lambda found: f"{{{{ '{found[0]}'|safe }}}}", text),
)

HANDLEBARS: Final = Language(
    "handlebars",
    "{{{{{}}}}}",
    "{{{{#if {}}}}}",
    "{{else}}",
    "{{/if}}",
    lambda text: text.replace("{{", "{{{braces}}}"),
)


@dataclass(slots=True)
class _Values:
    """The names that templates know expressions by: the peers get values ready made, they evaluate nothing."""

    locale: Locale
    names: dict[str, str] = field(default_factory=dict)

    def template(self, pieces: Pieces, language: Language) -> Iterator[str]:
        for piece in pieces:
            if isinstance(piece, str):
                yield language.literal(piece)
            elif isinstance(piece, Choice):
                for branch in piece.branches:
                    yield language.condition.format(self._name(branch.condition))
                    yield from self.template(branch.pieces, language)
                    yield language.otherwise
                yield from self.template(piece.otherwise, language)
                yield language.end * len(piece.branches)
            else:
                yield language.value.format(self._name(piece.expression))

    def people(self, slug: str) -> Iterator[dict[str, object]]:
        links = LinkMaker.of(_SECRET, BASE_URL, slug, 1)
        evaluators = {name: evaluator(source, self.locale) for source, name in self.names.items()}
        for one in map(person, range(1, PEOPLE + 1)):
            scope = {"subscriber": one, "links": links.links(LINKS, one.id)}
            values = {name: evaluate(scope) for name, evaluate in evaluators.items()}
            yield {
                "email": one.email,
                "name": f"{one.first_name} {one.last_name}".strip(),
                "unsubscribe": links.link("unsubscribe", one.id),
                "values": {name: v if isinstance(v, bool | int) else str(v) for name, v in values.items()}
                | {"braces": "{{"},
            }

    def _name(self, expression: str) -> str:
        return self.names.setdefault(expression, f"v{len(self.names)}")

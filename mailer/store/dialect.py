"""SQL that SQLite and PostgreSQL say differently, in one place, and the words that all statements share.

Statements are templates: ``{name}`` stands for a word from here. States and moves come from ``mailer.delivery.states``,
so that SQL and Python can't disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from sqlalchemy import TextClause, text

from mailer.delivery.states import MOVES, UNFINISHED, WAITING, Event, sources
from mailer.model.ledger import RecipientState, SendState

SQLITE, POSTGRESQL = "sqlite", "postgresql"

_TYPES = {
    SQLITE: {"int": "INTEGER", "float": "REAL", "text": "TEXT"},
    POSTGRESQL: {"int": "bigint", "float": "double precision", "text": "text"},
}

_DONE = frozenset({SendState.FINISHED, SendState.CANCELLED})


def quoted(states: Iterable[str]) -> str:
    """``'pending', 'deferred'``, for ``IN (…)``; sorted, so that equal sets give the equal statement."""
    return ", ".join(f"'{state!s}'" for state in sorted(states))


def given(dialect: str, parameter: str, **columns: str) -> str:
    """A derived table of the rows in a parameter: JSON, one array a row, its items in the order of ``columns``.

    Column types are ``int``, ``float`` and ``text``. One parameter for a group of any size keeps the statement the
    same, so the database prepares it once.
    """
    types = _TYPES[dialect]
    if dialect == SQLITE:
        fields = ", ".join(
            f"CAST(json_extract(value, '$[{index}]') AS {types[kind]}) AS {name}"
            for index, (name, kind) in enumerate(columns.items())
        )
        return f"(SELECT {fields} FROM json_each(:{parameter}))"  # noqa: S608 - names are ours
    fields = ", ".join(
        f"CAST(value ->> {index} AS {types[kind]}) AS {name}" for index, (name, kind) in enumerate(columns.items())
    )
    return f"(SELECT {fields} FROM json_array_elements(CAST(:{parameter} AS json)))"  # noqa: S608 - names are ours


def _waiting() -> str:
    """Rows a worker may claim; deferred ones when they are due."""
    always = quoted(WAITING - {RecipientState.DEFERRED})
    return f"(r.state IN ({always}) OR r.state = '{RecipientState.DEFERRED}' AND r.next_attempt_at <= :now)"


def _legal() -> str:
    """Pairs (from, to) of an outcome: every move but those that only other statements may make."""
    pairs = sorted(
        (str(state), str(to))
        for state, moves in MOVES.items()
        for event, to in moves.items()
        if event not in (Event.CLAIM, Event.DOT, Event.WITHDRAW)
    )
    return ", ".join(f"('{state}', '{to}')" for state, to in pairs)


@cache
def words(dialect: str) -> Mapping[str, str]:
    """What ``{…}`` may stand for in a statement of this dialect."""
    postgresql = dialect == POSTGRESQL
    found = {
        "waiting": _waiting(),
        "legal_moves": f"(VALUES {_legal()})",
        "unfinished": quoted(UNFINISHED),
        "active_sends": quoted(set(SendState) - _DONE),
        "skip_locked": "FOR UPDATE OF r SKIP LOCKED" if postgresql else "",
        "share_worker": "FOR SHARE OF w" if postgresql else "",
        # SQLite prefers the primary key, and would walk over every finished row to the first unfinished one.
        "by_unfinished": "" if postgresql else "INDEXED BY recipients_unfinished",
        "by_touched": "" if postgresql else "INDEXED BY recipients_touched",
        "by_lost": "" if postgresql else "INDEXED BY recipients_lost",
        "by_refused": "" if postgresql else "INDEXED BY recipients_refused",
        # Of a row that is being sent again nobody can say that it got nothing.
        "skipped": f"CASE WHEN resends > 0 THEN '{RecipientState.IN_DOUBT}' ELSE '{RecipientState.SKIPPED}' END",
        "expired": f"CASE WHEN resends > 0 THEN '{RecipientState.IN_DOUBT}' ELSE '{RecipientState.EXPIRED}' END",
        "temporary": "ON COMMIT DROP" if postgresql else "",
        # SQLite's RETURNING knows only the table's own columns, PostgreSQL's all of FROM.
        "returned": "r.send, r.position, r.epoch" if postgresql else "send, position, epoch",
        "index_of": "strpos" if postgresql else "instr",
        "persona_id": "CAST(CAST(persona AS json) ->> 'id' AS int)" if postgresql else "json_extract(persona, '$.id')",
    }
    for event in Event:
        found[f"can_{event}"] = quoted(sources(event))
    return found


def statement(dialect: str, template: str, **more: str) -> TextClause:
    """A template with its words filled in; ``more`` are words of this statement alone, and may use those before."""
    known = dict(words(dialect))
    for name, part in more.items():
        known[name] = part.format_map(known)
    return text(template.format_map(known))

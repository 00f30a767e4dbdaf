"""Reads and compiles an issue for a command: the publisher's templates, the renderer, the people it is for."""

from __future__ import annotations

from pathlib import Path

from mailer.config import Loaded
from mailer.content.document import Document
from mailer.errors import ContentError, MailerError, Problem
from mailer.mjml.render import render
from mailer.mjml.templates import own_templates
from mailer.service.issues import Edition, Press, edit, known_names, read_issue
from mailer.service.ports import Store


def press_of(loaded: Loaded) -> Press:
    """The press of a publication, with its own templates."""
    return Press(loaded.settings.publication, own_templates(loaded.path), render)


def read(path: Path, press: Press, store: Store) -> Document:
    """Parses an issue file. Raises ``ContentError`` with all that is wrong, ``MailerError`` when it can't be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MailerError(f"can't be read: {error.strerror}", where=str(path)) from None
    return read_issue(data, str(path), press, known_names(store))


def compile_file(path: Path, loaded: Loaded, store: Store, segment: str = "") -> Edition:
    """Compiles an issue file for everyone, or for a segment. Raises what ``read`` and ``edit`` raise."""
    press = press_of(loaded)
    return edit(read(path, press, store), press, store, segment)


def problems_of(error: MailerError) -> list[dict[str, object]]:
    """What is wrong, for programs: ``[{"file", "line", "severity", "what", "todo"}]``."""
    if isinstance(error, ContentError):
        return [problem_json(problem) for problem in error.problems]
    file, _, line = error.where.rpartition(":")
    if not line.isdigit():
        file, line = error.where, ""
    return [
        {"file": file, "line": int(line) if line else None, "severity": "error", "what": error.what, "todo": error.todo}
    ]


def problem_json(problem: Problem) -> dict[str, object]:
    """One finding, for programs."""
    return {
        "file": problem.file,
        "line": problem.line,
        "severity": problem.severity,
        "what": problem.what,
        "todo": problem.todo,
    }

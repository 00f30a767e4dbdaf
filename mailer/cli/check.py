"""``mailer check``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from mailer.cli.common import config_option, json_option, load
from mailer.cli.edges import opened
from mailer.cli.output import err, number, out, plain, plural, print_json
from mailer.cli.press import press_of, problem_json, problems_of, read
from mailer.content.lint import warnings
from mailer.errors import MailerError, Problem
from mailer.model.compiled import CompiledIssue
from mailer.service.issues import Edition, edit
from mailer.wire.pieces import links_named


@click.command()
@click.argument("issue", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
@config_option
@click.pass_context
def command(ctx: click.Context, issue: Path, as_json: bool) -> None:
    """Say what is wrong with ISSUE, each with file and line. Exits 1 on an error; a warning is no error."""
    loaded = load()
    edition: Edition | None = None
    found: list[Problem] = []
    problems: list[dict[str, object]] = []
    with opened(loaded) as store:
        try:
            press = press_of(loaded)
            document = read(issue, press, store)
            found = warnings(document)
            edition = edit(document, press, store)
            if not loaded.settings.web.sign_ups_per_day:
                found += _leads_nowhere(issue, edition.compiled)
        except MailerError as error:
            problems = problems_of(error)
            if not as_json:
                _say(found)
                raise
    if as_json:
        problems = [*map(problem_json, found), *problems]
        print_json({"issue": str(issue), "ok": edition is not None, "problems": problems})
    elif edition is not None:
        _say(found)
        compiled = edition.compiled
        verdict = f"no error, {plural(len(found), 'warning')}" if found else "nothing is wrong"
        out.print(f"{issue}: {verdict}.", markup=False)
        words, minutes = number(compiled.word_count), compiled.reading_minutes
        out.print(f"{words} words, {minutes} min to read, for {number(edition.audience)} recipients.", markup=False)
    if edition is None:
        ctx.exit(1)


def _leads_nowhere(issue: Path, compiled: CompiledIssue) -> list[Problem]:
    """A share link, where there is no form that it could lead to."""
    if "share" not in links_named(compiled.subject, compiled.text, compiled.html):
        return []
    lines = issue.read_text("utf-8", "replace").splitlines()
    line = next((number for number, text in enumerate(lines, 1) if "share" in text), 1)
    what, todo = (
        "the share link leads nowhere: web.sign_ups_per_day = 0 means no form",
        "Raise it, or leave the link out.",
    )
    return [Problem(what, str(issue), line, todo, "warning")]


def _say(found: Sequence[Problem]) -> None:
    for problem in found:
        err.print(plain(str(problem)))

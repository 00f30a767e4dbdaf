"""``mailer check``."""

from __future__ import annotations

from pathlib import Path

import click

from mailer.cli.common import config_option, json_option, load
from mailer.cli.edges import opened
from mailer.cli.output import number, out, print_json
from mailer.cli.press import compile_file, problems_of
from mailer.errors import MailerError
from mailer.service.issues import Edition


@click.command()
@click.argument("issue", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
@config_option
@click.pass_context
def command(ctx: click.Context, issue: Path, as_json: bool) -> None:
    """Say what is wrong with ISSUE, each with file and line. Exits 1 on an error."""
    loaded = load()
    edition: Edition | None = None
    problems: list[dict[str, object]] = []
    with opened(loaded) as store:
        try:
            edition = compile_file(issue, loaded, store)
        except MailerError as error:
            problems = problems_of(error)
            if not as_json:
                raise
    if as_json:
        print_json({"issue": str(issue), "ok": edition is not None, "problems": problems})
    elif edition is not None:
        compiled = edition.compiled
        out.print(f"{issue}: nothing is wrong.", markup=False)
        words, minutes = number(compiled.word_count), compiled.reading_minutes
        out.print(f"{words} words, {minutes} min to read, for {number(edition.audience)} recipients.", markup=False)
    if edition is None:
        ctx.exit(1)

"""``mailer compile``."""

from __future__ import annotations

import json
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import click

from mailer.cli.common import config_option, json_option, load
from mailer.cli.edges import opened
from mailer.cli.output import err, number, out, print_json
from mailer.cli.press import compile_file
from mailer.cli.sample_message import sample_message
from mailer.compile.report import CLIPPED_AT, report
from mailer.errors import MailerError


@click.command()
@click.argument("issue", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--out",
    "directory",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to write message.html, message.txt, message.eml and report.json.",
)
@click.option("--as", "persona", default="", metavar="EMAIL", help="As this subscriber gets it. [default: a stranger]")
@json_option
@config_option
def command(issue: Path, directory: Path, persona: str, as_json: bool) -> None:
    """Write ISSUE as one recipient would get it."""
    loaded = load()
    with opened(loaded) as store:
        edition = compile_file(issue, loaded, store)
        raw = sample_message(loaded, store, edition.compiled, persona)
    parsed = message_from_bytes(raw, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    html, text = _part(parsed, "html"), _part(parsed, "plain")
    about = {
        **report(edition.compiled),
        "subject": str(parsed["Subject"]),
        "from": str(parsed["From"]),
        "audience": edition.audience,
        "html_bytes": len(html.encode()),
        "text_bytes": len(text.encode()),
        "message_bytes": len(raw),
    }
    if about["clipped_by_gmail"]:
        err.print(f"[yellow]Gmail cuts off mail whose HTML is longer than {number(CLIPPED_AT)} bytes: shorten it.[/]")
    files = {
        "message.html": html.encode(),
        "message.txt": text.encode(),
        "message.eml": raw,
        "report.json": (json.dumps(about, ensure_ascii=False, indent=2) + "\n").encode(),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (directory / name).write_bytes(content)
    except OSError as error:
        raise MailerError(f"can't be written: {error.strerror}", where=str(error.filename)) from None
    if as_json:
        print_json({**about, "files": [str(directory / name) for name in files]})
    else:
        for name, content in files.items():
            out.print(f"{directory / name}  {number(len(content))} bytes", markup=False)


def _part(message: EmailMessage, kind: str) -> str:
    part = message.get_body(preferencelist=(kind,))
    assert part is not None
    content: str = part.get_content()
    return content

"""``mailer recipients``: who, in which state, and what the relay said."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable
from typing import Any

import click

from mailer.cli.common import config_option, json_option, load
from mailer.cli.edges import opened
from mailer.cli.message_ids import message_ids
from mailer.cli.output import STYLES, err, iso, shown, stream_json
from mailer.model.ledger import RecipientReport, RecipientState, SendId

_COLOURS = {"green", "yellow", "red", "magenta"}

COLUMNS = ("email", "state", "attempts", "code", "reply", "message_id", "updated_at")


@click.command()
@click.argument("send")
@click.option(
    "--state", "wanted", type=click.Choice([one.value for one in RecipientState]), help="Only those in STATE."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
@config_option
def command(send: str, wanted: str | None, as_csv: bool, as_json: bool) -> None:
    """List the recipients of SEND, in the order in which they are sent to."""
    if as_csv and as_json:
        raise click.UsageError("Either --csv or --json.")
    loaded = load()
    with opened(loaded, must_exist=True) as store:
        found = store.sends.get(SendId(send))
        identify = message_ids(loaded, store, found)
        reports = store.sends.recipients(found.id, RecipientState(wanted) if wanted else None)
        if as_json:
            stream_json(_as_json(report, identify) for report in reports)
        elif as_csv:
            writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
            writer.writeheader()
            for report in reports:
                writer.writerow(_as_json(report, identify))
        else:
            _print(reports)


def _as_json(report: RecipientReport, identify: Callable[[int], str]) -> dict[str, Any]:
    return {
        "email": report.email,
        "state": report.state.value,
        "attempts": report.attempts,
        "code": report.code,
        "reply": report.reply,
        "message_id": identify(report.position),
        "updated_at": iso(report.updated_at),
    }


def _print(reports: Iterable[RecipientReport]) -> None:
    """A line each, as they come: there may be a million."""
    found = False
    for report in reports:
        found = True
        style = STYLES.get(report.state, "")
        word = click.style(f"{report.state.replace('_', ' '):<9}", fg=style if style in _COLOURS else None)
        reply = shown(f"{report.code or ''} {report.reply}".strip())
        click.echo(f"{word} {shown(report.email):<40} {reply}".rstrip())
    if not found:
        err.print("None.")

"""``mailer test-send``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from mailer.cli.common import config_option, json_option, load
from mailer.cli.edges import opened, warn_of_inactive
from mailer.cli.output import err, out, plain, plural, print_json, state
from mailer.cli.press import compile_file
from mailer.cli.progress import status_json
from mailer.cli.relays import check_relays, say_where_mail_goes
from mailer.cli.watch import all_tried, watch
from mailer.cli.workforce import workforce
from mailer.model.ledger import RecipientState
from mailer.service.sending import start_test_send


@click.command()
@click.argument("issue", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--to", multiple=True, metavar="EMAIL", help="Whom to. [default: publication.editors]")
@click.option("--as", "persona", default="", metavar="EMAIL", help="Personalised as for this subscriber.")
@json_option
@config_option
@click.pass_context
def command(ctx: click.Context, issue: Path, to: tuple[str, ...], persona: str, as_json: bool) -> None:
    """Send ISSUE to the editors, through the real pipeline, with [Test] before the subject.

    Recorded like any send, outside every statistic. Returns when each message is sent, failed or deferred.
    """
    loaded = load()
    warn_of_inactive(loaded)
    with opened(loaded) as store:
        edition = compile_file(issue, loaded, store)
        check_relays(loaded, strictly=not loaded.settings.redis.url)
        send = start_test_send(store, edition, to or loaded.settings.publication.editors, persona, time.time())
        say_where_mail_goes(loaded)
        with workforce(loaded, store) as see_to_it:
            status = watch(store, send.id, loaded.settings.publication.timezone, all_tried, tick=see_to_it)
        if as_json:
            print_json(status_json(status))
        else:
            for report in store.sends.recipients(send.id, None):
                reply = f"{report.code or ''} {report.reply}".strip()
                out.print(plain(report.email), state(report.state), plain(reply), sep="  ")
    if failed := status.counts.get(RecipientState.FAILED, 0):
        err.print(f"[red]{plural(failed, 'message')} failed.[/]")
        ctx.exit(1)

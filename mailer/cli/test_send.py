"""``mailer test-send``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from mailer.cli.common import config_option, json_option, load
from mailer.cli.edges import figures, opened, warn_of_inactive
from mailer.cli.output import err, number, out, plain, print_json, state
from mailer.cli.press import compile_file
from mailer.cli.progress import outcome, status_json
from mailer.cli.relays import check_relays, say_where_mail_goes
from mailer.cli.start_hint import say_how_to_start
from mailer.cli.watch import all_tried, watch
from mailer.cli.workforce import workforce
from mailer.model.ledger import RecipientState, SendState
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

    Recorded like any send, outside every statistic. Returns when each message has been tried; exits 0 when all of them
    went out.
    """
    loaded = load()
    warn_of_inactive(loaded)
    with opened(loaded) as store:
        edition = compile_file(issue, loaded, store)
        check_relays(loaded, strictly=not loaded.settings.redis.url)
        send = start_test_send(store, edition, to or loaded.settings.publication.editors, persona, time.time())
        say_where_mail_goes(loaded)
        with workforce(loaded, store, send.id) as force:
            watch(store, send.id, loaded.settings.publication.timezone, all_tried, force=force)
        status = figures(store, send.id)
        if as_json:
            print_json(status_json(status))
        else:
            for report in store.sends.recipients(send.id, None):
                reply = f"{report.code or ''} {report.reply}".strip()
                out.print(plain(report.email), state(report.state), plain(reply), sep="  ")
        sent, audience = status.counts[RecipientState.SENT], status.send.audience
        if sent < audience:
            much = f"Only {number(sent)} of {number(audience)} messages" if sent else "Nothing"
            err.print(f"[red]{much} went out: {outcome(status)}.[/]")
            if status.send.state is SendState.RUNNING:
                say_how_to_start(store)
            ctx.exit(1)

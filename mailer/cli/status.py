"""``mailer status``."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click
from rich.console import RenderableType

from mailer.cli.common import config_option, json_option, load
from mailer.cli.edges import figures, missing_file, opened
from mailer.cli.output import brief, err, number, out, plain, print_json, state, table
from mailer.cli.progress import status_json, status_panel
from mailer.cli.start_hint import hints
from mailer.cli.watch import watch
from mailer.model.ledger import RecipientState, SendId, SendKind, Status
from mailer.service.ports import Store


@click.command()
@click.argument("send", required=False)
@click.option("--watch", "watching", is_flag=True, help="Keep showing it until it is at rest.")
@click.option("--tests", is_flag=True, help="Without SEND: list test-sends too.")
@json_option
@config_option
def command(send: str | None, watching: bool, tests: bool, as_json: bool) -> None:
    """Show how SEND is doing; without SEND, list all of them.

    With --json and without SEND it prints an array of the same objects.
    """
    if watching and (as_json or not send):
        raise click.UsageError("--watch needs a SEND and goes without --json.")
    loaded = load()
    timezone = loaded.settings.publication.timezone
    if send is None and (missing := missing_file(loaded)):
        err.print(f"Nothing has been sent yet: there is no database in {missing.parent}.", markup=False)
        if as_json:
            print_json([])
        return
    with opened(loaded, must_exist=True) as store:
        if send is None:
            _list(store, tests, as_json, timezone)
        elif watching:
            watch(store, SendId(send), timezone, console=out)
        else:
            status = figures(store, SendId(send))
            if as_json:
                print_json(status_json(status))
            else:
                out.print(status_panel(status, timezone, time.time(), hints(store, status)))


def _list(store: Store, tests: bool, as_json: bool, timezone: str) -> None:
    sends = [send for send in store.sends.all() if tests or send.kind is SendKind.ISSUE]
    statuses = [figures(store, send.id) for send in sends]
    if as_json:
        print_json([status_json(status) for status in statuses])
    elif not statuses:
        err.print("Nothing has been sent yet.")
    else:
        shown = [one for one in RecipientState if any(status.counts.get(one, 0) for status in statuses)]
        names = [one.value.replace("_", " ") for one in shown]
        listing = table("send", "state", "when", "audience", *names, "", right=("audience", *names))
        for status in statuses:
            listing.add_row(*_row(status, shown, timezone))
        out.print(listing)
        for hint in hints(store, *statuses):
            out.print(plain(hint), style="yellow")


def _row(status: Status, shown: Sequence[RecipientState], timezone: str) -> list[RenderableType]:
    send = status.send
    when = send.finished_at or send.started_at or send.scheduled_at
    counts = (status.counts.get(one, 0) for one in shown)
    return [
        send.id,
        state(send.state),
        brief(when, timezone) if when is not None else "",
        number(send.audience),
        *(number(count) if count else "" for count in counts),
        plain(send.reason),
    ]

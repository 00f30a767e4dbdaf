"""``mailer pause``, ``resume``, ``cancel`` and ``resolve``."""

from __future__ import annotations

import asyncio
import time
from typing import Literal, cast

import click
from rich.markup import escape

from mailer.cli.common import config_option, json_option, load
from mailer.cli.edges import confirm, figures, opened
from mailer.cli.output import err, number, out, plural, print_json, state
from mailer.cli.progress import AT_REST, status_json
from mailer.cli.redis_url import redis_url
from mailer.cli.start_hint import say_how_to_start
from mailer.config import Loaded
from mailer.errors import QueueError
from mailer.model.ledger import RecipientState, SendId, SendState
from mailer.queue.destinations import connect_destinations
from mailer.service.control import stop
from mailer.service.destinations import TICK
from mailer.service.ports import Store

yes_option = click.option("--yes", is_flag=True, help="Don't ask.")


@click.command()
@click.argument("send")
@json_option
@config_option
def pause(send: str, as_json: bool) -> None:
    """Stop SEND for now. Once this has returned, nothing of it goes out until it is resumed."""
    _stop(SendId(send), "pause", as_json)


@click.command()
@click.argument("send")
@yes_option
@json_option
@config_option
def cancel(send: str, yes: bool, as_json: bool) -> None:
    """Stop SEND for good. Whoever hasn't got it by then never will."""
    send_id = SendId(send)
    with opened(load(), must_exist=True) as store:
        cancelled = store.sends.get(send_id).state is SendState.CANCELLED
        will_send, will_skip = store.sends.waiting(send_id)
    if not cancelled:
        confirm(f"Cancel {send}? {plural(will_send + will_skip, 'recipient')} will not get it.", yes=yes)
    _stop(send_id, "cancel", as_json)


def _stop(send_id: SendId, how: Literal["pause", "cancel"], as_json: bool) -> None:
    with opened(load(), must_exist=True) as store:
        if store.sends.get(send_id).state is (SendState.PAUSED if how == "pause" else SendState.CANCELLED):
            _say_already(store, send_id)
        _, in_flight = stop(store, send_id, how, "paused by hand" if how == "pause" else "", time.time, time.sleep)
        _report(store, send_id, as_json)
        if in_flight:
            err.print(f"[yellow]{plural(in_flight, 'message')} had gone out already and no reply has come yet.[/]")


@click.command()
@click.argument("send")
@yes_option
@json_option
@config_option
def resume(send: str, yes: bool, as_json: bool) -> None:
    """Let a paused SEND go on. Says first how many it sends to and how many it skips."""
    send_id, loaded = SendId(send), load()
    with opened(loaded, must_exist=True) as store:
        state_before = store.sends.get(send_id).state
        if state_before is SendState.PAUSED:
            will_send, will_skip = store.sends.waiting(send_id)
            err.print(f"Resuming {send} sends {number(will_send)}, skips {number(will_skip)}.")
            confirm("Go on?", yes=yes)
        elif state_before not in AT_REST:
            _say_already(store, send_id)
        _close_breakers(loaded)
        store.sends.resume(send_id, time.time())
        _report(store, send_id, as_json)
        say_how_to_start(store)


def _close_breakers(loaded: Loaded) -> None:
    """Destinations that refused our mail are tried again at once: whoever resumes has mended the cause."""

    async def close() -> list[str]:
        destinations = connect_destinations(redis_url(loaded))
        try:
            return await destinations.close_breakers()
        finally:
            await destinations.close()

    try:
        if names := asyncio.run(close()):
            err.print(f"Tried again at once: {', '.join(names)}.", markup=False)
            time.sleep(2 * TICK)  # until all workers know: one that doesn't would pause the send again
    except QueueError as error:
        if loaded.settings.redis.url:
            err.print(f"[yellow]Destinations that refused our mail are left alone for now:[/] {escape(str(error))}")


@click.command()
@click.argument("send")
@click.option(
    "--in-doubt",
    "how",
    type=click.Choice(["resend", "sent"]),
    required=True,
    help="resend: send to them again, some may get it twice. sent: take it that they got it.",
)
@yes_option
@json_option
@config_option
def resolve(send: str, how: str, yes: bool, as_json: bool) -> None:
    """Settle the recipients of SEND that are in doubt: whether they got it can't be known from here.

    'mailer recipients SEND --state in_doubt' lists them; the relay's log may know.
    """
    send_id = SendId(send)
    with opened(load(), must_exist=True) as store:
        count = figures(store, send_id).counts.get(RecipientState.IN_DOUBT, 0)
        if count and how == "resend":
            confirm(f"Send to {plural(count, 'recipient')} again? Some of them may get it twice.", yes=yes)
        settled = store.sends.resolve(send_id, cast(Literal["resend", "sent"], how), time.time()) if count else 0
        err.print(f"{plural(settled, 'recipient')} in doubt {'is' if settled == 1 else 'are'} settled.")
        if left := count - settled:
            has = "has left (unsubscribed, suppressed or removed) and stays" if left == 1 else "have left and stay"
            err.print(f"{plural(left, 'recipient')} {has} in doubt: --in-doubt sent settles that.")
        _report(store, send_id, as_json)
        if settled and how == "resend":
            say_how_to_start(store)


def _say_already(store: Store, send_id: SendId) -> None:
    err.print(f"{send_id} is {store.sends.get(send_id).state} already.", markup=False)


def _report(store: Store, send_id: SendId, as_json: bool) -> None:
    status = figures(store, send_id)
    if as_json:
        print_json(status_json(status))
    else:
        out.print(send_id, "is", state(status.send.state))

"""``mailer send``."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.markup import escape

from mailer.cli.common import config_option, json_option, load
from mailer.cli.edges import confirm, figures, opened, warn_of_inactive, workers_alive
from mailer.cli.logs import log_addresses_option
from mailer.cli.output import err, iso, local, number, out, plural, print_json, shown
from mailer.cli.press import compile_file
from mailer.cli.progress import AT_REST, done, outcome, status_json
from mailer.cli.redis_url import redis_url
from mailer.cli.relays import check_relays, say_where_mail_goes, where_mail_goes
from mailer.cli.sample_message import STRANGER, headers_of, message_for
from mailer.cli.start_hint import how_to_start, say_how_to_start
from mailer.cli.watch import watch
from mailer.cli.when import parse_when
from mailer.cli.workforce import Workforce, workforce
from mailer.config import Loaded
from mailer.errors import QueueError, SendError
from mailer.model.ledger import Send, SendKind, SendState, Status
from mailer.queue.arq_queue import connect
from mailer.service.issues import Edition
from mailer.service.ports import Store
from mailer.service.reconcile import queue_unfinished
from mailer.service.sending import start_send


@dataclass(frozen=True, slots=True)
class Plan:
    """What a send would do, as people are asked about it. ``covered``: how many more an earlier send of the issue went
    to; ``pausing``: how many have asked for a pause. ``at`` in Unix seconds, None is now."""

    issue: str
    audience: int
    covered: int
    pausing: int
    sender: str
    subject: str
    relay: str
    at: float | None


@click.command()
@click.argument("issue", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--at", "when", metavar="WHEN", help='"2026-11-23 06:00", "monday 06:00", "06:00" or ISO 8601.')
@click.option("--segment", default="", metavar="EXPR", help="Only whom this holds for: subscriber.plan == 'premium'.")
@click.option("--remaining", is_flag=True, help="Only to those who haven't got this issue yet.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--wait", is_flag=True, help="Show progress until it is finished; starts a worker if none runs.")
@log_addresses_option
@json_option
@config_option
@click.pass_context
def command(
    ctx: click.Context,
    issue: Path,
    when: str | None,
    segment: str,
    remaining: bool,
    dry_run: bool,
    yes: bool,
    wait: bool,
    log_addresses: bool,
    as_json: bool,
) -> None:
    """Send ISSUE to every subscriber, once each.

    Asks first, saying how many, from whom, through which relay and when. --wait exits 0 when the send is finished, 1
    when it was paused or cancelled.
    """
    loaded = load()
    warn_of_inactive(loaded)
    at = _moment(when, loaded)
    with opened(loaded, must_exist=True) as store:
        edition = compile_file(issue, loaded, store, segment)
        plan = _plan(loaded, store, edition, at, remaining)
        if as_json and dry_run:
            print_json(_plan_json(plan))
        elif dry_run or not yes:
            _show(plan, loaded)
        # Workers elsewhere may reach what we can't, and a relay may be back when the time has come.
        check_relays(loaded, strictly=not (dry_run or at is not None or loaded.settings.redis.url))
        if dry_run:
            return
        confirm(f"Send it to {plural(plan.audience, 'recipient')}?", yes=yes)
        say_where_mail_goes(loaded)
        send = start_send(store, edition, time.time(), at=at, remaining=remaining)
        _knock(loaded, store, send)
        err.print(f"{send.id}: {plural(send.audience, 'recipient')}.", markup=False)
        if wait:
            ctx.exit(_wait(loaded, store, send, as_json, log_addresses))
        if as_json:
            print_json(status_json(figures(store, send.id)))
        else:
            out.print(send.id, markup=False)
        if workers_alive(store):
            err.print(f"See how it goes: mailer status {send.id} --watch", markup=False)
        say_how_to_start(store)


def _moment(when: str | None, loaded: Loaded) -> float | None:
    if when is None:
        return None
    return parse_when(when, datetime.now(UTC), loaded.settings.publication.timezone).timestamp()


def _plan(loaded: Loaded, store: Store, edition: Edition, at: float | None, remaining: bool) -> Plan:
    """Raises ``SendError`` where the send would be refused, before anybody is asked."""
    slug = edition.compiled.slug
    audience = store.sends.remaining(slug, edition.segment, at=time.time() if at is None else at)
    pausing = store.sends.remaining(slug, edition.segment) - audience
    if not remaining:
        _refuse_twice(store, slug)
    if not audience or not edition.audience:
        raise _nobody(store, edition, pausing)
    wanted = None if edition.segment is None else frozenset(edition.segment)
    people = (one for one in store.subscribers.each(reachable=True) if wanted is None or one.id in wanted)
    sender, subject = headers_of(message_for(loaded, edition.compiled, next(people, STRANGER)))
    covered = edition.audience - audience - pausing
    return Plan(slug, audience, covered, pausing, sender, subject, where_mail_goes(loaded), at)


def _nobody(store: Store, edition: Edition, pausing: int) -> SendError:
    """Why nobody would get it."""
    subscribers = store.subscribers.count()
    if not subscribers:
        return SendError("nobody would get it", todo="Import people with 'mailer subscribers import FILE.csv'.")
    if not edition.audience:
        return SendError(
            f"the segment matches none of {plural(subscribers, 'subscriber')}",
            todo="It is --segment, else 'segment' in the issue's front matter.",
        )
    if pausing:
        return SendError(f"nobody is left to send it to: {plural(pausing, 'subscriber')} asked for a pause")
    slug = edition.compiled.slug
    sends = (send for send in store.sends.all() if send.slug == slug and send.kind is SendKind.ISSUE)
    return SendError(f"everyone is covered by {', '.join(f'{send.id} ({send.state})' for send in sends)}")


def _refuse_twice(store: Store, slug: str) -> None:
    for send in store.sends.all():
        if send.slug == slug and send.kind is SendKind.ISSUE and send.state is not SendState.CANCELLED:
            raise SendError(
                f"{slug} was sent already: {send.id} is {send.state}",
                todo="To those who came since: --remaining. If it is another issue, give it another slug.",
            )


def _show(plan: Plan, loaded: Loaded) -> None:
    timezone = loaded.settings.publication.timezone
    others = {"got it before": plan.covered, "asked for a pause": plan.pausing}
    left_out = ", ".join(f"{number(count)} {why}" for why, count in others.items() if count)
    lines = {
        "To": plural(plan.audience, "recipient") + (f" ({left_out})" if left_out else ""),
        "From": plan.sender,
        "Subject": plan.subject,
        "Through": plan.relay,
        "When": "now" if plan.at is None else local(plan.at, timezone),
    }
    for name, value in lines.items():
        err.print(f"{name:<8} {shown(value)}", markup=False)


def _plan_json(plan: Plan) -> dict[str, object]:
    return {
        "send": None,
        "issue": plan.issue,
        "audience": plan.audience,
        "from": plan.sender,
        "subject": plan.subject,
        "relay": plan.relay,
        "scheduled_at": iso(plan.at),
    }


def _knock(loaded: Loaded, store: Store, send: Send) -> None:
    """Queues the batches, so that workers begin at once. Without Redis the reconciler does it later."""
    if send.state is not SendState.RUNNING:
        return

    async def knock() -> None:
        queue = connect(redis_url(loaded))
        try:
            await queue_unfinished(store, queue, loaded.settings.delivery, time.time())
        finally:
            await queue.close()

    try:
        asyncio.run(knock())
    except QueueError as error:
        if loaded.settings.redis.url:
            err.print(f"[yellow]The send is written, but no worker could be woken:[/] {escape(shown(str(error)))}")


def _wait(loaded: Loaded, store: Store, send: Send, as_json: bool, log_addresses: bool) -> int:
    """Shows progress until the send is at rest; gives the exit status."""
    timezone = loaded.settings.publication.timezone
    force: Workforce | None = None
    try:
        with workforce(loaded, store, send.id, log_addresses=log_addresses) as force:
            status = watch(store, send.id, timezone, force=force)
    except KeyboardInterrupt:
        ours = force is not None and force.log is not None
        _say_what_now(figures(store, send.id), timezone, goes_on=not ours and workers_alive(store) > 0)
        return 130
    if as_json:
        print_json(status_json(status))
    else:
        out.print(f"{send.id} is {status.send.state}: {outcome(status)}.", markup=False)
    return 0 if status.send.state is SendState.FINISHED else 1


def _say_what_now(status: Status, timezone: str, *, goes_on: bool) -> None:
    """After Ctrl-C. ``goes_on``: whether somebody works on without us."""
    send = status.send
    if send.state in AT_REST:
        lines = [f"{send.id} is {send.state}."]
    elif goes_on:
        lines = [
            f"You stopped watching; {send.id} goes on: it is {send.state}.",
            f"Stop it: mailer pause {send.id}   See it: mailer status {send.id} --watch",
        ]
    elif send.state is SendState.SCHEDULED and send.scheduled_at is not None:
        lines = [
            f"{send.id} starts {local(send.scheduled_at, timezone)}, if a worker runs then: {how_to_start()}",
            f"Give it up: mailer cancel {send.id}",
        ]
    else:
        lines = [
            f"Stopped after {number(done(status))} of {number(send.audience)}; nobody is lost. "
            f"Go on with: {how_to_start()}",
            f"Give it up: mailer cancel {send.id}",
        ]
    err.print("", *lines, sep="\n", markup=False)

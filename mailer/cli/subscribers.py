"""``mailer subscribers``."""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import partial
from typing import IO

import click
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from mailer.cli.common import config_option, json_option, load
from mailer.cli.edges import confirm, opened
from mailer.cli.exported_file import write_file
from mailer.cli.output import err, iso, number, out, plain, plural, print_json, shown, stream_json
from mailer.errors import AddressError, MailerError
from mailer.model.address import parse_address
from mailer.model.people import Subscriber
from mailer.service.import_subscribers import export_csv, exported, import_csv
from mailer.service.ports import Store

_COLUMNS = (TextColumn("{task.description}"), TextColumn("{task.completed:,.0f} rows"), TimeElapsedColumn())


@click.group()
@config_option
def command() -> None:
    """Import, export, show and remove people."""


@command.command("import")
@click.argument("file", type=click.File("rb"))
@json_option
@config_option
@click.pass_context
def import_(ctx: click.Context, file: IO[bytes], as_json: bool) -> None:
    """Add and update the people in FILE: CSV with a column 'email'; '-' reads stdin.

    first_name, last_name, language and timezone fill those columns, every other column becomes an attribute. Nobody who
    unsubscribed is subscribed again, and no suppression is lifted. A bad row is refused with line and reason, and the
    others are taken.
    """
    progress = Progress(*_COLUMNS, console=err, transient=True)
    with opened(load()) as store, progress if err.is_terminal else nullcontext():
        task = progress.add_task("importing", total=None)
        report = import_csv(
            file,
            file.name,
            store.subscribers,
            time.time,
            on_progress=lambda rows: progress.update(task, completed=rows),
            on_refused=None if as_json else lambda row: err.print(plain(str(row))),
            find_suppressed=store.suppressions.find,
        )
    if as_json:
        refused = [{"line": row.line, "email": row.email, "reason": row.reason} for row in report.refused]
        counts = {"added": report.added, "updated": report.updated, "unchanged": report.unchanged}
        counts |= {"refused_count": report.refused_count, "unsubscribed_count": report.unsubscribed_count}
        counts |= {"suppressed_count": report.suppressed_count}
        suppressed = [{"email": one.email, "reason": one.reason} for one in report.suppressed]
        print_json({**counts, "refused": refused, "unsubscribed": report.unsubscribed, "suppressed": suppressed})
    else:
        taken = f"{number(report.added)} added, {number(report.updated)} updated, {number(report.unchanged)} unchanged"
        out.print(f"{taken}, {number(report.refused_count)} refused.")
        if report.unsubscribed_count:
            them = plural(report.unsubscribed_count, "of them stays", "of them stay")
            err.print(f"{them} unsubscribed: 'mailer subscribers import FILE --json' lists them.", markup=False)
        if report.suppressed_count:
            them = plural(report.suppressed_count, "of them stays", "of them stay")
            err.print(f"{them} suppressed: 'mailer suppressions list' says why.", markup=False)
    if report.refused_count and not report.added + report.updated + report.unchanged:
        ctx.exit(1)


@command.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), default="-")
@json_option
@config_option
def export(file: str, as_json: bool) -> None:
    """Write everyone who hasn't unsubscribed to FILE (default: stdout), as 'import' reads it."""
    if as_json and file != "-":
        raise click.UsageError("Either FILE or --json, which prints on stdout.")
    with opened(load(), must_exist=True) as store:
        if as_json:
            stream_json(map(_as_json, exported(store.subscribers)))
            return
        write_file(file, partial(export_csv, store.subscribers), "subscriber")


@command.command()
@click.argument("email")
@json_option
@config_option
def show(email: str, as_json: bool) -> None:
    """Show what is kept about EMAIL."""
    with opened(load(), must_exist=True) as store:
        found = _find(store, email)
        key = parse_address(found.email).key
        suppression = store.suppressions.find([key]).get(key)
        preferences = store.preferences.find(found.id)
    pause = preferences.paused_until if preferences else None
    paused = iso(pause) if pause and pause > time.time() else None
    if as_json:
        more = {"suppressed": suppression.reason if suppression else None, "paused_until": paused}
        print_json(_as_json(found) | more)
        return
    for name, value in _as_json(found).items():
        if name == "attributes":
            for attribute, text in found.attributes.items():
                out.print(f"{attribute:<20} {shown(text)}", markup=False)
        elif value not in ("", 0):
            out.print(f"{name:<20} {shown(str(value))}", markup=False)
    if suppression:
        out.print(f"{'suppressed':<20} {shown(suppression.reason)}", markup=False)
    if paused:
        out.print(f"{'paused_until':<20} {paused}", markup=False)


@command.command()
@click.argument("email")
@click.option("--yes", is_flag=True, help="Don't ask.")
@json_option
@config_option
def remove(email: str, yes: bool, as_json: bool) -> None:
    """Forget EMAIL: the person is deleted, what waits for them is skipped. Reports keep their counts.

    A hash of the address stays: if it is ever imported again, links in old mails work, and who had left stays away.
    """
    with opened(load(), must_exist=True) as store:
        found = _find(store, email)
        confirm(f"Delete {shown(found.email)}? This can't be undone.", yes=yes)
        removed = store.subscribers.remove(parse_address(found.email).key, time.time())
    if as_json:
        print_json({"removed": removed})
    else:
        out.print("Removed.")


def _find(store: Store, email: str) -> Subscriber:
    try:
        found = store.subscribers.find(parse_address(email).key)
    except AddressError as error:
        raise AddressError(error.what, where=shown(email)) from None
    if found is None:
        raise MailerError(f"{email} is no subscriber")
    return found


def _as_json(one: Subscriber) -> dict[str, object]:
    return {
        "email": one.email,
        "status": one.status.value,
        "first_name": one.first_name,
        "last_name": one.last_name,
        "language": one.language,
        "timezone": one.timezone,
        "attributes": dict(one.attributes),
        "referrals_this_week": one.referrals_this_week,
    }

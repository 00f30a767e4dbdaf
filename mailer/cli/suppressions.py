"""``mailer suppressions``: the addresses that mail may not go to."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable
from functools import partial
from typing import IO

import click

from mailer.cli.common import config_option, json_option, load
from mailer.cli.edges import opened
from mailer.cli.exported_file import write_file
from mailer.cli.output import err, iso, number, out, plain, print_json, shown, stream_json, table
from mailer.errors import AddressError
from mailer.model.address import parse_address
from mailer.model.people import Suppression
from mailer.service.import_suppressions import COLUMNS, import_suppressions


@click.group()
@config_option
def command() -> None:
    """List and change the addresses that mail may not go to. A running send heeds them at once."""


@command.command("list")
@json_option
@config_option
def list_(as_json: bool) -> None:
    """List them all."""
    with opened(load(), must_exist=True) as store:
        found = store.suppressions.each()
        if as_json:
            stream_json(map(_as_json, found))
            return
        listing = table(*COLUMNS)
        for one in found:
            listing.add_row(plain(one.email), plain(one.reason), plain(one.source), iso(one.created_at))
        if listing.row_count:
            out.print(listing)
        else:
            err.print("No address is suppressed.")


@command.command()
@click.argument("email", nargs=-1, required=True)
@click.option("--reason", default="added by hand", show_default=True)
@json_option
@config_option
def add(email: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Suppress EMAIL…"""
    addresses = [_address(text) for text in email]
    with opened(load()) as store:
        added = sum(store.suppressions.add(address, reason, "command", time.time()) for address in addresses)
    _say({"added": added, "unchanged": len(addresses) - added}, as_json)


@command.command()
@click.argument("email", nargs=-1, required=True)
@json_option
@config_option
def remove(email: tuple[str, ...], as_json: bool) -> None:
    """Let mail go to EMAIL… again. Who had unsubscribed stays unsubscribed."""
    addresses = [_address(text) for text in email]
    with opened(load(), must_exist=True) as store:
        removed = sum(store.suppressions.remove(address) for address in addresses)
    _say({"removed": removed, "unchanged": len(addresses) - removed}, as_json)


@command.command("import")
@click.argument("file", type=click.File("rb"))
@json_option
@config_option
@click.pass_context
def import_(ctx: click.Context, file: IO[bytes], as_json: bool) -> None:
    """Suppress all addresses in FILE: CSV as 'export' writes it, or an address a line.

    Of the columns only 'email' is needed. A bad row is refused with line and reason, and the others are taken.
    """
    with opened(load()) as store:
        report = import_suppressions(
            file,
            file.name,
            store.suppressions,
            time.time,
            on_refused=None if as_json else lambda row: err.print(plain(str(row))),
        )
    if as_json:
        refused = [{"line": row.line, "email": row.email, "reason": row.reason} for row in report.refused]
        counts = {"added": report.added, "unchanged": report.unchanged, "refused_count": report.refused_count}
        print_json({**counts, "refused": refused})
    else:
        taken = f"{number(report.added)} added, {number(report.unchanged)} unchanged"
        out.print(f"{taken}, {number(report.refused_count)} refused.")
    if report.refused_count and not report.added + report.unchanged:
        ctx.exit(1)


@command.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), default="-")
@json_option
@config_option
def export(file: str, as_json: bool) -> None:
    """Write them all as CSV to FILE (default: stdout), as 'import' reads it."""
    if as_json and file != "-":
        raise click.UsageError("Either FILE or --json, which prints on stdout.")
    with opened(load(), must_exist=True) as store:
        if as_json:
            stream_json(map(_as_json, store.suppressions.each()))
            return
        write_file(file, partial(_write_csv, store.suppressions.each()), "suppression")


def _write_csv(found: Iterable[Suppression], target: IO[str]) -> int:
    writer = csv.writer(target)
    writer.writerow(COLUMNS)
    count = 0
    for one in found:
        count += 1
        writer.writerow(_as_json(one).values())
    return count


def _address(text: str) -> str:
    """An address's key. Raises ``AddressError`` that names it."""
    try:
        return parse_address(text).key
    except AddressError as error:
        raise AddressError(error.what, where=shown(text) if text.strip() else repr(text)) from None


def _as_json(one: Suppression) -> dict[str, str | None]:
    return {"email": one.email, "reason": one.reason, "source": one.source, "created_at": iso(one.created_at)}


def _say(counts: dict[str, int], as_json: bool) -> None:
    if as_json:
        print_json(counts)
    else:
        out.print(", ".join(f"{number(count)} {what}" for what, count in counts.items()) + ".")

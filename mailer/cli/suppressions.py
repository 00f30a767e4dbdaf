"""``mailer suppressions``: the addresses that mail may not go to."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator
from typing import IO

import click

from mailer.cli.common import config_option, json_option, load
from mailer.cli.edges import opened
from mailer.cli.output import err, iso, number, out, plain, print_json, shown, stream_json, table
from mailer.errors import AddressError
from mailer.model.address import parse_address
from mailer.model.people import Suppression
from mailer.service.csv_rows import NOT_UTF8, read_rows

COLUMNS = ("email", "reason", "source", "created_at")


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
def import_(file: IO[bytes], as_json: bool) -> None:
    """Suppress all addresses in FILE: CSV with a column 'email' (and 'reason'), or an address a line."""
    refused: list[dict[str, object]] = []
    added = unchanged = 0
    with opened(load()) as store:
        for line, email, reason, problem in _rows(file):
            try:
                if problem:
                    raise AddressError(problem)
                key = parse_address(email).key
            except AddressError as error:
                refused.append({"line": line, "email": email, "reason": error.what})
                continue
            if store.suppressions.add(key, reason or "imported", "import", time.time()):
                added += 1
            else:
                unchanged += 1
    if as_json:
        print_json({"added": added, "unchanged": unchanged, "refused": refused})
    else:
        out.print(f"{number(added)} added, {number(unchanged)} unchanged, {number(len(refused))} refused.")
        for row in refused:
            err.print(f"line {row['line']}: {shown(str(row['email']))}: {row['reason']}", markup=False)


@command.command()
@json_option
@config_option
def export(as_json: bool) -> None:
    """Print them all as CSV, as 'import' reads them."""
    with opened(load(), must_exist=True) as store:
        if as_json:
            stream_json(map(_as_json, store.suppressions.each()))
            return
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(COLUMNS)
        for one in store.suppressions.each():
            writer.writerow([one.email, one.reason, one.source, iso(one.created_at)])


def _rows(file: IO[bytes]) -> Iterator[tuple[int, str, str, str]]:
    """Line, address, reason and problem of each row. Without a header that names ``email``, the first column is it."""
    email, reason = 0, -1
    for index, row in enumerate(read_rows(file, file.name)):
        names = [cell.strip().lower() for cell in row.cells]
        if index == 0 and "email" in names:
            email, reason = names.index("email"), names.index("reason") if "reason" in names else -1
        elif any(names) or row.problem:
            yield row.line, _cell(row.cells, email), _cell(row.cells, reason), row.problem


def _cell(row: list[str], index: int) -> str:
    return NOT_UTF8.sub("\ufffd", row[index]).strip() if 0 <= index < len(row) else ""


def _address(text: str) -> str:
    """An address's key. Raises ``AddressError`` that names it."""
    try:
        return parse_address(text).key
    except AddressError as error:
        raise AddressError(error.what, where=shown(text)) from None


def _as_json(one: Suppression) -> dict[str, str | None]:
    return {"email": one.email, "reason": one.reason, "source": one.source, "created_at": iso(one.created_at)}


def _say(counts: dict[str, int], as_json: bool) -> None:
    if as_json:
        print_json(counts)
    else:
        out.print(", ".join(f"{number(count)} {what}" for what, count in counts.items()) + ".")

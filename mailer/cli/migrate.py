"""``mailer migrate``."""

from __future__ import annotations

import click

from mailer.cli.common import config_option, json_option, load
from mailer.cli.output import out, print_json
from mailer.config import ensure_data_dir
from mailer.store import migrate


@click.command()
@json_option
@config_option
def command(as_json: bool) -> None:
    """Bring the database to this version. Safe to repeat. A new SQLite file needs none."""
    loaded = load()
    if loaded.store_url.startswith("sqlite:"):
        ensure_data_dir(loaded)
    before, after = migrate(loaded.store_url)
    if as_json:
        print_json({"before": before or None, "after": after})
    elif before == after:
        out.print(f"Nothing to do: the database has schema {after}.")
    else:
        out.print(f"The database has schema {after} now; before it {f'had {before}' if before else 'was empty'}.")

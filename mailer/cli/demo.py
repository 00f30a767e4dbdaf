"""``mailer demo``: the whole main job on sample data, with everything embedded, in front of the reader's eyes."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import click

from mailer.cli.common import json_option
from mailer.cli.demo_people import FULL, people_csv
from mailer.cli.demo_report import print_report
from mailer.cli.edges import opened
from mailer.cli.output import err, number, print_json
from mailer.cli.press import compile_file
from mailer.cli.progress import status_json
from mailer.cli.watch import all_tried, watch
from mailer.cli.workforce import LOG_NAME, workforce
from mailer.config import CONFIG_NAME, Loaded, load_settings
from mailer.errors import MailerError
from mailer.mjml.templates import sample_issue
from mailer.model.ledger import RecipientState, Send, Status
from mailer.service.import_subscribers import import_csv
from mailer.service.ports import Store
from mailer.service.sending import start_send

PATIENCE = 120.0
"""Seconds after which something must be wrong."""

_MARK = "# Written by 'mailer demo', which replaces this folder when it runs again."

_CONFIG = f"""{_MARK}

[publication]
name = "Gießkannen-Bote"
from = "Gießkannen-Bote <bote@giesskanne.example>"
reply_to = "redaktion@giesskanne.example"
language = "de"
country = "DE"
timezone = "Europe/Berlin"
base_url = "https://giesskanne.example"
postal_address = "Gießkannen-Bote, Am Bachufer 3, 00000 Obermühlbach"
editors = ["redaktion@giesskanne.example"]

[delivery]
retry_after = "2s"  # so that you see the greylisted arrive; real ones want a minute
batch_size = 100
"""


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=Path("mailer-demo"))
@json_option
@click.pass_context
def command(ctx: click.Context, directory: Path, as_json: bool) -> None:
    """Send a sample issue to 500 people who don't exist, and show what became of each.

    Nothing leaves this machine: mail is captured as files. All of it is in DIRECTORY (default: mailer-demo).
    """
    began = time.monotonic()
    loaded = make_folder(directory)
    with opened(loaded) as store:
        people = directory / "subscribers.csv"
        with people.open("rb") as file:
            report = import_csv(file, str(people), store.subscribers, time.time)
        err.print(f"[green]✓[/] imported {number(report.added)} subscribers who don't exist")
        edition = compile_file(directory / "issues" / "sample.md", loaded, store)
        err.print(f"[green]✓[/] compiled “{edition.compiled.title}”, {number(edition.compiled.word_count)} words")
        send = start_send(store, edition, time.time())
        err.print(f"[green]✓[/] queued {send.id} for {number(send.audience)} recipients; some will be refused\n")
        status = _deliver(loaded, store, send)
        if as_json:
            print_json(status_json(status))
        else:
            print_report(loaded, store, status, time.monotonic() - began)
    ctx.exit(0 if status.counts.get(RecipientState.SENT) else 1)


def make_folder(directory: Path) -> Loaded:
    """Makes the folder, in place of an earlier demo's."""
    config = directory / CONFIG_NAME
    try:
        if directory.exists() and any(directory.iterdir()):
            if not config.exists() or not config.read_text(encoding="utf-8").startswith(_MARK):
                raise MailerError(
                    "isn't empty and isn't an earlier demo's", where=str(directory), todo="Name another folder."
                )
            shutil.rmtree(directory)
        (directory / "issues").mkdir(parents=True)
        config.write_text(_CONFIG, encoding="utf-8")
        (directory / "issues" / "sample.md").write_text(sample_issue(), encoding="utf-8")
        (directory / "subscribers.csv").write_text(people_csv(), encoding="utf-8")
    except OSError as error:
        raise MailerError(f"can't be written: {error.strerror}", where=str(error.filename or directory)) from None
    return load_settings(config, {})


def _deliver(loaded: Loaded, store: Store, send: Send) -> Status:
    """Until everyone has it who will: mailboxes that are full stay so."""
    deadline = time.monotonic() + PATIENCE

    def done(status: Status) -> bool:
        if time.monotonic() > deadline:
            raise MailerError(
                "the demo doesn't get done", where=str(loaded.data_dir / LOG_NAME), todo="That file says why."
            )
        return all_tried(status) and status.counts.get(RecipientState.DEFERRED, 0) <= FULL

    with workforce(loaded, store, send.id) as force:
        return watch(store, send.id, loaded.settings.publication.timezone, done, force=force)

"""``mailer events``: what came back, and is kept for ninety days."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import click

from mailer.bounces.providers import PROVIDERS
from mailer.cli.common import config_option, json_option, load
from mailer.cli.edges import confirm, opened
from mailer.cli.output import out, plural, print_json
from mailer.cli.start_hint import say_how_to_start
from mailer.service.events import replay


@click.group()
@config_option
def command() -> None:
    """What providers' webhooks told; it is kept for 90 days."""


@command.command("replay")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%d %H:%M"]),
    help="Only what came since then, in the publication's timezone.",
)
@click.option("--provider", type=click.Choice(sorted(PROVIDERS)), help="Only what this provider told.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@json_option
@config_option
def replay_(since: datetime | None, provider: str | None, yes: bool, as_json: bool) -> None:
    """Let workers read and act on kept events once more: after an update that understands more of them.

    What was done already isn't done twice. But an address that you have taken off the suppressions since is suppressed
    again if its event is among these.
    """
    loaded = load()
    zone = ZoneInfo(loaded.settings.publication.timezone)
    start = since.replace(tzinfo=zone).timestamp() if since else 0.0
    with opened(loaded, must_exist=True) as store:
        which = f"what {provider or 'any provider'} has told{f' since {since:%Y-%m-%d %H:%M}' if since else ''}"
        confirm(f"Act once more on {which}?", yes=yes)
        count = replay(store.events, provider or "", start)
        if as_json:
            print_json({"replayed": count})
        else:
            out.print(f"{plural(count, 'event')} will be acted on once more.")
        if count:
            say_how_to_start(store)

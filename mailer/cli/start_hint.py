"""What to say beside a send's figures: what hinders it, and what its operator can do."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from mailer.cli.common import config_path
from mailer.cli.edges import workers_alive
from mailer.cli.output import err
from mailer.cli.progress import AT_REST
from mailer.model.ledger import RecipientState, SendState, Status
from mailer.service.heart import LEASE
from mailer.service.ports import Store

NOBODY = "No worker is running, so nothing goes out."


def how_to_start() -> str:
    """The command that makes what is unfinished go on, with the configuration that this command was given."""
    path = config_path()
    return f"mailer up --config {shlex.quote(str(path))}" if path else "mailer up"


def say_how_to_start(store: Store) -> None:
    """Says how to start a worker, when none is alive."""
    if not workers_alive(store):
        err.print(f"[yellow]{NOBODY}[/] Start one:", end=" ")
        err.print(how_to_start(), style="bold", markup=False)


def hints(store: Store, *statuses: Status, log: Path | None = None) -> list[str]:
    """A line each. ``log``: that of a worker which the command has started itself."""
    found = [in_doubt for status in statuses if (in_doubt := _in_doubt(status))]
    if any(status.send.state not in AT_REST for status in statuses):
        if workers_alive(store):
            found += store.workers.troubles(time.time(), LEASE)
        else:
            found.append(f"The worker isn't up yet. Its log: {log}" if log else f"{NOBODY} Start one: {how_to_start()}")
    return found


def _in_doubt(status: Status) -> str:
    """While a send runs, late replies may settle them yet."""
    send = status.send
    if not status.counts.get(RecipientState.IN_DOUBT, 0) or send.state not in AT_REST:
        return ""
    how = "sent" if send.state is SendState.CANCELLED else "resend|sent"
    return (
        f"Who is in doubt: mailer recipients {send.id} --state in_doubt   "
        f"Settle it: mailer resolve {send.id} --in-doubt {how}"
    )

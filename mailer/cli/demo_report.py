"""What the demo says at its end: what became of the mail, how fast, and where to look."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path

from rich.padding import Padding
from rich.table import Table

from mailer.cli.output import duration, number, out, plain, state, table
from mailer.cli.relays import capture_directory
from mailer.config import Loaded
from mailer.model.ledger import RecipientReport, RecipientState, Status
from mailer.service.ports import Store


def print_report(loaded: Loaded, store: Store, status: Status, seconds: float) -> None:
    """Prints it on stdout. ``seconds``: how long all of it took."""
    reports = list(store.sends.recipients(status.send.id, None))
    at_once = [one.updated_at for one in reports if one.state is RecipientState.SENT and one.attempts == 1]
    later = sum(one.state is RecipientState.SENT and one.attempts > 1 for one in reports)
    out.print()
    out.print(Padding(_outcomes(reports), (0, 2), expand=False))
    if len(at_once) > 1 and (span := max(at_once) - min(at_once)) > 0:
        pace = f"{duration(span) if span > 10 else f'{span:.1f} s'}, {len(at_once) / span:,.0f} messages a second"
        out.print(f"{number(len(at_once))} went out in {pace};", end=" ")
        out.print(f"{later} more after greylisting; all of it took {duration(seconds)}.")
    out.print("Refused is final. Full mailboxes are tried again for two days, while a worker runs.\n")
    config = _relative(loaded.path) if loaded.path else Path()
    message = min((capture_directory(loaded) / status.send.id).glob("*.eml"), default=None, key=lambda p: len(p.name))
    if message is not None:
        out.print(f"A message:    {_relative(message)}", markup=False)
    mailer = _program()
    out.print(f"Who got what: {mailer} recipients {status.send.id} --config {config}", markup=False)
    out.print(f"In figures:   {mailer} status {status.send.id} --config {config}", markup=False)
    out.print(f"A worker:     {mailer} up --config {config}", markup=False)
    out.print(f"The issue:    {config.parent / 'issues' / 'sample.md'}", markup=False)
    out.print(f"Your own:     {mailer} init my-newsletter", markup=False)


def _program() -> str:
    """How this program can be called from here."""
    if shutil.which("mailer"):
        return "mailer"
    path = Path(sys.argv[0])
    return f"{Path(sys.executable).name} -m mailer" if path.name == "__main__.py" else str(_relative(path))


def _outcomes(reports: list[RecipientReport]) -> Table:
    counts = Counter((one.state, _said(one)) for one in reports)
    listing = table("recipients", "state", "what the relay said", right=("recipients",))
    for (what, said), count in sorted(counts.items(), key=lambda item: -item[1]):
        listing.add_row(number(count), state(what), plain(said))
    return listing


def _said(report: RecipientReport) -> str:
    """The reply without what differs for each recipient."""
    reply = report.reply.split(" Filed as ")[0] if report.state is RecipientState.SENT else report.reply
    return f"{report.code or ''} {reply}".strip()


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path

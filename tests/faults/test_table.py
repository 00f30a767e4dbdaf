"""The table of points is true: every one is really passed."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from tests.faults.ghosts import haunt, leave_in_doubt
from tests.faults.ground import Ground
from tests.faults.points import POINTS
from tests.servers.waiting import until

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "templates" / "sample" / "issue.md"

pytest_plugins = ("tests.servers.postgres", "tests.faults.fixtures")


def test_every_point_is_passed(ground: Ground) -> None:
    """In an ordinary day of a publication every named point is passed: no name has rotted."""
    publication = ground.publication("day", ground.relay({"phase": "mail", "delay": 0.1}), 60)
    send = publication.create("day")
    worker = publication.worker(trace=True)
    publication.wait_accepted(send, 4)
    publication.signal(worker, signal.SIGTERM)
    assert publication.nursery.wait(worker, 20) == 0, publication.logs()

    leave_in_doubt(publication.store, send, 50, 60)
    commands = [["pause", send], ["resume", send, "--yes"], ["resolve", send, "--in-doubt", "sent", "--yes"]]
    commands += [
        ["suppressions", "add", "r0@day.example"],
        ["send", str(SAMPLE), "--yes"],
        ["cancel", "issue-1", "--yes"],
    ]
    for command in commands:
        assert publication.command(*command, trace=True) == 0, f"{command}\n{publication.logs()}"

    haunt(publication.store, send)
    publication.worker(trace=True)
    assert publication.finished(send, 60), publication.logs()
    assert until(lambda: "beat.committed" in publication.said("passed"), every=0.1), publication.logs()
    missing = [point.name for point in POINTS if point.name not in publication.said("passed")]
    assert not missing, f"{missing}\n{publication.logs()}"


def test_the_table_is_documented() -> None:
    """``docs/guarantee.md`` names every point, and none that isn't there."""
    text = (ROOT / "docs" / "guarantee.md").read_text()
    named = set(re.findall(r"`([a-z]+\.(?:before-commit|committed|begun|done|written|out|read))`", text))
    assert named == {point.name for point in POINTS}

"""How many mails of a collection `parse_message` reads right, and flufl.bounce beside it if it is installed.

    python benchmarks/bounce_corpus.py DIRECTORY EXPECTED.json [--show]

EXPECTED.json: ``{"file name": {"permanent": [address, …], "temporary": [address, …]}, …}``. Both empty: the mail is no
bounce. ``"either": [address, …]``: a bounce of which nobody can say for how long. Addresses are compared without case.
"""

from __future__ import annotations

import argparse
import email
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mailer.bounces.event import EventType
from mailer.bounces.message import parse_message

Answer = tuple[set[str], set[str], set[str]]
"""Permanent, temporary, and those of which nothing is said: right only where nobody can say."""


def ours(raw: bytes) -> Answer:
    events = [e for e in parse_message(raw) if e.type in (EventType.BOUNCED, EventType.DEFERRED)]
    permanent, temporary, unsaid = (
        {e.recipient.lower() for e in events if e.permanent is lasting} for lasting in (True, False, None)
    )
    return permanent, temporary, unsaid


def fluffy(raw: bytes) -> Answer:
    from flufl.bounce import all_failures

    try:
        temporary, permanent = all_failures(email.message_from_bytes(raw))
    except Exception:
        return set(), set(), set()
    texts = [{one.decode("utf-8", "replace").lower() for one in found} for found in (permanent, temporary)]
    return texts[0], texts[1] - texts[0], set()


def judge(name: str, read: Callable[[bytes], Answer], mails: dict[Path, dict[str, list[str]]], show: bool) -> None:
    """Prints the share of mails whose recipients are exact, and whose permanence is right too."""
    exact = right = false_permanent = bounces = 0
    began = time.perf_counter()
    for path, expected in mails.items():
        want = {key: {one.lower() for one in expected.get(key, [])} for key in ("permanent", "temporary", "either")}
        everyone = want["permanent"] | want["temporary"] | want["either"]
        permanent, temporary, unsaid = read(path.read_bytes())
        same = permanent | temporary | unsaid == everyone
        lasting = same and want["permanent"] <= permanent and want["temporary"] <= temporary
        bounces += bool(everyone)
        exact, right = exact + same, right + lasting
        false_permanent += bool((permanent or unsaid) and not everyone)
        if show and not lasting:
            wanted = {key: sorted(addresses) for key, addresses in want.items() if addresses}
            print(f"  {path.name}: {sorted(permanent)} | {sorted(temporary)} | {sorted(unsaid)} wanted {wanted}")
    n = len(mails)
    print(
        f"{name}: {n} mails ({bounces} bounces), recipients exact {exact / n:.1%}, permanence right {right / n:.1%}, "
        f"false permanent {false_permanent}, {time.perf_counter() - began:.2f} s"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("expected", type=Path)
    arguments.add_argument("--show", action="store_true", help="print each mail that is read wrong")
    given = arguments.parse_args()
    expected = json.loads(given.expected.read_text())
    mails = {path: expected[path.name] for path in sorted(given.directory.iterdir()) if path.name in expected}
    if not mails:
        sys.exit(f"No mail in {given.directory} is named in {given.expected}.")
    judge("parse_message", ours, mails, given.show)
    try:
        import flufl.bounce  # noqa: F401
    except ModuleNotFoundError:
        print("flufl.bounce isn't installed: nothing to compare with.")
        return
    judge("flufl.bounce", fluffy, mails, show=False)


if __name__ == "__main__":
    main()

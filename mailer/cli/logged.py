"""Runs a Python program with its stderr appended to a file: ``python -m mailer.cli.logged FILE -m MODULE …``.

For the worker that a command starts beside its progress display, which the worker's log would tear apart.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> None:
    """``arguments``: the log file, ``-m``, a module and its own arguments."""
    path, dash_m, module, *rest = arguments
    assert dash_m == "-m"
    os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), 2)
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""``arq workers.main.WorkerSettings``: one worker under arq's own command line.

The class is made when it is asked for, so that importing this module reads no configuration. What is read then is
``./mailer.toml``, else the file that ``MAILER_CONFIG`` names, else ``MAILER_…`` variables only.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from mailer.errors import MailerError

if TYPE_CHECKING:
    WorkerSettings: type


def __getattr__(name: str) -> Any:
    if name != "WorkerSettings":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mailer.config import load_settings
    from workers.compose import batches_at_once, open_runtime
    from workers.plain import settings_class

    try:
        loaded = load_settings(None, os.environ)
        made = settings_class(loaded, open_runtime, batches_at_once(loaded.settings))
    except MailerError as error:
        # arq would show a traceback.
        sys.exit(f"mailer: {error}")
    globals()[name] = made
    return made

"""Jobs as JSON. arq's default is pickle, with which whoever can write to Redis runs code in the workers."""

from __future__ import annotations

import json
from typing import Any


def dumps(value: dict[str, Any]) -> bytes:
    """JSON in UTF-8. What JSON doesn't know (arq passes the exceptions of failed jobs) becomes its text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode()


def loads(data: bytes) -> dict[str, Any]:
    """The inverse. Raises ``ValueError``."""
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("a job is a JSON object")
    return value

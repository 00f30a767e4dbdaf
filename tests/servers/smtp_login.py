"""The dialogue of AUTH PLAIN and AUTH LOGIN (RFC 4954), a server's side."""

from __future__ import annotations

import base64
from collections.abc import Callable

Ask = Callable[[str, Callable[[str], None]], None]
"""Says a prompt, and hands the client's next line to a function."""


def converse(rest: str, say: Callable[[str], None], ask: Ask, log_in: Callable[[str, str], None]) -> None:
    """Begins with what followed AUTH; ends in ``log_in(user, password)``."""

    def plain(coded: str) -> None:
        _, user, word = _text(coded).split("\0")
        log_in(user, word)

    def ask_password(user: str) -> None:
        ask("334 UGFzc3dvcmQ6", lambda word: log_in(_text(user), _text(word)))

    how, _, initial = rest.partition(" ")
    if how.upper() == "PLAIN":
        plain(initial) if initial else ask("334 ", plain)
    elif how.upper() == "LOGIN":
        ask_password(initial) if initial else ask("334 VXNlcm5hbWU6", ask_password)
    else:
        say("504 5.5.4 not offered")


def _text(coded: str) -> str:
    return base64.b64decode(coded).decode()

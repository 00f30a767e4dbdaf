"""The data directory and the key that is kept in it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from mailer.config.load import Loaded
from mailer.errors import ConfigError


def ensure_data_dir(loaded: Loaded) -> Path:
    """Makes the data directory, for its owner alone, when it isn't there. Raises ``ConfigError``."""
    try:
        loaded.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"can't make the data directory: {error.strerror}", where=str(loaded.data_dir), todo="See [store] data."
        ) from None
    return loaded.data_dir


def secret_key(loaded: Loaded) -> bytes:
    """The key that signs tokens in links: ``web.secret_key``, or one made once and kept in the data directory.

    Two processes that make it at once agree on one. Raises ``ConfigError``.
    """
    configured = loaded.settings.web.secret_key.get_secret_value()
    if configured:
        return configured.encode()
    path = ensure_data_dir(loaded) / "secret_key"
    try:
        if not path.exists():
            _make(path)
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"can't keep the secret key: {error.strerror}", where=str(path)) from None
    if len(key) < 16:
        raise ConfigError(
            "holds no secret key", where=str(path), todo="Restore it from a backup; a new one makes sent links invalid."
        )
    return key


def _make(path: Path) -> None:
    """A link to a finished file appears whole or not at all, and only the first of two succeeds."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()

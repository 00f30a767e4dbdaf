"""Floor 3: ``mailer.toml`` and ``MAILER_…`` variables become ``mailer.model.settings``."""

from __future__ import annotations

from mailer.config.data import ensure_data_dir, secret_key
from mailer.config.inactive import inactive_keys
from mailer.config.load import CONFIG_NAME, Loaded, find_config, load_settings

__all__ = [
    "CONFIG_NAME",
    "Loaded",
    "ensure_data_dir",
    "find_config",
    "inactive_keys",
    "load_settings",
    "secret_key",
]

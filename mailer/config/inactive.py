"""Keys that this version accepts and doesn't act upon yet, so that nobody relies on them."""

from __future__ import annotations

from mailer.config.load import Loaded


def inactive_keys(loaded: Loaded) -> list[str]:
    """The names of those that are set."""
    settings = loaded.settings
    found = {
        "tracking.opens": settings.tracking.opens,
        "tracking.clicks": settings.tracking.clicks,
        "web.dashboard_password": bool(settings.web.dashboard_password.get_secret_value()),
    }
    return [key for key, is_set in found.items() if is_set]

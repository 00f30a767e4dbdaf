"""Where Redis is: the configured one, or the data directory's embedded one."""

from __future__ import annotations

from mailer.config import Loaded
from mailer.queue.embedded import EmbeddedRedis


def redis_url(loaded: Loaded) -> str:
    """The URL to connect to; it may be that nothing runs there yet."""
    return loaded.settings.redis.url or EmbeddedRedis(loaded.data_dir).url

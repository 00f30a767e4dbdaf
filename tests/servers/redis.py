"""Real Redis for tests: our own embedded server.

Use it with ``pytest_plugins = ("tests.servers.redis",)`` in a test module.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer.queue.embedded import EmbeddedRedis
from tests.servers.redis_command import command


@pytest.fixture(scope="session")
def _redis_server() -> Iterator[tuple[EmbeddedRedis, Path]]:
    with tempfile.TemporaryDirectory(prefix="mailer-redis-") as folder:
        engine = EmbeddedRedis(Path(folder))
        engine.start()
        yield engine, Path(folder)
        engine.stop()


@pytest.fixture
def redis_url(_redis_server: tuple[EmbeddedRedis, Path]) -> str:
    """The URL of the session's Redis, empty."""
    engine, data_dir = _redis_server
    engine.start()
    command(data_dir, "FLUSHALL")
    return engine.url


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A Redis of this test's own, running, to be stopped and started at will; its data directory is ``tmp_path``."""
    engine = EmbeddedRedis(tmp_path)
    engine.start()
    yield engine
    engine.stop()

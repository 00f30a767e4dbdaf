"""A test's own rubbish: what it left to the garbage collector.

Use it with ``pytest_plugins = ("tests.servers.quiet",)`` and ``pytestmark = pytest.mark.usefixtures("quiet_loop")``.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def _older_heap() -> None:
    """What was there before a module is none of its tests': to go through it again for each took most of their time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def quiet_loop(_older_heap: None, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is left behind: no unawaited exception, no unclosed transport."""
    gc.collect()  # what an earlier test left isn't this one's
    recwarn.clear()
    yield
    gc.collect()
    assert [str(w.message) for w in recwarn if issubclass(w.category, (ResourceWarning, RuntimeWarning))] == []
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []

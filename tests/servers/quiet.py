"""A test's own rubbish: what it left to the garbage collector.

Use it with ``pytest_plugins = ("tests.servers.quiet",)`` and ``pytestmark = pytest.mark.usefixtures("quiet_loop")``.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def quiet_loop(recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is left behind: no unawaited exception, no unclosed transport."""
    gc.collect()  # what an earlier test left isn't this one's
    gc.freeze()  # nor need the whole heap be gone through again to find what this one leaves
    recwarn.clear()
    yield
    gc.collect()
    gc.unfreeze()
    assert [str(w.message) for w in recwarn if issubclass(w.category, (ResourceWarning, RuntimeWarning))] == []
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []

"""Shared by all tests. Fixtures of one kind of server stand in ``tests/servers``."""

from __future__ import annotations

import gc
import signal

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is: nothing fails for that.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# A shell starts what runs in the background so that it ignores Ctrl-C, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Thousands of collected tests live to the end: the collector, going through them again and again, took a quarter
    of the unit tests' time."""
    gc.collect()
    gc.freeze()

"""Python's garbage collector in a process that runs for long."""

from __future__ import annotations

import gc


def spare_the_collector() -> None:
    """To be called when all is loaded: what there is now stays for good; what a delivery or a request makes has hardly
    any cycles. Python's own thresholds would have all of it looked through many times a second."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)

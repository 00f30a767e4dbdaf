"""What ``/metrics`` says of destinations that slow us down or refuse our mail: their number, by provider.

Only the providers that are known by name are named (``mailer.delivery.destination.GROUPS``): a small domain may be one
person's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from prometheus_client.metrics_core import Metric

from mailer.delivery.condition import Condition
from mailer.delivery.destination import GROUPS
from mailer.errors import QueueError
from mailer.queue.destinations import connect_destinations
from mailer.web.figures import gauge

log = logging.getLogger(__name__)


class BreakerFigures:
    """A ``mailer.web.metrics.Source``: what workers share about destinations in Redis."""

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url

    def __call__(self) -> Iterable[Metric]:
        try:
            conditions = asyncio.run(_conditions(self._url))
        except QueueError as error:
            log.warning("metrics without Redis': %s", error)
            return [gauge("mailer_redis_up", "Whether Redis answers.", (), {(): 0})]
        refusing = _counted(name for name, one in conditions.items() if one.pause)
        throttled = _counted(name for name, one in conditions.items() if one.rate)
        return [
            gauge("mailer_redis_up", "Whether Redis answers.", (), {(): 1}),
            gauge(
                "mailer_open_breakers",
                "Destinations that refuse our mail for our sake, and get none for now.",
                ("destination",),
                refusing,
            ),
            gauge(
                "mailer_throttled_destinations",
                "Destinations that have asked for less.",
                ("destination",),
                throttled,
            ),
        ]


def _counted(names: Iterable[str]) -> dict[tuple[str, ...], float]:
    return dict(Counter((name if name in GROUPS else "other",) for name in names))


async def _conditions(url: str) -> Mapping[str, Condition]:
    destinations = connect_destinations(url)
    try:
        return await destinations.conditions()
    finally:
        await destinations.close()

"""``mailer.service.sharing.Sharing`` in memory, for several workers in one test; the contract's other half."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mailer.delivery.condition import Condition
from mailer.service.sharing import Demand, Shared


@dataclass
class SharedMemory:
    """What all workers see. ``is_gone``: it can't be reached."""

    clock: Callable[[], float]
    is_gone: bool = False
    generation: int = 1
    conditions: dict[str, Condition] = field(default_factory=dict)
    held: dict[str, dict[object, tuple[int, bool]]] = field(default_factory=dict)
    workers: set[object] = field(default_factory=set)

    def flush(self) -> None:
        """Everything is lost."""
        self.generation += 1
        self.conditions.clear()
        self.held.clear()
        self.workers.clear()


class MemorySharing:
    """One worker's access to it."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory

    async def exchange(self, demands: Sequence[Demand]) -> Shared | None:
        memory = self._memory
        if memory.is_gone:
            return None
        memory.workers.add(self)
        return Shared(
            memory.clock(),
            str(memory.generation),
            len(memory.workers),
            dict(memory.conditions),
            {demand.name: self._grant(memory.held.setdefault(demand.name, {}), demand) for demand in demands},
        )

    def _grant(self, held: dict[object, tuple[int, bool]], demand: Demand) -> int:
        others = [grant for worker, grant in held.items() if worker is not self]
        wanting = sum(wanted for _, wanted in others) + demand.wanted
        part = -(-demand.limit // wanting) if demand.wanted else int(demand.limit >= 2 * len(self._memory.workers))
        part = min(part, max(demand.limit - sum(number for number, _ in others), 0))
        held[self] = max(demand.using, part), demand.wanted
        return part

    async def change(self, name: str, old: Condition | None, new: Condition | None) -> bool:
        conditions = self._memory.conditions
        if self._memory.is_gone or conditions.get(name) != old:
            return False
        if new is None:
            conditions.pop(name, None)
        else:
            conditions[name] = new
        return True

    async def close(self) -> None:
        self._memory.workers.discard(self)
        for held in self._memory.held.values():
            held.pop(self, None)

"""The figures, for people and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measure import Cost


@dataclass(frozen=True, slots=True)
class Measured:
    """A sender and its cost. ``ours`` is false for a peer; ``processes`` 0 where that says nothing."""

    name: str
    title: str
    cost: Cost
    ours: bool = False
    processes: int = 0


@dataclass(frozen=True, slots=True)
class Growth:
    """A send of ours of one size. Milliseconds, seconds and bytes; ``database`` is bytes a recipient."""

    recipients: int
    cost: Cost
    worker_memory: int
    queue_memory: int
    queue_seconds: float
    queue_cpu: float
    import_seconds: float
    database: float


@dataclass(frozen=True, slots=True)
class Report:
    """One run of the benchmark."""

    about: dict[str, object]
    senders: Sequence[Measured]
    growth: Sequence[Growth]

    def to_json(self) -> str:
        """``{"about", "senders": [{…, "cost": {"cpu", "total", "rate", …}}], "ratios", "growth": [{…}]}``."""
        senders = [{**asdict(one), "cost": _cost(one.cost)} for one in self.senders]
        growth = [{**asdict(one), "cost": _cost(one.cost)} for one in self.growth]
        document = {"about": self.about, "senders": senders, "ratios": dict(ratios(self.senders)), "growth": growth}
        return json.dumps(document, indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """Aligned columns."""
        parts = [_table(["", ""], [[f"{name}:", str(value)] for name, value in self.about.items()], "<<")]
        if self.senders:
            parts += [_senders(self.senders), _shares([one for one in self.senders if one.ours])]
            if found := ratios(self.senders):
                parts.append("Ratios\n" + _table(["", ""], [[name, f"{value:.2f}"] for name, value in found]))
        if self.growth:
            parts.append(_growth(self.growth))
        return "\n\n".join(part for part in parts if part)


def ratios(senders: Sequence[Measured]) -> list[tuple[str, float]]:
    """CPU a message: ours over the limit's, a peer's over ours; and our greatest rate over smtp-source's."""
    ours = [one for one in senders if one.ours]
    if not ours:
        return []
    found = []
    for peer in (one for one in senders if not one.ours):
        for one in ours:
            if peer.name == "limit":
                found.append((f"CPU: {one.title} / limit", one.cost.total / peer.cost.total))
    for peer in (one for one in senders if not one.ours and one.name != "limit"):
        found.append((f"CPU: {peer.title} / {ours[0].title}", peer.cost.total / ours[0].cost.total))
    for peer in (one for one in senders if one.name == "smtp-source"):
        for one in ours:
            if one.processes == max(each.processes for each in ours) and peer.cost.rate:
                found.append((f"rate: {one.title} / {peer.title}", one.cost.rate / peer.cost.rate))
    return found


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "CPU": model,
        "cores": os.cpu_count(),
        "load at the start": round(os.getloadavg()[0], 2),
        "Python": platform.python_version(),
    }


def file_system(path: Path) -> str:
    """The type of the file system that holds a path: on tmpfs a commit costs nothing."""
    mounts = [line.split()[1:3] for line in _lines("/proc/mounts")]
    holding = [(len(place), kind) for place, kind in mounts if path.resolve().is_relative_to(place)]
    return max(holding, default=(0, "?"))[1]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _cost(cost: Cost) -> dict[str, object]:
    return {**asdict(cost), "total": cost.total}


def _senders(senders: Sequence[Measured]) -> str:
    head = ["", "CPU ms a message", "messages/s", "KB a message", "sink CPU ms", "messages"]
    rows = [
        [
            one.title,
            _ms(one.cost.total),
            _rate(one.cost),
            f"{one.cost.size / 1000:.1f}" if one.cost.size else "?",
            _ms(one.cost.sink_cpu),
            f"{one.cost.messages:,}",
        ]
        for one in senders
    ]
    return "Senders\n" + _table(head, rows)


def _shares(ours: Sequence[Measured]) -> str:
    if not ours:
        return ""
    names = {"workers": "workers", "redis": "Redis", "postgres": "PostgreSQL", "queue": "mailer send"}
    rows = [[one.title, *(_ms(one.cost.cpu[part]) if part in one.cost.cpu else "" for part in names)] for one in ours]
    return "Ours, CPU ms a message by process\n" + _table(["", *names.values()], rows)


def _growth(growth: Sequence[Growth]) -> str:
    head = [
        "recipients",
        "CPU ms a message",
        "messages/s",
        "worker MB",
        "queueing s",
        "its CPU s",
        "its MB",
        "bytes/recipient",
        "import s",
    ]
    rows = [
        [
            f"{one.recipients:,}",
            _ms(one.cost.total),
            _rate(one.cost),
            f"{one.worker_memory / 1e6:.1f}",
            f"{one.queue_seconds:.2f}",
            f"{one.queue_cpu:.2f}",
            f"{one.queue_memory / 1e6:.1f}",
            f"{one.database:.0f}",
            f"{one.import_seconds:.1f}",
        ]
        for one in growth
    ]
    return "Growth\n" + _table(head, rows)


def _ms(milliseconds: float) -> str:
    return f"{round(milliseconds, 3) + 0.0:.3f}"  # + 0.0: noise may have made it -0.0


def _rate(cost: Cost) -> str:
    return f"{cost.rate:,.0f}" if cost.rate else "?"


def _table(head: list[str], rows: list[list[str]], align: str = "<") -> str:
    """``align``: of each column, as in a format; to the right where nothing is said."""
    lines = [line for line in (head, *rows) if any(line)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            f"{text:{side}{width}}" for text, width, side in zip(line, widths, align.ljust(len(head), ">"), strict=True)
        ).rstrip()
        for line in lines
    )

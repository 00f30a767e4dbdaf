"""Publications and relays for one test, made and taken down, and many cases run at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tests.faults.nursery import Nursery
from tests.faults.publication import Publication
from tests.servers.smtp_process import SmtpProcess

if TYPE_CHECKING:
    from tests.servers.postgres import PostgresServer

T = TypeVar("T")


class Ground:
    """Makes publications and relays, and takes them down. To be used by the test's own thread."""

    def __init__(self, folder: Path, nursery: Nursery, template: Path, postgres: Callable[[], PostgresServer]) -> None:
        self._folder, self._nursery, self._template, self._postgres = folder, nursery, template, postgres
        self._publications: list[Publication] = []
        self._relays: list[SmtpProcess] = []
        self._urls: list[str] = []

    def relay(self, *faults: Mapping[str, Any]) -> SmtpProcess:
        """A judging SMTP server with these faults."""
        log = self._folder / f"relay{len(self._relays)}.jsonl"
        self._relays.append(SmtpProcess(log, [dict(fault) for fault in faults]))
        return self._relays[-1]

    def publication(
        self, name: str, relay: SmtpProcess, people: int, *, store: str = "sqlite", **more: Any
    ) -> Publication:
        """``store``: ``sqlite`` or ``postgresql``."""
        home = self._folder / name.replace(".", "-")
        home.mkdir()
        if store == "sqlite":
            shutil.copy(self._template, home / "mailer.db")
            url = f"sqlite:///{home}/mailer.db"
        else:
            url = self._postgres().fresh()
            self._urls.append(url)
        made = Publication(home, self._nursery, relay, url, people=people, **more)
        self._publications.append(made)
        return made

    def close(self) -> None:
        for publication in self._publications:
            publication.end()
        for relay in self._relays:
            relay.stop()
        for url in self._urls:
            self._postgres().drop(url)


def all_at_once(cases: Sequence[Callable[[], T]], limit: int = 100) -> list[T]:
    """Runs the cases in a thread each, ``limit`` at a time: most of what they do is to wait for a lease."""
    with ThreadPoolExecutor(min(len(cases), limit)) as threads:
        return list(threads.map(lambda case: case(), cases))

"""The web process's health pages, through a real uvicorn on a port of this machine."""

from __future__ import annotations

import asyncio
import json

import pytest

from mailer.web import app as web
from mailer.web.app import Probe, create_app
from tests.servers.web import Answer, ask, serving


async def fine() -> None:
    """A probe that answers."""


async def broken() -> None:
    """A probe that can't reach its server."""
    raise ConnectionError("postgresql://user:geheim@host")


async def hanging() -> None:
    """A probe that never comes back."""
    await asyncio.Event().wait()


def get(path: str, **probes: Probe) -> Answer:
    """A page of an application with these probes."""
    with serving(create_app("Brot & <Spiele>", "de", probes)) as base:
        return ask(base + path)


def test_alive() -> None:
    """/healthz answers whatever the database does: restarting the web process would mend nothing."""
    answer = get("/healthz", database=broken)
    assert (answer.status, answer.text, answer.headers["cache-control"]) == (200, "ok\n", "no-store")


def test_ready() -> None:
    """/readyz is 200 when database and Redis answer."""
    answer = get("/readyz", database=fine, redis=fine)
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    assert json.loads(answer.text) == {"ready": True, "database": "ok", "redis": "ok"}


@pytest.mark.parametrize("probe", [broken, hanging])
def test_not_ready(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """/readyz is 503 when one of them fails or hangs; which one is said, its address and password aren't."""
    monkeypatch.setattr(web, "PATIENCE", 0.05)
    answer = get("/readyz", database=probe, redis=fine)
    assert answer.status == 503
    assert json.loads(answer.text) == {"ready": False, "database": "unreachable", "redis": "ok"}
    assert "geheim" not in answer.text


def test_index() -> None:
    """The front page names the publication, escaped, in its language."""
    page = get("/").text
    assert "Brot &amp; &lt;Spiele&gt;" in page
    assert '<html lang="de">' in page


def test_not_found() -> None:
    """Any other address is 404 in one line."""
    answer = get("/nothing")
    assert (answer.status, answer.text) == (404, "There is nothing here.\n")

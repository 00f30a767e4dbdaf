"""``docker-compose.yml`` and the Dockerfile. No engine here: the specification's schema, and our own command line."""

from __future__ import annotations

import json
import re
import socket
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from mailer.cli.main import cli
from mailer.config import load_settings
from workers.settings import delivering

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("migrate", "worker", "web")
LASTING = tuple(name for name in SERVICES if name != "migrate")


def parse(arguments: list[str]) -> None:
    """Parses a command line of ours without running it. Raises ``click.UsageError``."""
    context = cli.make_context("mailer", list(arguments))
    command: click.Command = cli
    rest = list(arguments)
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command = found
        if not isinstance(command, click.Group):
            command.make_context(name, rest, parent=context)


def test_schema() -> None:
    """The file is valid under the compose specification's own schema."""
    text = (files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text()
    jsonschema.validate(COMPOSE, json.loads(text))


def test_what_there_is() -> None:
    """Redis, PostgreSQL, a worker, the web process, a relay to try with and a one-shot migration."""
    assert set(SERVICES) == {"redis", "postgres", "worker", "web", "mailpit", "migrate"}


@pytest.mark.parametrize("name", OURS)
def test_commands_exist(name: str) -> None:
    """The very command that a service of ours runs is one that our command line takes."""
    parse(SERVICES[name]["command"])


def test_worker_check() -> None:
    """The worker's health check asks arq for the sign of life that this very container's worker gives."""
    assert SERVICES["worker"]["healthcheck"]["test"] == ["CMD", "arq", "--check", "workers.main.WorkerSettings"]
    assert socket.gethostname() in delivering(1)["health_check_key"]


def test_a_command_that_does_not_exist() -> None:
    """The check above refuses what our command line doesn't take."""
    with pytest.raises(click.UsageError):
        parse(["worker", "--proceses", "1"])


@pytest.mark.parametrize("name", LASTING)
def test_lasting_services(name: str) -> None:
    """Whatever stays up has a health check and comes back after a crash or a restart of the machine."""
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_worker_scales() -> None:
    """The worker has neither a fixed name nor a port, so there may be many."""
    assert not {"container_name", "ports", "hostname"} & SERVICES["worker"].keys()


@pytest.mark.parametrize("name", ["worker", "web"])
def test_order(name: str) -> None:
    """Workers and web begin when database and Redis answer and the migration is through."""
    wanted = SERVICES[name]["depends_on"]
    assert {other: how["condition"] for other, how in wanted.items()} == {
        "postgres": "service_healthy",
        "redis": "service_healthy",
        "migrate": "service_completed_successfully",
    }


def test_environment_is_configuration() -> None:
    """The variables that the services get are a valid configuration, which leads to the other services."""
    environ = {key: _default(str(value)) for key, value in SERVICES["worker"]["environment"].items()}
    loaded = load_settings(None, environ)
    assert loaded.store_url == "postgresql://mailer:mailer@postgres:5432/mailer"
    assert loaded.settings.redis.url == "redis://redis:6379/0"
    assert [(relay.host, relay.port) for relay in loaded.settings.relays] == [("mailpit", 1025)]
    assert loaded.data_dir == Path("/data")


def test_shared_data() -> None:
    """Web and workers keep the secret key in one volume: links that workers write are links that web knows."""
    assert all("data:/data" in SERVICES[name]["volumes"] for name in ("worker", "web"))


def test_named_volumes() -> None:
    """Every named volume that is used is declared."""
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    assert {name for name in used if not name.startswith(".")} == set(COMPOSE["volumes"])


def test_published_ports_are_local() -> None:
    """Nothing is published to the network: a reverse proxy stands before it."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_dockerfile() -> None:
    """The image is pinned, runs as non-root, execs its command and ships what the build needs."""
    text = (ROOT / "Dockerfile").read_text()
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"python:3.12-slim"}
    final = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER mailer$", final, re.MULTILINE)
    assert json.loads(re.findall(r"^ENTRYPOINT (.+)$", final, re.MULTILINE)[0]) == ["mailer"]
    parse(json.loads(re.findall(r"^CMD (.+)$", final, re.MULTILINE)[0]))
    assert re.search(r"HEALTHCHECK .*\\\n\s+CMD \[", final)


def test_build_context() -> None:
    """Whatever the Dockerfile copies from the checkout exists and isn't kept out of the build's context."""
    sources = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    names = {name for line in sources for name in line.split()}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert names == allowed
    assert all((ROOT / name).exists() for name in names)


def _default(text: str) -> str:
    """A value with compose's ``${NAME:-default}`` replaced."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)

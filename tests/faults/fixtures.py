"""What every test of the fault suite stands on.

Use it with ``pytest_plugins = ("tests.servers.postgres", "tests.faults.fixtures")`` in a test module.
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.ground import Ground
from tests.faults.nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Where processes come from. At the end of the session none of them lives."""
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def ground(
    tmp_path: Path, nursery: Nursery, _migrated_sqlite: Path, request: pytest.FixtureRequest
) -> Iterator[Ground]:
    """See ``Ground``."""
    ground = Ground(tmp_path, nursery, _migrated_sqlite, lambda: request.getfixturevalue("postgres"))
    if "postgresql" in request.node.name:
        request.getfixturevalue("postgres")  # set up before the ground, so that it goes after it
    yield ground
    ground.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """The databases in turn."""
    kind: str = request.param
    return kind


@pytest.fixture
def chance() -> random.Random:
    """Randomness whose seed is printed when the test fails; ``FAULTS_SEED`` sets it."""
    seed = os.environ.get("FAULTS_SEED") or secrets.token_hex(4)
    print(f"FAULTS_SEED={seed}")
    return random.Random(seed)

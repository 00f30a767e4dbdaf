"""The mutations of the protocol that ``tests/contract/mutations.py`` tries."""

from __future__ import annotations

import pytest

from tests.contract.mutations import MUTATIONS, ROOT, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_current(mutation: Mutation) -> None:
    """What a mutation replaces stands in the code once, so that it isn't forgotten when the code moves on."""
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    assert mutation.old != mutation.new

"""The ``[dkim]`` section."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mailer.config import inactive_keys
from mailer.config.facts import send_facts
from mailer.config.load import Loaded, load_settings
from mailer.errors import ConfigError
from mailer.model.ledger import Send, SendId, SendKind, SendState

PUBLICATION = '[publication]\nfrom = "A <a@news.example.com>"\n[dkim]\n'
WHOLE = 'domain = "example.com"\nselector = "s1"\nkey = { file = "dkim.pem" }\n'
SEND = Send(SendId("a-1"), 1, "a", SendKind.ISSUE, SendState.RUNNING, "", 1, 0.0, None, 0.0, None)


def load(directory: Path, text: str) -> Loaded:
    """With a good key in ``dkim.pem`` and none in ``wrong.pem``."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "dkim.pem").write_bytes(pem)
    (directory / "wrong.pem").write_text("secret words\n")
    path = directory / "mailer.toml"
    path.write_text(text)
    return load_settings(path, {})


def test_signing(tmp_path: Path) -> None:
    """Domain, selector and a key from a file are enough for a send to be signed."""
    loaded = load(tmp_path, PUBLICATION + WHOLE)
    found = send_facts(loaded, SEND).dkim
    assert found is not None
    assert (found.domain, found.selector, found.algorithm) == ("example.com", "s1", "ed25519-sha256")
    assert inactive_keys(loaded) == []


@pytest.mark.parametrize("text", ["", "[dkim]\n"])
def test_no_signing(tmp_path: Path, text: str) -> None:
    """Without keys in [dkim] nothing is signed."""
    assert send_facts(load(tmp_path, text), SEND).dkim is None


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('domain = "example.com"\nselector = "s1"\n', 3, "'dkim.key' is missing"),
        ('domain = "example.com"\nkey = { file = "dkim.pem" }\n', 3, "'dkim.selector' is missing"),
        ('selector = "s1"\nkey = { file = "dkim.pem" }\n', 3, "'dkim.domain' is missing"),
        (WHOLE.replace("dkim.pem", "wrong.pem"), 6, "'dkim.key' is no private key"),
        (WHOLE.replace("dkim.pem", "none.pem"), 6, "No such file"),
        (WHOLE.replace("s1", "s 1"), 5, "'s 1' is no selector"),
        (WHOLE.replace("example.com", "example"), 4, "'example' is no domain"),
        (WHOLE.replace("example.com", "example.net"), 4, "DMARC"),
    ],
)
def test_wrong(tmp_path: Path, text: str, line: int, says: str) -> None:
    """What is missing or wrong is named with its line, and the key isn't shown."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, PUBLICATION + text)
    assert says in str(caught.value)
    assert f"mailer.toml:{line}: " in str(caught.value)
    assert "secret words" not in str(caught.value)

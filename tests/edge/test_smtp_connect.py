"""What a person is told when no session with a relay comes about."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from mailer.errors import ConfigError, RelayError
from mailer.model.settings import Relay
from mailer.smtp.connect import check
from mailer.smtp.connection import Timeouts
from tests.servers.smtp import AUTHORITY, SmtpServer
from tests.servers.smtp_faults import Fault

pytest_plugins = ("tests.servers.quiet",)
pytestmark = pytest.mark.usefixtures("quiet_loop")

SHORT = Timeouts(connect=0.4, quit=0.3)


async def complaint(server: SmtpServer | None = None, **settings: Any) -> RelayError:
    """What ``check`` says about a relay; it must say where."""
    given = {"host": "localhost", "security": "none", **settings}
    if server is not None:
        given["port"] = server.port
    relay = Relay(**given)
    with pytest.raises(RelayError) as raised:
        await check(relay, SHORT)
    assert raised.value.where == f"relay {relay.host}:{relay.port}"
    return raised.value


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
@pytest.mark.parametrize("login", [None, ("me", "geheim")])
async def test_good_relay_passes(security: str, login: tuple[str, str] | None) -> None:
    """A relay that is set up right passes the check, and is left with QUIT."""
    server = SmtpServer(tls=security == "tls", starttls=security == "starttls", login=login)
    async with server:
        user, word = login or ("", "")
        relay = Relay(
            host="localhost",
            port=server.port,
            security=security,  # type: ignore[arg-type]
            username=user,
            password=word,  # type: ignore[arg-type]
            ca_file=str(AUTHORITY),
        )
        await check(relay, Timeouts())
        assert server.commands[-1] == "QUIT"
        assert server.violations == []


async def test_connection_refused() -> None:
    """A port where nothing listens is said so."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = await complaint(port=port)
    assert "refused" in error.what
    assert "host and port" in error.todo


async def test_unknown_host() -> None:
    """A host that isn't known is named."""
    error = await complaint(host="no-such-host.invalid", allow_plaintext=True)
    assert "'no-such-host.invalid' isn't known" in error.what


async def test_silent_relay() -> None:
    """A relay that doesn't greet is given up in time, with a hint at implicit TLS."""
    async with SmtpServer([Fault("connect", b"")]) as server:
        error = await complaint(server)
    assert "no answer in time" in error.what
    assert 'security = "tls"' in error.todo


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("connect", "421 4.7.0 too many", drop=True), "421 4.7.0 too many"),
        (Fault("connect", "554 5.7.1 not you", drop=True), "554 5.7.1 not you"),
        (Fault("connect", "SSH-2.0-OpenSSH_9.2", drop=True), "SSH-2.0"),
        (Fault("connect", drop=True), "session"),
        (Fault("ehlo", drop=True), "session"),
        (Fault("ehlo", "421 4.3.2 closing", drop=True), "closing"),
    ],
)
async def test_unwelcome(fault: Fault, words: str) -> None:
    """What a relay says instead of a greeting is passed on."""
    async with SmtpServer([fault]) as server:
        assert words in (await complaint(server)).what


async def test_login_refused() -> None:
    """A refused login names the user and the configuration, never the password."""
    async with SmtpServer(login=("me", "geheim")) as server:
        error = await complaint(server, username="me", password="hunter2")
    assert error.what == "the relay refused the login of 'me': 535 5.7.8 authentication failed"
    assert "username and password" in error.todo
    assert "hunter2" not in f"{error}{error!r}{error.__cause__!r}{error.__context__!r}"


async def test_no_login_offered() -> None:
    """A username for a relay that offers no login is an error that says so."""
    async with SmtpServer() as server:
        error = await complaint(server, username="me", password="x")
    assert "offers no login" in error.what


async def test_starttls_not_offered() -> None:
    """A relay without STARTTLS is refused, with the settings that would do."""
    async with SmtpServer() as server:
        error = await complaint(server, security="starttls", username="me", password="geheim")
        assert not any(command.startswith("AUTH") for command in server.commands)
    assert "no STARTTLS" in error.what
    assert '"tls"' in error.todo
    assert '"none"' in error.todo


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize(
    ("certificate", "authority", "words"),
    [
        ("other.example", True, "Hostname mismatch, certificate is not valid for 'localhost'"),
        ("localhost", False, "unable to get local issuer certificate"),
    ],
)
async def test_wrong_certificate(security: str, certificate: str, authority: bool, words: str) -> None:
    """A certificate for another host, or of an unknown authority, is refused before login, naming host and ca_file."""
    server = SmtpServer(
        tls=security == "tls", starttls=security == "starttls", certificate=certificate, login=("me", "geheim")
    )
    async with server:
        error = await complaint(
            server, security=security, username="me", password="geheim", ca_file=str(AUTHORITY) if authority else ""
        )
        assert not any(command.startswith("AUTH") for command in server.commands)
    assert "certificate isn't valid for 'localhost'" in error.what
    assert words in error.what
    assert "ca_file" in error.todo


async def test_tls_on_a_plain_port() -> None:
    """Implicit TLS on a port that begins without is told apart from a wrong certificate."""
    async with SmtpServer() as server:
        error = await complaint(server, security="tls")
    assert "TLS handshake failed" in error.what
    assert 'security = "starttls"' in error.todo


async def test_plain_on_a_tls_port() -> None:
    """A port that wants TLS from the start gets a hint at it."""
    async with SmtpServer(tls=True) as server:
        error = await complaint(server, security="starttls")
    assert 'security = "tls"' in error.todo


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_bad_ca_file(tmp_path: Path, content: str | None) -> None:
    """A ca_file that is missing or no PEM is a configuration error that names it."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as raised:
        await check(Relay(host="localhost", port=1, ca_file=str(path)), SHORT)
    assert str(path) in raised.value.what


async def test_cancelled_while_connecting() -> None:
    """A connect that is cancelled leaves no connection behind."""
    async with SmtpServer([Fault("ehlo", b"")]) as server:
        relay = Relay(host="127.0.0.1", port=server.port, security="none")
        task = asyncio.create_task(check(relay, Timeouts()))
        async with asyncio.timeout(5):
            while not server.commands:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            while server.open:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        assert server.accepted == 0

"""Setting an SMTP session up: connect, TLS, EHLO, login, by aiosmtplib. What goes wrong says what to do about it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import cast

import aiosmtplib

from mailer.errors import ConfigError, RelayError
from mailer.model.settings import Relay
from mailer.smtp.connection import SmtpConnection, Timeouts


def place(relay: Relay) -> str:
    """How errors name a relay: ``relay host:port``, with its name where it has one."""
    address = f"relay {relay.host}:{relay.port}"
    return f"{address} ({relay.name})" if relay.name else address


def tls_context(relay: Relay) -> ssl.SSLContext:
    """The system's certificate authorities, and those in ``ca_file``. Raises ``ConfigError`` for an unreadable file."""
    context = ssl.create_default_context()
    if relay.ca_file:
        try:
            context.load_verify_locations(cafile=relay.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"ca_file '{relay.ca_file}' can't be read: {error}",
                where=place(relay),
                todo="It must be a PEM file with the certificate of the authority that signed the relay's.",
            ) from None
    return context


async def connect(relay: Relay, timeouts: Timeouts, context: ssl.SSLContext | None = None) -> SmtpConnection:
    """A session that is ready for its first message. Raises ``RelayError``; ``ConfigError`` for a bad ``ca_file``.

    ``context`` spares reading the authorities for each connection; without one it is made.
    """
    if context is None and relay.security != "none":
        context = await asyncio.to_thread(tls_context, relay)
    client = aiosmtplib.SMTP(
        hostname=relay.host,
        port=relay.port,
        local_hostname=await _own_name(relay),
        timeout=timeouts.connect,
        use_tls=relay.security == "tls",
        start_tls=False,
        tls_context=context,
    )
    try:
        await client.connect()
        await _prepare(client, relay)
        transport, extensions = client.transport, dict(client.esmtp_extensions)
        if transport is None or transport.is_closing():
            raise RelayError("the relay closed the connection", where=place(relay))
        client.protocol = client.transport = None  # the transport is ours from here; nothing of theirs may close it
    except (aiosmtplib.SMTPException, OSError, ssl.SSLError, UnicodeError) as error:
        client.close()
        raise explain(error, relay) from error
    except BaseException:
        client.close()
        raise
    return SmtpConnection(cast(asyncio.Transport, transport), extensions, place(relay), timeouts)


async def check(relay: Relay, timeouts: Timeouts | None = None) -> None:
    """Connects, logs in and says goodbye. Raises what ``connect`` raises."""
    connection = await connect(relay, timeouts or Timeouts())
    await connection.quit()


async def _prepare(client: aiosmtplib.SMTP, relay: Relay) -> None:
    await _greet(client)
    if relay.security == "starttls":
        if not client.supports_extension("starttls"):
            raise RelayError(
                "the relay offers no STARTTLS",
                where=place(relay),
                todo='Set security = "tls" if it wants TLS from the start (usually port 465); "none" only for a relay '
                "on this machine or in a network you trust.",
            )
        await client.starttls(server_hostname=relay.host)
        await _greet(client)
    if not relay.username:
        return
    if not client.supported_auth_methods:
        raise RelayError(
            "the relay offers no login that we know",
            where=place(relay),
            todo="Leave username and password out if it needs none, or try another port or security.",
        )
    await client.login(relay.username, relay.password.get_secret_value())


async def _greet(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        if not client.is_connected:
            raise
        await client.helo()


async def _own_name(relay: Relay) -> str:
    """What we call ourselves in EHLO; a name without a dot is looked up, except for a relay on this machine."""
    name = socket.gethostname()
    if "." not in name and not relay.is_loopback:
        name = await asyncio.to_thread(socket.getfqdn)
    return name if name.isascii() and name.isprintable() and name and " " not in name else "localhost"


def explain(error: BaseException, relay: Relay) -> RelayError:
    """What an error of aiosmtplib or of the system means, and what to do. Never shows the password."""
    chain = _chain(error)
    what, todo = _explain(chain, relay)
    return RelayError(what, where=place(relay), todo=todo)


def _explain(chain: list[BaseException], relay: Relay) -> tuple[str, str]:
    check_address = "Check host and port, and that this machine may reach it."
    for error in chain:
        match error:
            case ssl.SSLCertVerificationError():
                return (
                    f"the relay's certificate isn't valid for '{relay.host}': {error.verify_message or error.reason}",
                    "Set host to the name in the certificate; if your own authority signed it, name its PEM file in "
                    "ca_file.",
                )
            case ssl.SSLError():
                return f"the TLS handshake failed: {error.reason or error}", _other_security(relay)
            case aiosmtplib.SMTPAuthenticationError():
                return (
                    f"the relay refused the login of '{relay.username}': {error.code} {_line(error.message)}",
                    "Check username and password of this relay in [[relays]].",
                )
            case socket.gaierror():
                return f"the host '{relay.host}' isn't known: {error.strerror}", "Check host in [[relays]]."
            case ConnectionRefusedError():
                return "nothing answers there: connection refused", check_address
            case aiosmtplib.SMTPTimeoutError() | TimeoutError():
                return f"no answer in time: {_line(str(error))}", f"{check_address} {_other_security(relay)}"
            case aiosmtplib.SMTPResponseException():
                return f"the relay won't talk to us now: {error.code} {_line(error.message)}", ""
            case _:
                continue
    shown = chain[-1]
    return f"no session with the relay: {_line(str(shown)) or type(shown).__name__}", _other_security(relay)


def _other_security(relay: Relay) -> str:
    if relay.security == "tls":
        return 'Set security = "starttls" if the port begins without TLS (usually 587 and 25).'
    return 'Set security = "tls" if the port wants TLS from the start (usually 465).'


def _chain(error: BaseException) -> list[BaseException]:
    """The error's causes, the deepest first: they say most."""
    chain: list[BaseException] = []
    seen: BaseException | None = error
    while seen is not None and seen not in chain:
        chain.insert(0, seen)
        seen = seen.__cause__ or seen.__context__
    return chain


def _line(text: str) -> str:
    return " ".join(text.split())[:300]

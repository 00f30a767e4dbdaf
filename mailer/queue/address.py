"""What ``[redis] url`` may say, and a client for it.

``redis://[user:password@]host[:port][/db]``, ``rediss://…`` (TLS, certificate and name checked), ``unix:///path[?db=n]``,
``redis+sentinel://[user:password@]host[:port],host[:port]/master[?db=n]``. Parts may be percent-encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from arq.connections import ArqRedis, RedisSettings
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from mailer.errors import ConfigError
from mailer.queue.serialiser import dumps, loads

QUEUE_NAME = "mailer:deliver"

FOREVER = -1
"""Tries of a client that waits for Redis to come back, however long that takes."""

_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel")
_OPTIONS = {"db", "ssl_ca_certs", "ssl_cert_reqs"}


def redis_settings(url: str) -> RedisSettings:
    """arq's settings for a URL. Raises ``ConfigError``."""
    try:
        parts = urlsplit(url)
        scheme, options = parts.scheme, _options(parts)
        if scheme not in _SCHEMES:
            raise ValueError(f"begins with none of {', '.join(f'{known}://' for known in _SCHEMES)}")
        if scheme == "unix":
            settings = RedisSettings(unix_socket_path=unquote(parts.path), database=_number(options.get("db")))
            if not parts.path.strip("/"):
                raise ValueError("names no socket")
        elif scheme == "redis+sentinel":
            hosts = [_host(text) for text in parts.netloc.rpartition("@")[2].split(",")]
            master = unquote(parts.path.strip("/")) or "mymaster"
            settings = RedisSettings(host=hosts, sentinel=True, sentinel_master=master)
            settings.database = _number(options.get("db"))
        else:
            settings = RedisSettings(host=parts.hostname or "localhost", port=parts.port or 6379)
            settings.database = _number(options.get("db") or parts.path.strip("/"))
            settings.ssl = settings.ssl_check_hostname = scheme == "rediss"
            settings.ssl_ca_certs = options.get("ssl_ca_certs")
            settings.ssl_cert_reqs = options.get("ssl_cert_reqs", "required")
            settings.ssl_check_hostname &= settings.ssl_cert_reqs == "required"
    except ValueError as error:
        raise ConfigError(
            f"{without_password(url)} is no Redis URL: {error}",
            where="[redis] url",
            todo='Give one such as "redis://localhost:6379/0".',
        ) from None
    settings.username, settings.password = _login(parts)
    return settings


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    login, at, place = url.rpartition("@")
    if not at:
        return url
    scheme, separator, login = login.partition("://")
    user = login.partition(":")[0]
    return f"{scheme}{separator}{user}{':***' if ':' in login else ''}@{place}"


def open_client(settings: RedisSettings, *, tries: int = 6, timeout: float = 10.0) -> ArqRedis:
    """A client that connects when it is first used.

    A command that meets a lost connection is sent again, ``tries`` times over about 4 s (``FOREVER``: until it comes
    through); each has ``timeout`` seconds, so that a Redis whose machine lost power is noticed.
    """
    common: dict[str, Any] = {
        "db": settings.database,
        "username": settings.username,
        "password": settings.password,
        "socket_connect_timeout": min(timeout, 5.0),
        "socket_timeout": timeout,
        "retry": Retry(ExponentialBackoff(cap=1.0, base=0.05), tries),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError, OSError] if tries else [],
        "job_serializer": dumps,
        "job_deserializer": loads,
        "default_queue_name": QUEUE_NAME,
    }
    if settings.sentinel:
        return _open_sentinel(settings, common)
    if settings.unix_socket_path:
        return ArqRedis(unix_socket_path=settings.unix_socket_path, **common)
    return ArqRedis(
        host=str(settings.host),
        port=settings.port,
        ssl=settings.ssl,
        ssl_ca_certs=settings.ssl_ca_certs,
        ssl_cert_reqs=settings.ssl_cert_reqs,
        ssl_check_hostname=settings.ssl_check_hostname,
        **common,
    )


def _open_sentinel(settings: RedisSettings, common: Mapping[str, Any]) -> ArqRedis:
    ours = ("job_serializer", "job_deserializer", "default_queue_name")
    connection = {name: value for name, value in common.items() if name not in ours}
    sentinel = Sentinel(list(settings.host), **connection)  # type: ignore[no-untyped-call]
    client: ArqRedis = sentinel.master_for(settings.sentinel_master, redis_class=ArqRedis)
    for name in ours:
        setattr(client, name, common[name])
    return client


def _host(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a host is missing")
    return parts.hostname, parts.port or 26379


def _number(text: str | None) -> int:
    if text and not (text.isascii() and text.isdecimal()):
        raise ValueError(f"the database is a number, not {text!r}")
    return int(text or 0)


def _login(parts: SplitResult) -> tuple[str | None, str | None]:
    login, at, _ = parts.netloc.rpartition("@")
    user, _, password = login.partition(":") if at else ("", "", "")
    return unquote(user) or None, unquote(password) or None


def _options(parts: SplitResult) -> dict[str, str]:
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no option; known: {', '.join(sorted(_OPTIONS))}")
    return options

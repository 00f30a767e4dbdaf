"""What a failure of Redis means, in words for whoever runs it."""

from __future__ import annotations

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import MasterNotFoundError

from mailer.errors import QueueError
from mailer.queue.address import without_password

Failure = (RedisError, OSError)
"""All that a client may raise (``TimeoutError`` is an ``OSError``)."""

_KINDS: tuple[tuple[tuple[type[BaseException], ...], str, str], ...] = (
    # The first that fits; what is told apart first is the more special class.
    (
        (MasterNotFoundError,),
        "no Sentinel names a master",
        "Check that the Sentinels run, and the master's name after them in [redis] url.",
    ),
    ((AuthenticationError,), "Redis refuses the login", "Check user and password in [redis] url."),
    ((NoPermissionError,), "Redis refuses a command to this user", "Give it access to all keys and commands."),
    ((BusyLoadingError,), "Redis is still loading its data", "Wait until it is done."),
    ((ReadOnlyError,), "this Redis is a read-only replica", "Point [redis] url at the master, or at the Sentinels."),
    ((OutOfMemoryError,), "Redis is out of memory", "Raise maxmemory; its policy must be noeviction."),
    ((InvalidResponse,), "what answers there is no Redis", "Check host and port in [redis] url."),
    ((RedisTimeoutError, TimeoutError), "Redis doesn't answer", "Check that it runs and can be reached."),
    (
        (RedisConnectionError, OSError),
        "Redis can't be reached",
        "Start it, or correct [redis] url; without one, an embedded server is used.",
    ),
)

_NO_LOGIN = ("NOAUTH", "Authentication required", "WRONGPASS", "invalid username-password", "without any password")
_NO_REDIS = ("Protocol Error", "Protocol error", "ProtocolError", "unexpected response")


def queue_error(error: BaseException, url: str) -> QueueError:
    """A client's failure as a ``QueueError``; ``url`` is shown without its password."""
    kind = _kind(error)
    text = str(error).partition(" : <")[0].strip().rstrip(".") or type(error).__name__  # Sentinel: its clients' repr
    for classes, what, todo in _KINDS:
        if issubclass(kind, classes):
            return QueueError(f"{what} ({text})", where=without_password(url), todo=todo)
    return QueueError(f"Redis refuses: {text}", where=without_password(url))


def may_pass(error: BaseException) -> bool:
    """Whether the same may well succeed in a moment: Redis is starting, restarting or failing over."""
    return not issubclass(_kind(error), AuthenticationError | InvalidResponse | NoPermissionError)


def _kind(error: BaseException) -> type[BaseException]:
    """The class the failure belongs to; some come as another one, with the truth in their text only."""
    text = str(error)
    if text.startswith("No master found"):
        return MasterNotFoundError
    if any(sign in text for sign in _NO_LOGIN):
        return AuthenticationError
    return InvalidResponse if any(sign in text for sign in _NO_REDIS) else type(error)

"""A form's body, bounded in size and time."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

BODY_LIMIT = 8192
"""Bytes of a request's body. What RFC 8058 has in it are 26."""

BODY_SECONDS = 10.0
"""How long a request's body may take to arrive."""


class BodyRefused(Exception):
    """The body can't be taken; ``status`` is the answer's, ``headers`` belong to it."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(status)
        self.status, self.headers = status, headers


async def read_body(request: Request) -> bytes:
    """Raises ``BodyRefused``: 413 too large, 408 too slow, 400 cut off. No more than ``BODY_LIMIT`` is kept."""
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_LIMIT:
                    raise BodyRefused(413)
    except TimeoutError:
        raise BodyRefused(408, Connection="close") from None
    except ClientDisconnect:
        raise BodyRefused(400) from None
    return body

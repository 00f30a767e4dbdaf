"""Headers that every answer to a reader has, whoever made it: an answer's own ones are kept. (``mailer.web.webhooks``
answers machines with the same, but for HSTS.)"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

DEFAULTS = {
    "Content-Security-Policy": "default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""For answers that say nothing else: no browser does anything with them but show them."""

HSTS = "max-age=31536000"
"""A year, for this host alone (RFC 6797): what else runs under the domain is none of our business."""


_PLAIN = [(name.lower().encode(), value.encode()) for name, value in DEFAULTS.items()]
_SECURE = [*_PLAIN, (b"strict-transport-security", HSTS.encode())]


class SecurityHeaders:
    """ASGI middleware. HSTS is only said over https, where it means something."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", ()))
                names = {name.lower() for name, _ in own}
                defaults = _SECURE if scope["scheme"] == "https" else _PLAIN
                message["headers"] = own + [pair for pair in defaults if pair[0] not in names]
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)

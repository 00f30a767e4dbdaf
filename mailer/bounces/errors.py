"""What may be wrong with a webhook request. ``status`` is the HTTP status it is answered with."""

from __future__ import annotations

from typing import Literal

from mailer.errors import MailerError


class WebhookError(MailerError):
    """A webhook request can't be used."""

    status: int = 400


class WebhookMalformed(WebhookError):
    """The body is no event of this provider's: wrong charset, no JSON, nested too deep, too many events."""

    status = 400


class WebhookRefused(WebhookError):
    """Nobody proved that the provider sent it. ``status`` is 401 without (or with a wrong) password, else 403."""

    def __init__(self, what: str, *, status: Literal[401, 403] = 403, where: str = "", todo: str = "") -> None:
        super().__init__(what, where=where, todo=todo)
        self.status = status


class WebhookTooLarge(WebhookError):
    """The body is larger than ``mailer.bounces.request.MAX_BODY``, as sent or after gunzip."""

    status = 413


class UnknownProvider(WebhookError):
    """There is no such provider."""

    status = 404


class CertificateNeeded(WebhookError):
    """A signature can be checked only with the certificate at ``url``, which may be fetched (without redirects).

    No refusal: fetch it, and call ``verify_webhook`` again with ``certificates={url: PEM}``. ``status`` is for a
    certificate that can't be fetched: the provider tries again.
    """

    status = 503

    def __init__(self, url: str) -> None:
        super().__init__("the certificate that signed the webhook isn't here", where=url)
        self.url = url

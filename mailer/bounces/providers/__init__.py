"""One module a provider of e-mail: its words in ours, and its way of proving that a request is its own.

To add one: write a module with the two functions of ``Provider``, and name it in ``PROVIDERS``.
"""

from __future__ import annotations

from typing import Protocol

from mailer.bounces.event import Event
from mailer.bounces.providers import (
    brevo,
    generic,
    mailersend,
    mailgun,
    mailjet,
    mailtrap,
    mandrill,
    postal,
    postmark,
    resend,
    sendgrid,
    ses,
    sparkpost,
)
from mailer.bounces.request import Request, Secrets


class Provider(Protocol):
    """What a provider's module offers."""

    def parse(self, request: Request) -> list[Event]:
        """The events of a request; none for a probe. Raises ``WebhookMalformed``."""

    def verify(self, request: Request, secrets: Secrets, now: float) -> None:
        """Raises ``WebhookRefused`` unless the provider sent it; ``now`` is Unix seconds."""


PROVIDERS: dict[str, Provider] = {
    "ses": ses,
    "sendgrid": sendgrid,
    "mailgun": mailgun,
    "postmark": postmark,
    "mailjet": mailjet,
    "sparkpost": sparkpost,
    "brevo": brevo,
    "resend": resend,
    "mailersend": mailersend,
    "mandrill": mandrill,
    "mailtrap": mailtrap,
    "postal": postal,
    "generic": generic,
}
"""By the name in ``/webhooks/{provider}`` and ``[webhooks.<provider>]``."""

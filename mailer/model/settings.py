"""The settings that ``mailer.toml`` and ``MAILER_…`` variables give, as frozen values (DESIGN §5).

Field names are the configuration's keys to the letter. Reading files and the environment is ``mailer.config``'s.
"""

from __future__ import annotations

import re
from datetime import date
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(value: object) -> object:
    """``"48h"``, ``"30m"``, ``"10s"``, ``"2d"`` or a number of seconds, as seconds. Raises ``ValueError``."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", value)
        if not found:
            raise ValueError('give a time such as "90s", "30m", "48h" or "2d"')
        return float(found[1]) * _UNITS[found[2]]
    return value


def per_second(value: object) -> object:
    """``"14/s"``, ``"600/m"``, ``"20000/h"`` or ``"50000/d"`` as messages per second. Raises ``ValueError``."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*/\s*([smhd])\s*", value)
        if not found or float(found[1]) == 0:
            raise ValueError('give a rate such as "14/s", "600/m" or "20000/h"')
        return float(found[1]) / _UNITS[found[2]]
    return value


Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0)]
Rate = Annotated[float, BeforeValidator(per_second), Field(gt=0)]


def is_loopback(host: str) -> bool:
    """Whether a name or IP address means this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Publication(_Section):
    """Who publishes. ``country`` picks the public holidays; ``base_url`` is where the web process is reached."""

    name: str = "My Newsletter"
    from_: str = Field(default="Newsletter <newsletter@example.com>", alias="from")
    reply_to: str = ""
    language: str = "en"
    country: str = ""
    timezone: str = "UTC"
    base_url: str = "http://localhost:8000"
    postal_address: str = ""
    editors: tuple[str, ...] = ()

    @field_validator("base_url")
    @classmethod
    def _no_slash(cls, value: str) -> str:
        if not re.match(r"https?://[^/\s]+", value):
            raise ValueError("give a URL that begins with https:// (or http:// while trying out)")
        return value.rstrip("/")


class Store(_Section):
    """``url`` empty: SQLite in the data directory. ``data``: that directory, relative to the configuration file."""

    url: str = ""
    data: str = "mailer-data"


class Redis(_Section):
    """``url`` empty: an embedded server on a unix socket in the data directory."""

    url: str = ""


class Relay(_Section):
    """An SMTP server that takes our mail. Security ``tls`` is implicit TLS (port 465).

    ``connections`` and ``rate`` are for all workers together. ``warm_up``: messages on the day ``warm_up_since`` (UTC);
    each day after it allows ``warm_up_growth`` times as many as the one before.
    """

    name: str = ""
    host: str
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    allow_plaintext: bool = False
    username: str = ""
    password: SecretStr = SecretStr("")
    connections: int = Field(default=8, ge=1, le=500)
    messages_per_connection: int = Field(default=500, ge=1)
    rate: Rate | None = None
    priority: int = 0
    weight: float = Field(default=1.0, gt=0, le=1000)
    warm_up: int | None = Field(default=None, ge=1)
    warm_up_growth: float = Field(default=1.5, ge=1, le=10)
    warm_up_since: date | None = None
    ca_file: str = ""

    @property
    def label(self) -> str:
        """How errors and logs call it."""
        return self.name or f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it runs on this machine."""
        return is_loopback(self.host)

    @model_validator(mode="after")
    def _warm_up_has_a_day(self) -> Relay:
        if (self.warm_up is None) != (self.warm_up_since is None):
            raise ValueError("warm_up and warm_up_since (its first day, such as 2030-01-31) go together")
        return self

    @model_validator(mode="after")
    def _no_plaintext(self) -> Relay:
        if self.security == "none" and not self.is_loopback and not self.allow_plaintext:
            raise ValueError(
                'security "none" would send mail and password readable over the network: '
                'use "starttls" or "tls", or set allow_plaintext = true'
            )
        return self


class Domain(_Section):
    """Pace towards one destination domain."""

    rate: Rate | None = None
    connections: int | None = Field(default=None, ge=1)


class Delivery(_Section):
    """``retry_after`` is the wait after a first 4xx; each further one doubles it, up to an hour."""

    batch_size: int = Field(default=500, ge=1, le=10000)
    retry_after: Seconds = 60.0
    retry_for: Seconds = 48 * 3600.0
    in_doubt: Literal["hold", "resend"] = "hold"
    freshness: Seconds = 6 * 3600.0
    domains: dict[str, Domain] = {}


class Imap(_Section):
    """The mailbox that ``return_path`` leads to (``host`` empty: none). Security ``tls`` is implicit TLS (port 993).

    ``folder`` is read; what was read is moved to ``processed``.
    """

    host: str = ""
    port: int = Field(default=993, ge=1, le=65535)
    security: Literal["tls", "starttls", "none"] = "tls"
    allow_plaintext: bool = False
    username: str = ""
    password: SecretStr = SecretStr("")
    folder: str = "INBOX"
    processed: str = "Processed"
    ca_file: str = ""

    @model_validator(mode="after")
    def _no_plaintext(self) -> Imap:
        if self.security == "none" and not is_loopback(self.host) and not self.allow_plaintext:
            raise ValueError(
                'security "none" would send mail and password readable over the network: '
                'use "tls" or "starttls", or set allow_plaintext = true'
            )
        return self


class Bounces(_Section):
    """What comes back. ``return_path``: the envelope sender's address, to which a token is added for each recipient
    (empty: the publication's ``from``, as it is)."""

    return_path: str = ""
    imap: Imap = Imap()
    soft_limit: int = Field(default=5, ge=1)
    complaint_alarm: float = Field(default=0.001, gt=0, le=1)
    complaint_pause: float = Field(default=0.003, gt=0, le=1)


class Dkim(_Section):
    """DKIM signing (RFC 6376). ``key`` is a PEM private key."""

    domain: str = ""
    selector: str = ""
    key: SecretStr = SecretStr("")


class Tracking(_Section):
    """Off, and off is the default."""

    opens: bool = False
    clicks: bool = False


class Web(_Section):
    """``secret_key`` signs the tokens in links (empty: made once and kept in the data directory). ``sign_ups_per_day``:
    mails that the sign-up form may cause within 24 hours (0: there is no form)."""

    secret_key: SecretStr = SecretStr("")
    dashboard_password: SecretStr = SecretStr("")
    trusted_proxies: tuple[str, ...] = ()
    sign_ups_per_day: int = Field(default=1000, ge=0)


class Settings(_Section):
    """All of ``mailer.toml``."""

    publication: Publication = Publication()
    store: Store = Store()
    redis: Redis = Redis()
    relays: tuple[Relay, ...] = ()
    delivery: Delivery = Delivery()
    bounces: Bounces = Bounces()
    webhooks: dict[str, dict[str, SecretStr | tuple[SecretStr, ...]]] = {}
    dkim: Dkim = Dkim()
    tracking: Tracking = Tracking()
    web: Web = Web()

"""Who publishes: what a compilation needs to know of the configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """``sender`` and ``reply_to`` are header texts (``reply_to`` may be empty), ``language`` a BCP 47 tag, ``country``
    an ISO 3166 code or empty, ``base_url`` without a slash at its end."""

    sender: str
    reply_to: str
    language: str
    country: str
    timezone: str
    name: str
    base_url: str
    postal_address: str

"""What ``[redis] url`` may say."""

from __future__ import annotations

import pytest

from mailer.errors import ConfigError
from mailer.queue.address import redis_settings, without_password


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"host": "localhost", "port": 6379, "database": 0, "ssl": False}),
        ("redis://db.example.com:7000/3", {"host": "db.example.com", "port": 7000, "database": 3}),
        ("redis://db.example.com?db=4", {"database": 4}),
        ("redis://[::1]:7000", {"host": "::1", "port": 7000}),
        ("redis://:s%40cret%2F@host", {"username": None, "password": "s@cret/", "host": "host"}),
        ("redis://me:p:w@host", {"username": "me", "password": "p:w"}),
        ("rediss://host", {"ssl": True, "ssl_check_hostname": True, "ssl_cert_reqs": "required"}),
        ("rediss://host?ssl_ca_certs=%2Fca.pem", {"ssl_ca_certs": "/ca.pem"}),
        ("rediss://host?ssl_cert_reqs=none", {"ssl_cert_reqs": "none", "ssl_check_hostname": False}),
        ("unix:///run/redis%20x.sock", {"unix_socket_path": "/run/redis x.sock", "database": 0}),
        ("unix://me:pw@/run/redis.sock?db=2", {"username": "me", "password": "pw", "database": 2}),
        (
            "redis+sentinel://:pw@one:1,two/ours?db=5",
            {
                "host": [("one", 1), ("two", 26379)],
                "sentinel": True,
                "sentinel_master": "ours",
                "password": "pw",
                "database": 5,
            },
        ),
    ],
)
def test_url(url: str, expected: dict[str, object]) -> None:
    """Each form gives the settings it says."""
    settings = redis_settings(url)
    assert {name: getattr(settings, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://host", "begins with none of"),
        ("host:6379", "begins with none of"),
        ("redis://host:99999", "Port out of range"),
        ("redis://host/sales", "a number, not 'sales'"),
        ("redis://host?timeout=3", "'timeout' is no option"),
        ("unix://", "names no socket"),
        ("redis+sentinel:///ours", "a host is missing"),
    ],
)
def test_wrong_url(url: str, why: str) -> None:
    """A URL that isn't one is an error that says why, and names the key."""
    with pytest.raises(ConfigError, match=why) as caught:
        redis_settings(url)
    assert caught.value.where == "[redis] url"


def test_password_isnt_shown() -> None:
    """No error shows the password of a URL, a wrong one's neither."""
    assert without_password("redis://me:p@ss@host/0") == "redis://me:***@host/0"
    assert without_password("redis://host/0") == "redis://host/0"
    with pytest.raises(ConfigError) as caught:
        redis_settings("redis://:secret@host/x")
    assert "secret" not in str(caught.value)

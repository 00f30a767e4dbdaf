"""What holds for every answer of the web process, through a real uvicorn: headers, proxies, limits, access log."""

from __future__ import annotations

import logging

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from mailer.web.app import create_app
from mailer.web.client_address import parse_networks
from mailer.web.rate_limit import RateLimit, limited
from tests.servers.web import ask, serving

TRUSTED = parse_networks(["127.0.0.1"])


async def seen(request: Request) -> Response:
    """Who asks, as the routes see it."""
    client = request.client.host if request.client else None
    return PlainTextResponse(f"{client} {request.url.scheme} {request.headers['host']}")


async def defect(_: Request) -> Response:
    """A route with a defect, whose message names somebody."""
    raise RuntimeError("anna.meier@example.com")


async def form(request: Request) -> Response:
    """A form."""
    return PlainTextResponse(await request.body() or b"empty", headers={"Cache-Control": "max-age=1"})


ROUTES = [
    Route("/seen", seen),
    Route("/defect", defect),
    Route("/form/{token:path}", form, methods=["GET", "POST"]),
]


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/seen", 200), ("/x", 404), ("/defect", 500)])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_headers(path: str, status: int, method: str) -> None:
    """Every answer says that nothing may be run, framed, sniffed, kept, or told to others; also a defect's."""
    with serving(create_app("B", "en", {}, ROUTES)) as base:
        answer = ask(base + path, method)
    assert answer.status == status
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert (answer.headers["x-content-type-options"], answer.headers["x-frame-options"]) == ("nosniff", "DENY")
    assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == ("no-referrer", "no-store")
    assert "set-cookie" not in answer.headers
    assert "strict-transport-security" not in answer.headers
    assert "server" not in answer.headers or answer.headers["server"] == "uvicorn"  # ours is started without it


def test_plain_errors() -> None:
    """Errors are a line of plain text, without a word of what broke; another method is 405 and says what is allowed."""
    with serving(create_app("B", "en", {}, ROUTES)) as base:
        broken, missing, other = ask(base + "/defect"), ask(base + "/x"), ask(base + "/seen", "POST", b"")
        slash = ask(base + "/seen/", X_Forwarded_Host="evil.example")
        own = ask(base + "/form/x")
    assert (broken.status, "anna" in broken.text) == (500, False)
    assert all(one.headers["content-type"].startswith("text/plain") for one in (broken, missing, other))
    assert (other.status, set(other.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
    assert (slash.status, "location" in slash.headers) == (404, False)
    assert own.headers["cache-control"] == "max-age=1", "an answer's own header stays"


def test_proxied() -> None:
    """A trusted proxy says who asks, by which scheme and host; over https, browsers are told to stay there."""
    with serving(create_app("B", "en", {}, ROUTES, trusted=TRUSTED)) as base:
        answer = ask(
            base + "/seen",
            X_Forwarded_For="203.0.113.9, 192.0.2.1",
            X_Forwarded_Proto="https",
            X_Forwarded_Host="news.example.com",
        )
        plain = ask(base + "/seen", X_Forwarded_For="192.0.2.1", X_Forwarded_Proto="http")
    assert answer.text == "192.0.2.1 https news.example.com"
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in plain.headers


@pytest.mark.parametrize("trusted", [(), parse_networks(["10.0.0.0/8"])])
def test_spoofed(trusted: tuple[()]) -> None:
    """Whoever isn't a trusted proxy can say what they like."""
    spoof = {
        "X_Forwarded_For": "192.0.2.1",
        "X_Forwarded_Proto": "https",
        "X_Forwarded_Host": "evil.example",
        "Forwarded": "for=192.0.2.1;proto=https;host=evil.example",
        "X_Real_IP": "192.0.2.1",
    }
    with serving(create_app("B", "en", {}, ROUTES, trusted=trusted)) as base:
        answer = ask(base + "/seen", **spoof)
    assert answer.text == f"127.0.0.1 http {base.removeprefix('http://')}"
    assert "strict-transport-security" not in answer.headers


def test_limited() -> None:
    """Too many POSTs of one client are 429 with Retry-After; GETs and other clients go on, and forging helps nobody."""
    limit = RateLimit(0.01, 3)
    routes = limited(ROUTES, limit, lambda seconds: Response(status_code=429, headers={"Retry-After": str(seconds)}))
    with serving(create_app("B", "en", {}, routes, trusted=TRUSTED)) as base:

        def post(client: str) -> tuple[int, str]:
            answer = ask(f"{base}/form/x", "POST", b"a", X_Forwarded_For=client)
            return answer.status, answer.headers.get("retry-after", "")

        assert [post("192.0.2.1")[0] for _ in range(4)] == [200, 200, 200, 429]
        status, wait = post("203.0.113.7, 192.0.2.1")
        assert (status, 90 <= int(wait) <= 100) == (429, True)
        assert post("192.0.2.2")[0] == 200
        assert [post("2001:db8::1")[0], post("2001:db8::2")[0], post("2001:db8::3")[0]] == [200] * 3
        assert (post("2001:db8::ffff:4")[0], post("2001:db8:0:1::1")[0]) == (429, 200)
        assert ask(f"{base}/form/x", X_Forwarded_For="192.0.2.1").status == 200
        assert ask(f"{base}/form/x", "PUT", b"", X_Forwarded_For="192.0.2.1").status == 405


def test_access_log(caplog: pytest.LogCaptureFixture) -> None:
    """A request is logged by its route, never by its path or who asked; health checks aren't."""
    caplog.set_level(logging.INFO, "mailer.web.access_log")
    with serving(create_app("B", "en", {}, ROUTES)) as base:
        ask(f"{base}/form/Geheim")
        ask(f"{base}/form/Geheim/%20forged", "POST", b"Geheim")
        ask(f"{base}/Geheim")
        ask(f"{base}/form/Geheim", "BREW")
        ask(f"{base}/defect")
        ask(f"{base}/healthz")
    lines = [r.getMessage().rsplit(" ", 2)[0] for r in caplog.records if r.name == "mailer.web.access_log"]
    assert lines == [
        "GET /form/{token} 200",
        "POST /form/{token} 200",
        "GET other 404",
        "other /form/{token} 405",
        "GET /defect 500",
    ]

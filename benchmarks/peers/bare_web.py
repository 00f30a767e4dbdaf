"""What a request costs that nothing is done about: uvicorn as the web process has it, and an answer.

python -m benchmarks.peers.bare_web PORT
"""

from __future__ import annotations

import socket
import sys

import uvicorn
from starlette.types import Receive, Scope, Send

from mailer.web.http import server_config


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes the body, and says 200."""
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"7")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Taken.\n"})


if __name__ == "__main__":
    config = server_config(answer)
    config.lifespan = "off"
    uvicorn.Server(config).run([socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=2048)])

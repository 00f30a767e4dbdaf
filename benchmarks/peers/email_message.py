"""As most Python programs do it: Jinja2, the standard library's ``EmailMessage``, aiosmtplib's ``send_message``.

One connection, kept open; templates are compiled once; one message after the other.

    python -m benchmarks.peers.email_message FOLDER PORT COUNT
"""

from __future__ import annotations

import asyncio
import json
import sys
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any

import aiosmtplib
from jinja2 import Environment, Template

from benchmarks.letter import SENDER


async def run(folder: Path, port: int, count: int) -> None:
    """Sends ``count`` messages."""
    people: list[dict[str, Any]] = json.loads((folder / "people.json").read_text(encoding="utf-8"))
    sources: dict[str, str] = json.loads((folder / "jinja.json").read_text(encoding="utf-8"))
    templates = {part: Environment(autoescape=part == "html").from_string(source) for part, source in sources.items()}
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
        for number in range(count):
            await client.send_message(_message(templates, people[number % len(people)]))


def _message(templates: dict[str, Template], person: dict[str, Any]) -> EmailMessage:
    message = EmailMessage()
    message["From"] = SENDER
    message["To"] = f"{person['name']} <{person['email']}>"
    message["Subject"] = templates["subject"].render(person["values"])
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain="example.com")
    message["List-Unsubscribe"] = f"<{person['unsubscribe']}>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(templates["text"].render(person["values"]))
    message.add_alternative(templates["html"].render(person["values"]), subtype="html")
    return message


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))

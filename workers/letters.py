"""The letters that answer sign-ups, from the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from mailer.compile.confirmation import Drawn, LetterPress
from mailer.config import Loaded, secret_key
from mailer.config.facts import letterhead
from mailer.mjml.templates import load_templates, own_templates
from mailer.service.confirmations import Write
from mailer.service.sign_up import Letter, Waiting
from mailer.wire.addresses import ascii_url
from mailer.wire.envelope import Envelope
from mailer.wire.letter import make_letter
from mailer.wire.links import make_confirm_token


def draw_letters(loaded: Loaded) -> Mapping[Letter, Drawn]:
    """All letters, without their tokens. Raises ``CompileError`` with template and line."""
    from mailer.mjml.render import render  # many megabytes, which a worker to whom nobody signs up does without

    publication = loaded.settings.publication
    base_url = ascii_url(publication.base_url)
    press = LetterPress(own_templates(loaded.path), load_templates(), publication, base_url, render)
    return {letter: press.draw(letter.value, linked=letter is Letter.CONFIRM) for letter in Letter}


def letter_writer(loaded: Loaded) -> Write:
    """Makes the letter to somebody who asked. They are drawn with the first one: what is wrong with their templates
    (``mailer web`` says so when it starts) stops no newsletter."""
    secret, head = secret_key(loaded), letterhead(loaded)
    letters = cache(lambda: draw_letters(loaded))

    def write(letter: Letter, waiting: Waiting, now: float) -> Envelope:
        ready = letters()[letter].for_token(make_confirm_token(secret, waiting.number, waiting.asked_at))
        return make_letter(head, waiting.number, waiting.email, ready.subject, ready.text, ready.html, now)

    return write

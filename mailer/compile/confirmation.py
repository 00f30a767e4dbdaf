"""The letters that answer a sign-up, drawn once: only the token in the link is each recipient's own."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mailer.compile.mjml_check import check_mjml
from mailer.compile.plain import WIDTH
from mailer.compile.templates import Drawing, Templates, file_of, spoken
from mailer.errors import CompileError
from mailer.model.settings import Publication

_TOKEN: Final = "zqConfirmationTokenqz"  # noqa: S105 - where a token will stand
_MJML, _TEXT = "confirmation.mjml", "confirmation.txt"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A letter: its subject, its text part, its HTML part."""

    subject: str
    text: str
    html: str

    def for_token(self, token: str) -> Drawn:
        """The letter of the one whose token it is; the letters of a token need no escaping anywhere."""
        return Drawn(self.subject, self.text.replace(_TOKEN, token), self.html.replace(_TOKEN, token))


class LetterPress:
    """Draws a publication's letters in its language, from ``confirmation.mjml``, ``confirmation.txt`` and the labels.

    ``base_url`` is where the web process is reached, in ASCII; ``render`` turns MJML into HTML with the CSS inlined.
    Raises ``CompileError``.
    """

    def __init__(
        self,
        templates: Templates,
        builtin: Templates,
        publication: Publication,
        base_url: str,
        render: Callable[[str], str],
    ) -> None:
        check_mjml(templates.source(_MJML), _MJML)
        language, labels = spoken(templates, builtin, publication.language)
        # Replaced, not formatted: a stray brace in a publisher's own text is no reason to have no letter.
        self._labels = {name: text.replace("{name}", publication.name) for name, text in labels.items()}
        self._link = f"{base_url}/confirm/{_TOKEN}"
        self._render = render
        imprint = self._labels["imprint"].replace("{address}", publication.postal_address)
        self._drawing = Drawing(
            templates,
            {
                "publication": {"name": publication.name},
                "language": language,
                "imprint": imprint if publication.postal_address else "",
            },
            {"wrap": _wrap},
        )

    def draw(self, name: str, *, linked: bool) -> Drawn:
        """A letter whose labels are ``<name>_mail_…``; ``linked``: with the link that confirms."""
        said = {part: self._labels[f"{name}_mail_{part}"] for part in ("title", "text", "note")}
        said["button"] = self._labels[f"{name}_mail_button"] if linked else ""
        link = self._link if linked else ""
        html = self._render(self._drawing.draw(_MJML, **said, link=link))
        text = self._drawing.draw(_TEXT, **said, link=link).strip() + "\n"
        for template, drawn in ((_MJML, html), (_TEXT, text)):
            if linked and link not in drawn:
                raise CompileError(
                    "The letter doesn't have the link that confirms",
                    where=file_of(template),
                    todo="Put {{ link }} there.",
                )
        return Drawn(self._labels[f"{name}_mail_subject"], text, html)


def _wrap(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)

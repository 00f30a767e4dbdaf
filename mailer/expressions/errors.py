"""The error of a single expression, before it is known in which file it stands."""

from __future__ import annotations

from mailer.errors import MailerError


class ExpressionError(MailerError):
    """An expression can't be understood or evaluated. Whoever knows its file and line turns it into a ``Problem``."""

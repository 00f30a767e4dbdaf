"""Templates on disk: those that come with the package, and a publisher's own copy over them."""

from __future__ import annotations

from pathlib import Path

import mailer
from mailer.compile.templates import Templates
from mailer.errors import CompileError

_PACKAGE = Path(mailer.__file__).parent
_PATTERNS = ("*.mjml", "*.txt", "*.toml", "blocks/*.mjml", "text/*.txt", "web/*.html")


def builtin_directory() -> Path:
    """Where the built-in templates are: package data in an installed wheel, ``templates/`` in a checkout."""
    installed = _PACKAGE / "_templates"
    return installed if installed.is_dir() else _PACKAGE.parent / "templates"


def sample_issue() -> str:
    """The text of the built-in sample issue, which uses every block."""
    return (builtin_directory() / "sample" / "issue.md").read_text(encoding="utf-8")


def load_templates(directory: Path | None = None) -> Templates:
    """The built-in templates, each replaced by the file of the same name in ``directory``, if it has one.

    Raises ``CompileError`` for a file that can't be read, and where the built-in ones are missing.
    """
    sources = _read(builtin_directory())
    if not sources:
        raise CompileError("The built-in templates are missing", todo="Install the package again.")
    if directory is not None:
        if not directory.is_dir():
            raise CompileError("There is no such folder of templates", where=str(directory))
        sources |= _read(directory)
    return Templates(sources)


def own_templates(configuration: Path | None) -> Templates:
    """The templates of a publisher: a folder ``templates`` beside the configuration replaces built-in ones."""
    own = configuration.parent / "templates" if configuration else None
    return load_templates(own if own and own.is_dir() else None)


def _read(directory: Path) -> dict[str, str]:
    sources: dict[str, str] = {}
    for pattern in _PATTERNS:
        for path in sorted(directory.glob(pattern)):
            try:
                sources[path.relative_to(directory).as_posix()] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise CompileError(f"This template can't be read: {error}", where=str(path)) from None
    return sources

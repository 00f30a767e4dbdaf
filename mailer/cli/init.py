"""``mailer init``."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from mailer.cli.common import json_option
from mailer.cli.output import out, print_json
from mailer.cli.scaffold import CONFIG_TEXT
from mailer.config import CONFIG_NAME
from mailer.errors import ConfigError
from mailer.mjml.templates import builtin_directory, sample_issue


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=Path())
@json_option
def command(directory: Path, as_json: bool) -> None:
    """Write mailer.toml, a sample issue and a copy of the templates to DIRECTORY (default: here).

    A file that is there already is left as it is.
    """
    written: list[Path] = []
    kept: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in ((CONFIG_NAME, CONFIG_TEXT), ("issues/sample.md", sample_issue())):
            (written if _write(directory / name, text) else kept).append(directory / name)
        for source in sorted(_templates()):
            target = directory / "templates" / source.relative_to(builtin_directory())
            (written if _copy(source, target) else kept).append(target)
    except OSError as error:
        raise ConfigError(f"can't be written: {error.strerror}", where=str(error.filename or directory)) from None
    if as_json:
        print_json({"written": [str(path) for path in written], "kept": [str(path) for path in kept]})
        return
    drawn = [path for path in written if "templates" in path.parts]
    for path in written:
        if path not in drawn:
            out.print(f"wrote  {path}", markup=False)
    if drawn:
        out.print(f"wrote  {directory / 'templates'} ({len(drawn)} files)", markup=False)
    if kept:
        out.print(f"kept   {len(kept)} that were there already", markup=False)
    there = "" if directory == Path() else f"cd {directory}, "
    out.print(f"\nNext: {there}edit {CONFIG_NAME}, then: mailer check issues/sample.md", markup=False)


def _templates() -> list[Path]:
    root = builtin_directory()
    return [path for path in root.rglob("*") if path.is_file() and path.relative_to(root).parts[0] != "sample"]


def _write(path: Path, text: str) -> bool:
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return True


def _copy(source: Path, target: Path) -> bool:
    if target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return True

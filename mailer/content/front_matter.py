"""The front matter: which keys there are, and what their values must be (DESIGN §3)."""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from email.utils import parseaddr
from pathlib import PurePath

from mailer.content.balance import unbalanced
from mailer.content.document import FrontMatter
from mailer.content.draft import Draft
from mailer.content.front_yaml import Entry, read_front_yaml
from mailer.content.scan import scan
from mailer.errors import AddressError, nearest
from mailer.expressions.locale import language_tag
from mailer.model.address import parse_address

REQUIRED = ("title", "subject", "date")
OPTIONAL = ("preheader", "author", "language", "slug", "from", "reply_to", "segment", "tags")
MAX_SLUG = 60
"""Characters of a slug; it is part of a send's name, of Message-IDs and of links."""

_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_GERMAN_DATE = re.compile(r"(\d{1,2})\.\s*(\d{1,2})\.\s*(\d{4})")
_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_START = "Begin the file with ---, then title:, subject: and date:, then --- again."


def split_front_matter(lines: Sequence[str], draft: Draft) -> tuple[Sequence[str], int]:
    """The front matter's lines, and the index of the body's first line. Notes where there is none."""
    if not lines or lines[0].rstrip() != "---":
        draft.problem("The issue has no front matter", 1, _START)
        return (), 0
    for index, line in enumerate(lines[1:], start=1):
        if line.rstrip() in ("---", "..."):
            return lines[1:index], index + 1
    draft.problem("The front matter is never closed", 1, "Write --- on a line of its own after it.")
    return (), len(lines)


def parse_front_matter(lines: Sequence[str], language: str, draft: Draft) -> FrontMatter | None:
    """The front matter from its lines, the first of which is line 2 of the file. Notes every problem.

    ``language`` is used where the front matter names none. None when there is nothing to work with.
    """
    if (entries := read_front_yaml(lines, 2, draft)) is None:
        return None
    misspelt = _check_keys(entries, draft)
    texts = {key: entry for key, entry in entries.items() if isinstance(entry.value, str) and not entry.wrong}
    for key in REQUIRED:
        if (key in texts and not _one_line(texts[key])) or (key not in entries and key not in misspelt):
            sample = "2026-11-23" if key == "date" else "…"
            line = entries[key].line if key in entries else 1
            draft.problem(f"The front matter has no {key}", line, f"Add a line {key}: {sample}.")
    return FrontMatter(
        title=_plain(texts, "title", draft),
        subject=_with_tokens(texts, "subject", draft),
        preheader=_with_tokens(texts, "preheader", draft),
        author=_plain(texts, "author", draft),
        date=_date(texts, draft),
        language=_language(texts, language, draft),
        slug=_slug(texts, draft),
        sender=_sender(texts, draft),
        reply_to=_reply_to(texts, draft),
        segment=_segment(texts, draft),
        tags=_tags(entries, draft),
    )


def _check_keys(entries: Mapping[str, Entry], draft: Draft) -> set[str]:
    """Notes keys that don't exist or can't have such a value; gives those that were probably meant."""
    known = (*REQUIRED, *OPTIONAL)
    meant: set[str] = set()
    for key, entry in entries.items():
        if key not in known:
            draft.problem(f"The front matter has no key '{key[:60]}'", entry.line, nearest(key[:60].lower(), known))
            meant.update(get_close_matches(key[:60].lower(), known, n=1))
        elif not isinstance(entry.value, str) and key != "tags":
            draft.problem(f"'{key}' must be a text, not a list", entry.line, f"Write {key}: and one text.")
        elif entry.comment and key in ("title", "subject", "preheader", "author"):
            todo = "Put the value in quotation marks, or the comment on a line of its own."
            draft.problem(f"YAML takes what follows # in '{key}' for a comment", entry.line, todo)
    return meant


def _plain(texts: Mapping[str, Entry], key: str, draft: Draft) -> str:
    if key not in texts:
        return ""
    text = _one_line(texts[key])
    if "{{" in text or "{%" in text:
        draft.problem(f"'{key}' can hold no expression", texts[key].line, "Only subject and preheader can.")
    return text


def _with_tokens(texts: Mapping[str, Entry], key: str, draft: Draft) -> str:
    if key not in texts:
        return ""
    entry = texts[key]
    found = scan(_one_line(entry))
    if found.problem:
        draft.problem(found.problem[0], entry.line, found.problem[1])
    if found.open_comment:
        draft.problem("The comment {# is never closed", entry.line, "Write #} after it.")
    text = draft.text(found.segments, entry.line)
    for problem in unbalanced(draft.controls(text), f"the {key}"):
        draft.problem(*problem)
    return text


def _date(texts: Mapping[str, Entry], draft: Draft) -> datetime.date:
    nothing = datetime.date(1970, 1, 1)
    if "date" not in texts or not (text := _one_line(texts["date"])):
        return nothing
    try:
        return datetime.datetime.fromisoformat(text).date()
    except ValueError:
        found = _GERMAN_DATE.fullmatch(text)
        sample = f"{found[3]}-{int(found[2]):02}-{int(found[1]):02}" if found else "2026-11-23"
        draft.problem(f"'{text[:60]}' is no date", texts["date"].line, f"Write year-month-day: {sample}.")
        return nothing


def _language(texts: Mapping[str, Entry], default: str, draft: Draft) -> str:
    text = _plain(texts, "language", draft)
    if not text:
        return default
    tag = language_tag(text)
    if tag is None:
        draft.problem(f"'{text[:60]}' is no language", texts["language"].line, "Write a code such as de, en or de-AT.")
    return tag or default


def _slug(texts: Mapping[str, Entry], draft: Draft) -> str:
    if given := _plain(texts, "slug", draft):
        if not _SLUG.fullmatch(given) or len(given) > MAX_SLUG:
            todo = f"Use a–z, 0–9 and - (at most {MAX_SLUG}), such as '{_slugify(given) or 'issue-1'}'."
            draft.problem(f"The slug '{given[:60]}' can't stand in a link", texts["slug"].line, todo)
        return given
    slug = _slugify(PurePath(draft.file).stem)
    if not slug:
        draft.problem("The file's name gives no slug", 1, "Add a line slug: with a–z, 0–9 and -.")
    return slug


def _slugify(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.lower().translate(_LETTERS)).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain)[: MAX_SLUG + 1].strip("-")[:MAX_SLUG].strip("-")


def _sender(texts: Mapping[str, Entry], draft: Draft) -> str:
    text = _plain(texts, "from", draft)
    if text:
        _, address = parseaddr(text)
        _check_address("from", address or text, "Write it like Name <name@example.com>.", texts, draft)
    return text


def _reply_to(texts: Mapping[str, Entry], draft: Draft) -> str:
    text = _plain(texts, "reply_to", draft)
    if text:
        _, address = parseaddr(text)
        _check_address("reply_to", address or text, "Write it like name@example.com.", texts, draft)
    return text


def _check_address(key: str, address: str, todo: str, texts: Mapping[str, Entry], draft: Draft) -> None:
    try:
        parse_address(address)
    except AddressError as error:
        draft.problem(f"'{key}' holds no e-mail address: {error.what}", texts[key].line, todo)


def _segment(texts: Mapping[str, Entry], draft: Draft) -> str:
    text = _plain(texts, "segment", draft)
    if text and "{{" not in text and "{%" not in text:
        draft.segment(text, texts["segment"].line)
    return text


def _tags(entries: Mapping[str, Entry], draft: Draft) -> tuple[str, ...]:
    if "tags" not in entries:
        return ()
    value = entries["tags"].value
    parts = value.split(",") if isinstance(value, str) else value
    tags = tuple(tag for part in parts if (tag := " ".join(part.split())))
    if any("{{" in tag or "{%" in tag for tag in tags):
        draft.problem("'tags' can hold no expression", entries["tags"].line, "Only subject and preheader can.")
    return tags


def _one_line(entry: Entry) -> str:
    return " ".join(str(entry.value).split())

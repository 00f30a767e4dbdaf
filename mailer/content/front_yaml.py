"""The YAML between the two ``---``: its keys, their values as they are written, and their lines."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import yaml

from mailer.content.draft import Draft

_COMMENT = re.compile(r"[ \t]+#")
_NULL = "tag:yaml.org,2002:null"


@dataclass(frozen=True, slots=True)
class Entry:
    """One key's value: a text, or several (a YAML list). ``wrong``: it is neither, which is noted already.

    ``comment``: a comment follows the unquoted text on its line.
    """

    value: str | tuple[str, ...]
    line: int
    wrong: bool = False
    comment: bool = False


def read_front_yaml(lines: Sequence[str], first: int, draft: Draft) -> dict[str, Entry] | None:
    """Keys and values, in order; ``first`` is the number of the first line in the file.

    Values are texts as written: ``no`` isn't turned into a truth value, nor ``1_000`` into a number. None when the YAML
    can't be read, which is then noted.
    """
    source = "\n".join(lines)
    starts = [0, *accumulate(len(line) + 1 for line in lines[:-1])]

    def line_at(index: int) -> int:
        return first + bisect_right(starts, index) - 1

    try:
        root = yaml.compose(source, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = line_at(mark.index) if mark else first
        _unreadable(error.problem or "it is no YAML", line, lines[line - first] if lines else "", draft)
        return None
    except (yaml.YAMLError, RecursionError, ValueError):
        _unreadable("it can't be understood", first, "", draft)
        return None
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        draft.problem("The front matter is no list of key: value", first, "Write a line such as title: My issue.")
        return None
    return _entries(root, source, line_at, draft)


def _entries(root: yaml.MappingNode, source: str, line_at: Callable[[int], int], draft: Draft) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for key, value in root.value:
        line = line_at(key.start_mark.index)
        name = key.value if isinstance(key, yaml.ScalarNode) else ""
        if not name:
            draft.problem("A key in the front matter is no plain word", line, "Write a line such as title: My issue.")
            continue
        if name in entries:
            draft.problem(f"'{name[:60]}' is given twice in the front matter", line, "Remove one of them.")
        text = _text(value)
        if text is None:
            _not_text(name, value, line, draft)
        plain = isinstance(value, yaml.ScalarNode) and value.style is None
        comment = plain and _COMMENT.match(source, value.end_mark.index) is not None
        entries[name] = Entry("" if text is None else text, line, wrong=text is None, comment=comment)
    return entries


def _text(node: yaml.Node) -> str | tuple[str, ...] | None:
    if isinstance(node, yaml.ScalarNode):
        return "" if node.tag == _NULL else str(node.value)
    if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
        return tuple(str(item.value) for item in node.value if item.tag != _NULL)
    return None


def _not_text(name: str, node: yaml.Node, line: int, draft: Draft) -> None:
    braces = isinstance(node, yaml.MappingNode) and node.flow_style
    todo = f'Put it in quotation marks: {name[:60]}: "{{{{ … }}}}".' if braces else "Write a text after the colon."
    draft.problem(f"The value of '{name[:60]}' is no text", line, todo)


def _unreadable(problem: str, line: int, text: str, draft: Draft) -> None:
    todo = "Write key: value, one a line."
    if "{{" in text or "{%" in text or text.count(":") > 1 or "#" in text:
        todo = 'Put the value in quotation marks: key: "value".'
    if problem.startswith("mapping values"):
        problem = "a colon with a blank after it stands inside a value"
    draft.problem(f"The front matter can't be read: {problem}", line, todo)

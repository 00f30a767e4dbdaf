from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.compile.plain import Reading, to_text, wrap
from mailer.content.tokens import PATTERN, token

SHARE, AGAIN, NAME = (token(number, "0123abcd") for number in range(3))
SOURCES = {SHARE: "links.share", AGAIN: "links.share", NAME: "subscriber.first_name"}
READING = Reading(fold=lambda key: key, source=lambda key: SOURCES.get(key, key), width=lambda key: 12)


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("# A\n\n## Bü\n\n### C", "A\n=\n\nBü\n--\n\nC"),
        ("a **b** *c* `d` ~~e~~", "a b c d e"),
        ("one\ntwo  \nthree", "one two\nthree"),
        ("see [here](https://e.com/a?b=1&c=2).", "see here (https://e.com/a?b=1&c=2)."),
        ("see <https://e.com/>.", "see https://e.com/."),
        ("write [a@e.com](mailto:a@e.com) or [a@e.com](mailto:a@e.com?subject=x)", "write a@e.com or a@e.com"),
        (f"[{SHARE}]({AGAIN})", SHARE),
        ("[A](https://a.com) | [B](https://b.com)", "A: https://a.com\nB: https://b.com"),
        ("🔗 [A](https://a.com)", "A: https://a.com"),
        ("![a *cat*](x.png) sits", "a cat sits"),
        ("- a\n- b\n  - c\n\n1. d\n2. e", "- a\n- b\n  - c\n\n1. d\n2. e"),
        ("- a\n\n- b", "- a\n\n- b"),
        ("> a\n>\n> b", "> a\n>\n> b"),
        ("```\nx  y\n```", "    x  y"),
        ("a\n\n---\n\nb", "a\n\n* * *\n\nb"),
        ("| K | V |\n|--|--|\n| long | 1 |\n| s | 22 |", "K     V\n----  --\nlong  1\ns     22"),
        ("a <b>c</b> &amp; d", "a <b>c</b> & d"),
    ],
)
def test_text(markdown: str, text: str) -> None:
    """Markdown reads as text that a person might have written."""
    assert to_text(markdown, READING) == text


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(["a", "wort", "Donaudampfschiff", NAME, SHARE, "https://example.com/a/very/long/path"]))
)
def test_wrap(words: list[str]) -> None:
    """Lines break between words only, never inside a token or URL, and are no wider than asked where words allow it."""
    lines = wrap(" ".join(words), READING, 30).split("\n")
    assert " ".join(lines).split() == words
    assert all(READING.columns(line) <= 30 or " " not in line for line in lines)
    assert sum(len(PATTERN.findall(line)) for line in lines) == sum(word in SOURCES for word in words)


def test_hanging() -> None:
    """Later lines of a paragraph are indented where that is asked."""
    assert wrap("Montag: aaa bbb ccc", READING, 12, "    ") == "Montag: aaa\n    bbb ccc"

from __future__ import annotations

import pytest

from mailer.compile.mjml_check import check_templates
from mailer.compile.templates import Drawing, Templates, block_shapes
from mailer.content.shapes import BlockShape
from mailer.errors import CompileError


@pytest.mark.parametrize(
    ("first_line", "shape"),
    [
        ("{# attributes: #}", BlockShape("box")),
        ("{#- attributes: src alt href? -#}", BlockShape("box", frozenset({"src", "alt"}), frozenset({"href"}))),
        ("{# attributes: title?; body: raw #}", BlockShape("box", frozenset(), frozenset({"title"}), raw=True)),
        ("{# attributes: ; body: none; placement: section #}", BlockShape("box", empty=True)),
    ],
)
def test_shape(first_line: str, shape: BlockShape) -> None:
    """A block is known by its two files, and its shape is what its first line declares."""
    templates = Templates({"blocks/box.mjml": f"{first_line}\n<mj-text />", "text/box.txt": ""})
    assert block_shapes(templates) == {"box": shape}


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (
            {"blocks/box.mjml": "<mj-text />", "text/box.txt": ""},
            "templates/blocks/box.mjml:1: A block's template begins with",
        ),
        ({"blocks/box.mjml": "{# attributes: Ä #}", "text/box.txt": ""}, "'Ä' is no attribute's name"),
        ({"blocks/box.mjml": "{# attributes: ; body: rew #}", "text/box.txt": ""}, "'body: rew' means nothing here"),
        ({"blocks/box.mjml": "{# attributes: #}"}, "Add templates/text/box.txt"),
    ],
)
def test_ill_formed(sources: dict[str, str], message: str) -> None:
    """A block template that is ill-formed is named, with what it should look like."""
    with pytest.raises(CompileError) as caught:
        block_shapes(Templates(sources))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a\n{{ nope }}", "templates/x.mjml:2: 'nope' is undefined"),
        ("a\n{% if %}", "templates/x.mjml:2: "),
        ("a\n\n{{ 1 / 0 }}", "templates/x.mjml:3: division by zero"),
        ("{{ ''.__class__.__mro__ }}", "templates/x.mjml:1: "),
        ("{% include 'gone.mjml' %}", "templates/x.mjml:1: gone.mjml"),
        ("{{ word | no_such }}", "templates/x.mjml:1: No filter named 'no_such'"),
    ],
)
def test_template_errors(source: str, message: str) -> None:
    """An error in a template names the template and its line, and never shows a traceback."""
    with pytest.raises(CompileError) as caught:
        Drawing(Templates({"x.mjml": source}), {"word": "w"}, {}).draw("x.mjml")
    assert str(caught.value).startswith(message)


def test_escaping() -> None:
    """Values are escaped for XML in MJML templates and stay as they are in text templates."""
    drawing = Drawing(Templates({"x.mjml": "{{ word }}", "x.txt": "{{ word }}"}), {"word": '<a> & "b"'}, {})
    assert (drawing.draw("x.mjml"), drawing.draw("x.txt")) == ("&lt;a&gt; &amp; &#34;b&#34;", '<a> & "b"')


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("\n<mj-txt>a</mj-txt>", "templates/x.mjml:2: <mj-txt> is no MJML element. Did you mean 'mj-text'?"),
        ("{# <mj-no> #}\n<!-- <mj-no> -->\n<SCRIPT src='x'>", "templates/x.mjml:3: <script> can't stand in a template"),
        ("<mj-include path='x' />", "templates/x.mjml:1: <mj-include> can't stand in a template. Use Jinja's"),
        ("<mj-raw><link href='https://fonts.example'/></mj-raw>", "templates/x.mjml:1: <link> would load something"),
    ],
)
def test_check(source: str, message: str) -> None:
    """What mrml would pass in silence is refused before it, by name and line."""
    with pytest.raises(CompileError) as caught:
        check_templates(Templates({"x.mjml": source}))
    assert str(caught.value).startswith(message)


def test_labels() -> None:
    """Labels come from the most exact table that has them: region, language, English."""
    templates = Templates({"labels.toml": "[en]\na='1'\nb='1'\nc='1'\n[de]\nb='2'\nc='2'\n[de-AT]\nc='3'\n"})
    assert templates.labels("de-AT") == {"a": "1", "b": "2", "c": "3"}
    assert templates.labels("fr") == {"a": "1", "b": "1", "c": "1"}

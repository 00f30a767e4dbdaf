"""The body of an issue: its nodes drawn by templates, as MJML and as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from markupsafe import Markup

from mailer.compile.calendar import calendar_rows
from mailer.compile.markdown import to_html
from mailer.compile.mjml_check import check_mjml
from mailer.compile.plain import Reading, to_text
from mailer.compile.templates import Drawing, Templates, file_of
from mailer.compile.token_table import TokenTable, tokens_in
from mailer.compile.values import IssueValues
from mailer.content.document import Block, Conditional, Node, Prose
from mailer.errors import CompileError
from mailer.expressions.expression import Scope


@dataclass(frozen=True, slots=True)
class Group:
    """A part of the letter: ``rows`` for a column, or whole ``sections`` where a block draws its own."""

    mjml: Markup
    rows: bool


def prune(nodes: Sequence[Node], tokens: TokenTable, values: IssueValues) -> tuple[Node, ...]:
    """The nodes without conditions of issue scope: what is true stays, what is false goes."""
    kept: list[Node] = []
    for node in nodes:
        match node:
            case Prose():
                kept.append(node)
            case Block():
                kept.append(replace(node, body=prune(node.body, tokens, values)))
            case Conditional():
                branches = _reachable(node, tokens, values)
                if branches and branches[0][0] is None:
                    kept.extend(branches[0][1])
                elif branches:
                    kept.append(replace(node, branches=tuple(branches)))
    return tuple(kept)


def _reachable(node: Conditional, tokens: TokenTable, values: IssueValues) -> list[tuple[str | None, tuple[Node, ...]]]:
    branches: list[tuple[str | None, tuple[Node, ...]]] = []
    for condition, inner in node.branches:
        certain = condition is None
        if condition is not None:
            expression = tokens.expression(condition)
            if expression.scope is Scope.ISSUE:
                if not values.evaluate(expression):
                    continue
                certain = True
        branches.append((None if certain else condition, prune(inner, tokens, values)))
        if certain:
            break
    return branches


class Body:
    """Draws pruned nodes; a block whose template draws nothing leaves no gap.

    ``day`` is how a calendar writes a day, such as ``{weekday} {day}``.
    """

    def __init__(
        self,
        templates: Templates,
        drawing: Drawing,
        tokens: TokenTable,
        values: IssueValues,
        reading: Reading,
        day: str,
    ) -> None:
        self._declarations = templates.blocks
        self._drawing, self._tokens, self._values, self._reading, self._day = drawing, tokens, values, reading, day

    def groups(self, nodes: Sequence[Node]) -> list[Group]:
        """The nodes as MJML, neighbouring rows in one group. A condition is carried by comments between the parts."""
        groups: list[Group] = []
        for node in nodes:
            match node:
                case Prose():
                    html = self._html([node], "")
                    parts = [Group(Markup(self._drawing.draw("prose.mjml", body=html)), True)]  # noqa: S704
                case Block():
                    parts = [Group(self._block(node), self._declarations[node.name].placement == "row")]
                case Conditional():
                    parts = self._conditional(node)
            for part in parts:
                if not part.mjml:
                    continue
                if groups and groups[-1].rows and part.rows:
                    groups[-1] = Group(groups[-1].mjml + part.mjml, True)
                else:
                    groups.append(part)
        return groups

    def text(self, nodes: Sequence[Node]) -> str:
        """The nodes as text, a blank line between them.

        The blank line stands inside a condition, so that none is left over where the condition doesn't hold.
        """
        out, begun = "", False
        drawn = [(node, "" if isinstance(node, Conditional) else self._node_text(node)) for node in nodes]
        shown = [(node, text) for node, text in drawn if text or isinstance(node, Conditional)]
        for index, (node, said) in enumerate(shown):
            if not isinstance(node, Conditional):
                out += ("\n\n" if begun else "") + said
                begun = True
                continue
            *controls, end = self._tokens.controls(node)
            more = index < len(shown) - 1
            for control, (_, inner) in zip(controls, node.branches, strict=True):
                text = self.text(inner)
                before, after = ("\n\n", "") if begun else ("", "\n\n" if more else "")
                out += control + (before + text + after if text else "")
            out += end
        return out

    def _conditional(self, node: Conditional) -> list[Group]:
        branches = [self.groups(inner) for _, inner in node.branches]
        rows = all(part.rows for branch in branches for part in branch)
        parts: list[Group] = []
        *controls, end = self._tokens.controls(node)
        for control, branch in zip(controls, branches, strict=True):
            parts += [Group(_raw(control), rows), *branch]
        return [*parts, Group(_raw(end), rows)]

    def _block(self, block: Block) -> Markup:
        declaration = self._declarations[block.name]
        body: object = ""
        match declaration.body:
            case "markdown":
                body = self._html(block.body, block.name)
            case "rows":
                groups = self.groups(block.body)
                if not all(group.rows for group in groups):
                    raise CompileError(
                        f"'{block.name}' can't hold a block that draws its own sections", where=self._at(block)
                    )
                body = Markup("").join(group.mjml for group in groups)
            case "raw":
                body = _markdown(block)
        drawn = self._drawing.draw(f"blocks/{block.name}.mjml", body=body, **self._attributes(block))
        if not drawn.strip():
            return Markup()
        if isinstance(body, Markup) and (lost := Counter(tokens_in(body)) - Counter(tokens_in(drawn))):
            entry = self._tokens[next(iter(lost))]
            raise CompileError(
                f"The block '{block.name}' doesn't show all of its text: an expression of line {entry.line} is missing",
                where=self._at(block),
                todo=f"Look at what {file_of(f'blocks/{block.name}.mjml')} does with {{{{ body }}}}.",
            )
        check_mjml(drawn, f"blocks/{block.name}.mjml")
        return Markup(drawn)  # noqa: S704

    def _node_text(self, node: Prose | Block) -> str:
        if isinstance(node, Prose):
            return to_text(node.markdown, self._reading)
        raw = self._declarations[node.name].body == "raw"
        body = self._reading.text(_markdown(node)) if raw else self.text(node.body)
        attributes = {
            key: self._reading.text(value) if isinstance(value, str) else value
            for key, value in self._attributes(node).items()
        }
        return self._drawing.draw(f"text/{node.name}.txt", body=body, **attributes).strip()

    def _attributes(self, block: Block) -> dict[str, object]:
        """What a block's templates see: its attributes (those left out are empty) and its calendar."""
        shape = self._declarations[block.name].shape
        if missing := shape.required - block.attributes.keys():
            raise CompileError(f"'{block.name}' needs the attribute '{min(missing)}'", where=self._at(block))
        rows = partial(calendar_rows, block, self._tokens.file, self._values.locale, self._day, self._reading)
        return {**dict.fromkeys(shape.optional, ""), **block.attributes, "calendar": rows}

    def _html(self, nodes: Sequence[Node], block: str) -> Markup:
        out = ""
        for node in nodes:
            match node:
                case Prose():
                    out += self._prose(node)
                case Conditional():
                    *controls, end = self._tokens.controls(node)
                    for control, (_, inner) in zip(controls, node.branches, strict=True):
                        out += f"<!--{control}-->{self._html(inner, block)}"
                    out += f"<!--{end}-->"
                case Block():
                    raise CompileError(
                        f"The block '{node.name}' can't stand inside '{block}'",
                        where=self._at(node),
                        todo=f"Move it before or after '{block}'.",
                    )
        # to_html escapes what was HTML in the Markdown.
        return Markup(out)  # noqa: S704

    def _prose(self, node: Prose) -> str:
        html = to_html(node.markdown)
        if sorted(tokens_in(html)) != sorted(tokens_in(node.markdown)):
            raise CompileError(
                "An expression was lost or doubled by the Markdown around it",
                where=self._at(node),
                todo="Write the link or image with the expression in one piece: [words]({{ … }}).",
            )
        return html

    def _at(self, node: Node) -> str:
        return f"{self._tokens.file}:{node.line}"


def _markdown(block: Block) -> str:
    """The source of a raw block's body."""
    return "\n".join(node.markdown for node in block.body if isinstance(node, Prose))


def _raw(control: str) -> Markup:
    return Markup("<mj-raw><!--{}--></mj-raw>").format(control)

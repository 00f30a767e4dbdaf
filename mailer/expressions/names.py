"""Which names an expression may read, and which scope each belongs to (DESIGN §3)."""

from __future__ import annotations

from dataclasses import dataclass

from mailer.errors import nearest
from mailer.expressions.errors import ExpressionError
from mailer.expressions.expression import Scope
from mailer.model.people import COLUMNS, COMPUTED

ISSUE_NAMES = {
    "issue": ("title", "date", "week", "word_count", "reading_minutes", "slug", "url"),
    "publication": ("name", "reply_to", "base_url", "postal_address", "language"),
    "audience": ("count", "delta"),
    "referrals": ("leaders",),
}
"""Issue scope: evaluated once, while compiling."""

LINKS = ("unsubscribe", "preferences", "web_version", "share")
"""Recipient scope: the recipient's own links."""

ROOTS = (*ISSUE_NAMES, "subscriber", "links")
"""What a name may begin with."""


@dataclass(frozen=True, slots=True)
class Names:
    """The known names. ``attributes`` are those that imports have brought, beyond the columns every subscriber has."""

    attributes: frozenset[str] = frozenset()

    def members(self, root: str) -> tuple[str, ...]:
        """What may stand after ``root.``; empty for a root that doesn't exist."""
        match root:
            case "subscriber":
                return (*COLUMNS, *COMPUTED, *sorted(self.attributes.difference(COLUMNS, COMPUTED)))
            case "links":
                return LINKS
        return ISSUE_NAMES.get(root, ())

    def all(self) -> tuple[str, ...]:
        """Every dotted name."""
        return tuple(f"{root}.{member}" for root in ROOTS for member in self.members(root))

    def check(self, root: str, member: str) -> None:
        """Raises ``ExpressionError`` with the nearest known name unless ``root.member`` is one."""
        if member in self.members(root) and not member.startswith("_"):
            return
        if root in ROOTS:
            raise ExpressionError(
                f"'{root}' has no '{member[:60]}'", todo=_nearest(f"{root}.{member}", root, self.members(root))
            )
        raise ExpressionError(f"There is no '{root[:60]}.{member[:60]}'", todo=self._elsewhere(f"{root}.{member}"))

    def missing(self, word: str) -> ExpressionError:
        """The error for a word that stands alone where a dotted name is wanted."""
        if word in ROOTS:
            members = ", ".join(self.members(word))
            return ExpressionError(f"'{word}' alone is no value", todo=f"Write {word}. and one of: {members}.")
        homes = [f"{root}.{word}" for root in ("subscriber", *ROOTS) if word in self.members(root)]
        todo = f"Did you mean '{homes[0]}'?" if homes else self._elsewhere(word)
        return ExpressionError(f"There is no '{word[:60]}'", todo=todo)

    def _elsewhere(self, word: str) -> str:
        todo = nearest(word[:60], self.all())
        return todo if todo.startswith("Did") else f"A name begins with one of: {', '.join(ROOTS)}."


def scope_of(root: str) -> Scope:
    """The scope of the names that begin with a root."""
    return Scope.ISSUE if root in ISSUE_NAMES else Scope.RECIPIENT


def _nearest(word: str, root: str, members: tuple[str, ...]) -> str:
    dotted = nearest(word.removeprefix(f"{root}.")[:60], members)
    return dotted.replace("Did you mean '", f"Did you mean '{root}.")

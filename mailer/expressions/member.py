"""What ``owner.name`` means in an expression, the same with and without Jinja2."""

from __future__ import annotations

from collections.abc import Mapping

from mailer.model.people import Subscriber


def member(owner: object, name: str) -> object:
    """The member of a subscriber, a mapping or a plain object; an empty text where there is none.

    Of a subscriber only what ``Subscriber.value`` gives can be reached; of an object only public data, never a method.
    """
    if isinstance(owner, Subscriber):
        return owner.value(name)
    if isinstance(owner, Mapping):
        return owner.get(name, "")
    found = "" if name.startswith("_") else getattr(owner, name, "")
    return "" if callable(found) else found

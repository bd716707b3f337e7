"""Who is looking at a page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cloud.api.auth import VISITOR, Person, Scope

__all__ = ["VISITOR", "Visit"]


@dataclass(frozen=True, slots=True)
class Visit:
    """One open page. Who is looking is asked anew each time: a token that is revoked ends what its pages may do at once."""

    _who: Callable[[], Person | None]

    @property
    def person(self) -> Person | None:
        """Whose session it is; None once it has ended."""
        return self._who()

    def may(self, scope: Scope) -> bool:
        """Return whether who is looking may do `scope` right now. Ask before every act, not when the page is drawn alone."""
        person = self._who()
        return person is not None and person.may(scope)

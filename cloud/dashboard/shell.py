"""What every page has: the way to the other pages, who is looking, and the check that they may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nicegui import ui
from starlette.requests import Request

from cloud.api import auth
from cloud.api.auth import SCOPES, Person, Role, Scope
from cloud.api.local import looks_local

COOKIE = auth.COOKIE

PAGES: tuple[tuple[str, str, Scope], ...] = (
    ("/", "Overview", Scope.READ),
    ("/fleet", "Fleet", Scope.READ),
    ("/drift", "Drift", Scope.READ),
    ("/review", "Review", Scope.REVIEW),
    ("/models", "Models", Scope.READ),
    ("/rollouts", "Rollouts", Scope.READ),
    ("/audit", "Audit", Scope.READ),
)

VISITOR = auth.VISITOR


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


class Shell:
    """Draws what is around a page.

    Args:
        who: whose session a cookie's value is, None for nobody's.
        open_to_look: whether one who has not signed in may look (`VISITOR`) from this machine itself.
    """

    def __init__(self, who: Callable[[str], Person | None], *, open_to_look: bool) -> None:
        self._who, self._open_to_look = who, open_to_look

    def visit(self, request: Request) -> Visit:
        """Return who looks at the page that `request` asks for."""
        cookie, local = request.cookies.get(COOKIE, ""), looks_local(request.headers)
        return Visit(lambda: self._person(cookie, local=local))

    def enter(
        self, request: Request, title: str, here: str, needs: Scope = Scope.READ
    ) -> tuple[Visit, ui.column] | None:
        """Draw the frame of a page and return the visit and the column to fill; None where the page may not be seen.

        `here` is its path as in `PAGES`. Inside the page function: `with column: ...`.
        """
        visit = self.visit(request)
        person = visit.person
        ui.page_title(f"{title} · Plumbline")
        with ui.header().classes("items-center bg-slate-900"):
            ui.label("Plumbline").classes("text-xl font-bold")
            for path, name, scope in PAGES:
                if person is not None and person.may(scope):
                    link = ui.link(name, path).classes("text-white")
                    if path == here:
                        link.props('aria-current="page"')
            ui.space()
            if person is not None:
                ui.label(f"{person.name} ({person.role.value})").classes("whoami")
            if person is None or person == VISITOR:
                ui.link("Sign in", f"/sign-in?next={here}").classes("text-white")
        column = ui.column().classes("w-full max-w-screen-2xl mx-auto p-4 gap-4").props('role="main"')
        if person is None or not person.may(needs):
            with column:
                enough = ", ".join(role.value for role in Role if needs in SCOPES[role])
                ui.label(f"To {needs.value}, sign in as one of: {enough}.")
            return None
        return visit, column

    def _person(self, cookie: str, *, local: bool) -> Person | None:
        found = self._who(cookie) if cookie else None
        return found or (VISITOR if self._open_to_look and local else None)

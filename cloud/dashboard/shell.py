"""What every page has: the way to the other pages, who is looking, and the check that they may."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nicegui import ui
from starlette.requests import Request

from cloud.api import auth
from cloud.api.answers import told_plainly
from cloud.api.auth import SCOPES, Person, Role, Scope
from cloud.api.local import looks_local
from cloud.dashboard.banners import Banner
from cloud.dashboard.keep_focus import keep_focus
from cloud.dashboard.live import live
from cloud.dashboard.parts import banner, empty, heading
from cloud.dashboard.theme import dress, theme_button
from cloud.dashboard.visit import VISITOR, Visit

__all__ = ["COOKIE", "PAGES", "VISITOR", "Shell", "Visit"]

COOKIE = auth.COOKIE
BANNERS_EVERY_S = 2.0

PAGES: tuple[tuple[str, str, Scope], ...] = (
    ("/", "Overview", Scope.READ),
    ("/fleet", "Fleet", Scope.READ),
    ("/drift", "Drift", Scope.READ),
    ("/review", "Review", Scope.REVIEW),
    ("/models", "Models", Scope.READ),
    ("/rollouts", "Rollouts", Scope.READ),
    ("/audit", "Audit", Scope.READ),
    ("/runbooks", "Runbooks", Scope.READ),
)

# A form and not a link: what ends a session must not be had by following one from elsewhere.
_SIGN_OUT = "fetch('/sign-out', {method: 'POST'}).finally(() => location.assign('/sign-in'))"


class Shell:
    """Draws what is around a page.

    Args:
        who: whose session a cookie's value is, None for nobody's.
        open_to_look: whether one who has not signed in may look (`VISITOR`) from this machine itself.
        banners: what every page says at its top; read in a thread.
    """

    def __init__(
        self,
        who: Callable[[str], Person | None],
        *,
        open_to_look: bool,
        banners: Callable[[], Sequence[Banner]] | None = None,
    ) -> None:
        self._who, self._open_to_look, self._banners = who, open_to_look, banners

    def say_at_top(self, banners: Callable[[], Sequence[Banner]]) -> None:
        """Say this at the top of every page from now on."""
        self._banners = banners

    def visit(self, request: Request) -> Visit:
        """Return who looks at the page that `request` asks for."""
        cookie, local = request.cookies.get(COOKIE, ""), looks_local(request.headers)
        return Visit(lambda: self._person(cookie, local=local))

    def enter(
        self, request: Request, title: str, here: str, needs: Scope = Scope.READ
    ) -> tuple[Visit, ui.column] | None:
        """Draw the frame of a page and return the visit and the column to fill; None where the page may not be seen.

        `here` is the path in `PAGES` that it belongs to. Inside the page function: `with column: ...`. The column holds the
        page's h1, which is `title`, and its banners.
        """
        visit = self.visit(request)
        with told_plainly():
            person = visit.person
        ui.page_title(f"{title} · Plumbline")
        # Said of every page, whatever `run_with` was told: screen readers must know how to pronounce it.
        ui.context.client.page.language = "en-US"
        dark = dress(request)
        keep_focus()
        with ui.header(fixed=False).classes("pl-bar items-center"):
            ui.label("Plumbline").classes("text-xl font-bold")
            with ui.element("nav").props('aria-label="Pages"').classes("flex flex-wrap gap-1"):
                for path, name, scope in PAGES:
                    if person is not None and person.may(scope):
                        link = ui.link(name, path)
                        if path == here:
                            link.props('aria-current="page"')
            ui.space()
            theme_button(dark)
            if person is not None:
                ui.label(f"{person.name} ({person.role.value})").classes("whoami pl-break")
            if person is None or person == VISITOR:
                ui.link("Sign in", f"/sign-in?next={here}")
            else:
                ui.button("Sign out", on_click=lambda: ui.run_javascript(_SIGN_OUT), color=None).props(
                    "flat dense no-caps"
                )
        column = ui.column().classes("pl-page")
        ui.skip_link(target=column)
        with column:
            heading(title, 1)
            if person is None or not person.may(needs):
                enough = ", ".join(role.value for role in Role if needs in SCOPES[role])
                empty(f"To {needs.value}, sign in as one of: {enough}.")
                return None
            if self._banners is not None:
                _show_banners(visit, self._banners, needs)
        return visit, column

    def _person(self, cookie: str, *, local: bool) -> Person | None:
        found = self._who(cookie) if cookie else None
        return found or (VISITOR if self._open_to_look and local else None)


def _show_banners(visit: Visit, read: Callable[[], Sequence[Banner]], needs: Scope) -> None:
    place = ui.column().classes("w-full gap-2 pl-banners")
    shown: list[Banner] = []

    def show(found: Sequence[Banner]) -> None:
        if list(found) != shown:
            shown[:] = found
            place.clear()
            with place:
                for each in found:
                    banner(each.text, each.tone, each.path).classes(each.key)

    live(visit, read, show, BANNERS_EVERY_S, needs=needs, what="The state of the fleet")

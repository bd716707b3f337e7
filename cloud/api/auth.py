"""Who is asking, and what they may: a station by its own token, a person by a role (`Role`), and each route by what it needs
(`Scope`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from fastapi import HTTPException, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from cloud.api.answers import told_plainly
from cloud.api.limits import RequestLimits
from cloud.api.local import is_own_page

COOKIE = "plumbline_session"
"""The cookie of a browser that signed in. It opens pages and what they show, and nothing that changes anything."""

_people = HTTPBearer(
    scheme_name="person",
    description="A person's token: plumbline-cloud token add NAME --role engineer",
    auto_error=False,
)
_stations = HTTPBearer(
    scheme_name="station", description="A station's own token, from its provisioning", auto_error=False
)
Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(_people)]
StationBearer = Annotated[HTTPAuthorizationCredentials | None, Security(_stations)]


class Scope(str, Enum):
    """What a request is good for; the value says it in words."""

    READ = "look at the fleet"
    REVIEW = "see images and label parts"
    TUNE = "settle labels, learn cameras anew, set stations and start retrains"
    HALT = "pause and abort rollouts, and stop stations"
    RELEASE = "start, approve and resume rollouts, and retire versions"
    ADMIN = "let people in"


class Role(str, Enum):
    """What a person is in the plant."""

    VIEWER = "viewer"
    INSPECTOR = "inspector"
    ENGINEER = "engineer"
    RELEASER = "releaser"
    ADMIN = "admin"


SCOPES: Mapping[Role, frozenset[Scope]] = {
    Role.VIEWER: frozenset({Scope.READ}),
    # An inspector sees what waits for a label, and no figures that would tell what the model thinks of it.
    Role.INSPECTOR: frozenset({Scope.REVIEW}),
    Role.ENGINEER: frozenset({Scope.READ, Scope.REVIEW, Scope.TUNE, Scope.HALT}),
    Role.RELEASER: frozenset({Scope.READ, Scope.HALT, Scope.RELEASE}),
    Role.ADMIN: frozenset(Scope),
}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is let in. `name` is what the audit log calls them."""

    name: str
    role: Role

    def may(self, scope: Scope) -> bool:
        """Return whether the role allows `scope`."""
        return scope in SCOPES[self.role]


VISITOR = Person("visitor", Role.VIEWER)
"""Whoever looks on from the server's own machine without signing in."""


class Guards:
    """Makes the dependencies by which routes ask who is there.

    Args:
        identify: whose bearer token it is, None for nobody's.
        looker: who looks at a page with this request (by its cookie), None for nobody.
        limits: counts what each person asks, and wrong tokens of each address.
        identify_lately: as `identify`, for what must be told while the database is away; None: as `identify`.
        remembered: who is known by a "token" or a "cookie" without asking the database, None for nobody.
    """

    def __init__(
        self,
        identify: Callable[[str], Person | None],
        looker: Callable[[Request], Person | None] = lambda _request: None,
        limits: RequestLimits | None = None,
        identify_lately: Callable[[str], Person | None] | None = None,
        remembered: Callable[[str, str], Person | None] = lambda _kind, _secret: None,
    ) -> None:
        self._identify, self._looker, self._limits = identify, looker, limits
        self._identify_lately, self._remembered = identify_lately or identify, remembered

    def needs(self, scope: Scope, *, from_pages: bool = False, lately: bool = False) -> Callable[..., Person]:
        """Return a dependency that lets through who may do `scope`, and gives the person.

        401: nobody is known by this token. 403: somebody is, and may not. 429: too many requests, in a minute or at once.

        `from_pages`: what a page shows or offers to save, so a GET with the page's cookie will do. Nothing else takes a cookie, so
        no other site's page can make a browser ask for it. `lately`: whoever was known a while ago will do while nobody can
        be looked up.
        """

        def guard(request: Request, credentials: Bearer = None) -> Person:
            person = self._known(request, credentials, from_pages=from_pages, lately=lately)
            if person == VISITOR and not person.may(scope):
                raise _unknown()
            if not person.may(scope):
                enough = ", ".join(role.value for role in Role if scope in SCOPES[role])
                raise HTTPException(
                    403, f"{person.name} is {person.role.value}; to {scope.value} one must be: {enough}"
                )
            return person

        return guard

    def knows_already(self, request: Request, scope: Scope) -> bool:
        """Return whether a GET comes from somebody who may do `scope`, without asking the database: it waits for nothing."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip() if kind.lower() == "bearer" else ""
        if not token:
            own = is_own_page(request.headers, request.url.scheme)
            person = self._remembered("cookie", request.cookies.get(COOKIE, "")) if own else None
            return person is not None and person.may(scope)
        try:
            person = self._by_token(request, token, lambda shown: self._remembered("token", shown))
        except HTTPException:
            return False
        return person is not None and person.may(scope)

    def known(self, request: Request, credentials: Bearer = None) -> Person:
        """Let through whoever is known, whatever their role; a dependency like those that `needs` gives."""
        return self._known(request, credentials, from_pages=False)

    def _known(
        self,
        request: Request,
        credentials: HTTPAuthorizationCredentials | None,
        *,
        from_pages: bool,
        lately: bool = False,
    ) -> Person:
        token = credentials.credentials.strip() if credentials is not None else ""
        person = None
        if token:
            person = self._by_token(request, token, self._identify_lately if lately else self._identify)
        elif from_pages and request.method == "GET" and is_own_page(request.headers, request.url.scheme):
            with told_plainly():
                person = self._looker(request)
        if person is None:
            raise _unknown()
        if self._limits is not None:
            self._limits.count_person(person.name, request.scope)
        return person

    def _by_token(self, request: Request, token: str, identify: Callable[[str], Person | None]) -> Person | None:
        address = request.client.host if request.client else ""
        if self._limits is not None:
            self._limits.check_tries(address, token)
        with told_plainly():
            person = identify(token)
        if self._limits is not None:
            self._limits.note_try(address, token, good=person is not None)
        return person


def _unknown() -> HTTPException:
    why = "this needs a token (Authorization: Bearer ...); make one with: plumbline-cloud token add"
    return HTTPException(401, why, headers={"WWW-Authenticate": "Bearer"})


def station_guard(is_token: Callable[[str, str], bool]) -> Callable[..., str]:
    """Return a dependency that lets a station through on its own paths only, and gives its name."""

    def guard(station: str, credentials: StationBearer = None) -> str:
        token = credentials.credentials.strip() if credentials is not None else ""
        with told_plainly():
            right = is_token(station, token)
        if not right:
            raise HTTPException(401, f"this token is not station '{station[:63]}'s; provision the station again")
        return station

    return guard

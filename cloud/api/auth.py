"""Who is asking, and what they may: a station by its own token, a person by a role (`Role`), and each route by what it needs
(`Scope`)."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from fastapi import Header, HTTPException, Request

Bearer = Annotated[str, Header(alias="Authorization")]


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


class Guards:
    """Makes the dependencies by which routes ask who is there. `identify` returns whose bearer token it is, None for nobody's."""

    def __init__(self, identify: Callable[[str], Person | None]) -> None:
        self._identify = identify

    def needs(self, scope: Scope) -> Callable[..., Person]:
        """Return a dependency that lets through who may do `scope`, and gives the person.

        401: nobody is known by this token. 403: somebody is, and may not.
        """

        def guard(_request: Request, authorization: Bearer = "") -> Person:
            person = self._identify(bearer_token(authorization))
            if person is None:
                raise HTTPException(
                    401,
                    "this needs a token (Authorization: Bearer ...); make one with: plumbline-cloud token add",
                    headers={"WWW-Authenticate": "Bearer"},
                )
            if not person.may(scope):
                enough = ", ".join(role.value for role in Role if scope in SCOPES[role])
                raise HTTPException(
                    403, f"{person.name} is {person.role.value}; to {scope.value} one must be: {enough}"
                )
            return person

        return guard


def file_tokens(tokens: Mapping[Person, str]) -> Callable[[str], Person | None]:
    """Return what tells whose of the fixed `tokens` one is: those that `init` writes into files."""

    def identify(token: str) -> Person | None:
        found = None
        for person, known in tokens.items():
            # Every one is looked at, so that the time tells nothing.
            if hmac.compare_digest(known.encode(), token.encode()) and known:
                found = person
        return found

    return identify


def bearer_token(authorization: str) -> str:
    """Return the token of an Authorization header, "" when there is none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def station_guard(is_token: Callable[[str, str], bool]) -> Callable[[str, str], str]:
    """Return a dependency that lets a station through on its own paths only, and gives its name."""

    def guard(station: str, authorization: Bearer = "") -> str:
        if not is_token(station, bearer_token(authorization)):
            raise HTTPException(401, f"this token is not station '{station[:63]}'s; provision the station again")
        return station

    return guard

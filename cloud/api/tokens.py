"""Letting people in, and out: their access tokens and the sessions of their browsers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from cloud.api.auth import SCOPES, Guards, Person, Role, Scope
from cloud.api.people import People
from cloud.store.access import Access
from contract.errors import InvalidConfig

# A name as people write it, with nothing that a table or a log would not show. The audit log calls the person by it.
PLAIN_NAME = r"^\w(?:[\w .@'+-]*[\w.])?$"
MAX_TOKEN_DAYS = 3650
_DAY_S = 86_400.0
RESERVED_NAMES = ("plumbline", "visitor", "operator", "inspector")


class TokenBody(BaseModel):
    """Whom to make a token for. `days`: how long it is good; None for until it is revoked."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"person": "eva", "role": "engineer", "days": 90}]}
    )

    person: str = Field(min_length=1, max_length=120, pattern=PLAIN_NAME)
    role: Role
    days: float | None = Field(default=None, gt=0, le=MAX_TOKEN_DAYS, allow_inf_nan=False)


class TokenMade(BaseModel):
    """A new token. `token` is told this once; only its hash is kept."""

    id: int
    person: str
    role: Role
    expires_at: float | None
    token: str


class TokenListed(BaseModel):
    """A token without its secret. Times are Unix seconds; `used_at` is right to the minute."""

    id: int
    person: str
    role: str
    made_at: float
    made_by: str
    expires_at: float | None
    revoked_at: float | None
    used_at: float | None


class SessionListed(BaseModel):
    """Somebody who is signed in with a browser. `origin`: "token", "oidc", or which file's token."""

    id: str
    person: str
    role: str
    token: int | None
    origin: str
    began_at: float
    expires_at: float


class Me(BaseModel):
    """Whose token it is, and what it is good for."""

    person: str
    role: Role
    may: list[str]


_TokenId = Annotated[int, Path(ge=1, le=2**31 - 1)]
_SessionId = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]


def token_routes(*, guards: Guards, people: People, access: Access, now: Callable[[], float]) -> APIRouter:
    """Return the routes under /v1/tokens and /v1/sessions, and /v1/me."""
    admin = Depends(guards.needs(Scope.ADMIN))
    known = Depends(guards.known)
    routes = APIRouter(prefix="/v1", tags=["people"])

    @routes.get("/me")
    def me(person: Person = known) -> Me:
        """Say whose token this is and what it is good for."""
        return Me(
            person=person.name,
            role=person.role,
            may=[scope.value for scope in Scope if scope in SCOPES[person.role]],
        )

    @routes.get("/tokens", dependencies=[admin])
    def tokens() -> list[TokenListed]:
        """List every token there ever was, without the secrets."""
        return [TokenListed(**asdict(token)) for token in access.tokens()]

    @routes.post("/tokens", status_code=201)
    def add(body: TokenBody, response: Response, person: Person = admin) -> TokenMade:
        """Make a token for a person. It is told this once."""
        if body.person.casefold() in RESERVED_NAMES:
            raise InvalidConfig(
                f"'{body.person}' is nobody's name: the audit log calls others so", hint="use their name"
            )
        expires_at = None if body.days is None else now() + body.days * _DAY_S
        number, token = people.add_token(Person(body.person, body.role), person.name, expires_at)
        response.headers["Cache-Control"] = "no-store"
        return TokenMade(id=number, person=body.person, role=body.role, expires_at=expires_at, token=token)

    @routes.delete("/tokens/{token}", status_code=204)
    def revoke(token: _TokenId, person: Person = admin) -> None:
        """Revoke a token, and end what was begun with it, at once."""
        people.revoke(token, person.name)

    @routes.get("/sessions", dependencies=[admin])
    def sessions() -> list[SessionListed]:
        """List who is signed in with a browser."""
        return [
            SessionListed(**{**asdict(each), "origin": each.origin.partition(" #")[0]})
            for each in access.sessions(now())
        ]

    @routes.delete("/sessions/{session}", status_code=204)
    def end(session: _SessionId, person: Person = admin) -> None:
        """Sign somebody out, at once."""
        people.end_session(session, person.name)

    return routes

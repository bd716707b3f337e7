"""Who is asking: a station by its own token, a person by the token of a role."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Annotated

from fastapi import Header, HTTPException

Bearer = Annotated[str, Header(alias="Authorization")]


class Role(str, Enum):
    """What a person's token is good for. An operator may do what an inspector may."""

    OPERATOR = "operator"
    INSPECTOR = "inspector"


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


def role_guard(tokens: Mapping[Role, str], least: Role) -> Callable[[str], str]:
    """Return a dependency that lets people with the role through, and gives the role's name for the audit log."""
    allowed = [role for role in Role if role is least or role is Role.OPERATOR]

    def guard(authorization: Bearer = "") -> str:
        token = bearer_token(authorization).encode()
        for role in allowed:
            if hmac.compare_digest(tokens[role].encode(), token):
                return role.value
        raise HTTPException(401, f"this needs the {least.value}'s token (Authorization: Bearer ...)")

    return guard

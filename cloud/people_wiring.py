"""Who is let in, put together from [auth] and [api]: tokens, sessions, limits and the doors' rules."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter

from cloud.api.app import DoorRules
from cloud.api.auth import Guards, Person, Role
from cloud.api.failed_tries import FailedTries
from cloud.api.limits import RequestLimits
from cloud.api.local import host_name, is_loopback_name
from cloud.api.people import FileToken, People
from cloud.api.refused_messages import RefusedMessages
from cloud.api.sign_in import Provider, sign_in_routes
from cloud.api.tokens import token_routes
from cloud.clock import SystemClock
from cloud.dashboard.pages import PageDoor
from cloud.dashboard.shell import Shell
from cloud.dashboard.sign_in_page import sign_in_page
from cloud.settings import CloudSettings
from cloud.settings_operate import AuthSettings
from cloud.store_wiring import Stores
from contract.errors import InvalidConfig


def _new_secret() -> str:
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True)
class Entrance:
    """What lets people in. `tries` has a tick; `pages` counts what pages sent in vain."""

    guards: Guards
    limits: RequestLimits
    shell: Shell
    pages: PageDoor
    routers: tuple[APIRouter, ...]
    rules: DoorRules
    tries: FailedTries


def make_entrance(
    settings: CloudSettings, stores: Stores, clock: SystemClock, why_lost: Callable[[], str] = str
) -> Entrance:
    """Return what lets people in; `why_lost` says why the database cannot be used just now.

    Raises:
        InvalidConfig: a token file is missing or empty.
    """
    api, auth = settings.api, settings.auth
    files = []
    for person, file in (
        (Person("operator", Role.ADMIN), api.operator_token_file),
        (Person("inspector", Role.INSPECTOR), api.inspector_token_file),
    ):
        settings.token(file)
        files.append(FileToken(person, settings.path(file)))
    people = People(
        stores.access,
        tuple(files),
        new_secret=_new_secret,
        session_s=auth.session_h * 3600.0,
        now=clock.now,
        monotonic=clock.monotonic,
        provider=rules_in_words(auth),
        why_lost=why_lost,
    )
    limits = RequestLimits(
        auth.requests_per_minute, auth.failures_per_minute, monotonic=clock.monotonic, salt=secrets.token_bytes(16)
    )
    only_loopback = is_loopback_name(host_name(f"[{api.host}]" if ":" in api.host else api.host))
    public = host_name(api.public_url.partition("://")[2].partition("/")[0])
    # Whoever reaches a loopback server by another name comes through something that passes requests on: nobody is local then.
    shell = Shell(people.by_cookie, open_to_look=auth.open_on_loopback and only_loopback and not public)
    guards = Guards(
        people.by_token, lambda request: shell.visit(request).person, limits, people.by_token_lately, people.remembered
    )
    tries = FailedTries(stores.audit, clock.now)
    return Entrance(
        guards=guards,
        limits=limits,
        shell=shell,
        pages=PageDoor(shell, RefusedMessages(clock.monotonic), clock.monotonic, secrets.token_bytes(16)),
        routers=(
            sign_in_routes(
                people=people, page=sign_in_page, limits=limits, tries=tries, provider=_provider(settings, clock)
            ),
            token_routes(guards=guards, people=people, access=stores.access, now=clock.now),
        ),
        rules=DoorRules(
            only_loopback=only_loopback,
            also_names=frozenset({public} - {""}),
            count_address=limits.count_address,
        ),
        tries=tries,
    )


def rules_in_words(auth: AuthSettings) -> str:
    """Return what a session by the identity provider rests on, "" without one."""
    rules = (auth.oidc_issuer, auth.oidc_client_id, auth.oidc_claim, auth.oidc_name, list(auth.oidc_roles.items()))
    return repr(rules) if auth.oidc_issuer else ""


def _provider(settings: CloudSettings, clock: SystemClock) -> Provider | None:
    """Return the identity provider that cloud.toml names, None for none.

    Raises:
        InvalidConfig: what it needs is not installed, or its secret is not there.
    """
    auth, api = settings.auth, settings.api
    if not auth.oidc_issuer:
        return None
    try:
        from cloud.api.oidc import Oidc, ProviderRules  # an extra
    except ImportError as error:
        hint = "install it with: pip install 'plumbline-edge[oidc]'"
        raise InvalidConfig(f"[auth] oidc_issuer needs a package that is not installed: {error}", hint=hint) from error
    rules = ProviderRules(
        issuer=auth.oidc_issuer,
        client_id=auth.oidc_client_id,
        client_secret=settings.token(auth.oidc_client_secret_file) if auth.oidc_client_secret_file else "",
        roles_claim=auth.oidc_claim,
        roles={value: Role(role) for value, role in auth.oidc_roles.items()},
        name_claim=auth.oidc_name,
        return_url=f"{(api.public_url or api.url()).rstrip('/')}/sign-in/provider/back",
    )
    return Oidc(rules, new_secret=_new_secret, now=clock.now)

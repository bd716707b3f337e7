"""Signing in through an identity provider: OpenID Connect's authorization code flow with PKCE. It gives a session, never a token.

Source: OpenID Connect Core 1.0 (errata set 2), 3.1 and 15.5.2; RFC 7636 (PKCE); RFC 9700 2.1.
"""

from __future__ import annotations

import hmac
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from cloud.api.auth import Person, Role
from cloud.api.local import is_loopback_name
from cloud.api.tokens import PLAIN_NAME, RESERVED_NAMES
from contract.errors import LinkDown, RefusedError

# A provider signs with a private key: "none" proves nothing, and an HMAC's key would be one that both hold.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
_LEEWAY_S = 60
_METADATA_FOR_S = 3600.0
_UNDER_WAY_S = 600.0
# More than one address may begin within that time ([auth] requests_per_minute), so that nobody pushes others' out.
_MOST_UNDER_WAY = 16_384
# Strangers make this server ask the provider: where that hangs, each question holds a thread of all who ask this server.
_MOST_CALLS = 8
_TIMEOUT_S = 10.0
_NAME = re.compile(PLAIN_NAME)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProviderRules:
    """Whom to ask and what to make of the answer.

    `roles` gives a role by a value of the claim `roles_claim`; the first in its order counts. `name_claim` is what the audit log
    calls people, so it must be one that they cannot change themselves. `return_url` is where the provider sends browsers back to.
    """

    issuer: str
    client_id: str
    client_secret: str
    roles_claim: str
    roles: Mapping[str, Role]
    name_claim: str
    return_url: str


@dataclass(frozen=True, slots=True)
class _UnderWay:
    nonce: str
    verifier: str
    next_path: str
    began_at: float


class Oidc:
    """Sends people to the provider, and knows who comes back. Thread-safe.

    Args:
        new_secret: makes what nobody can guess.
        now: Unix seconds.
    """

    def __init__(self, rules: ProviderRules, *, new_secret: Callable[[], str], now: Callable[[], float]) -> None:
        self._rules, self._new_secret, self._now = rules, new_secret, now
        self._lock = threading.Lock()
        self._under_way: OrderedDict[str, _UnderWay] = OrderedDict()
        self._metadata: tuple[float, dict[str, Any]] | None = None
        self._calls = threading.BoundedSemaphore(_MOST_CALLS)

    def begin(self, next_path: str) -> tuple[str, str]:
        """Return where to send a browser, and the state by which it will be known again (it keeps it in a cookie).

        Raises:
            LinkDown: the provider is not reached.
        """
        endpoint = self._endpoint("authorization_endpoint")
        state, nonce, verifier = self._new_secret(), self._new_secret(), self._new_secret()
        with self._lock:
            self._under_way[state] = _UnderWay(nonce, verifier, next_path, self._now())
            while len(self._under_way) > _MOST_UNDER_WAY:
                self._under_way.popitem(last=False)
        where: str = prepare_grant_uri(
            endpoint,
            self._rules.client_id,
            "code",
            redirect_uri=self._rules.return_url,
            scope="openid profile email",
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return where, state

    def finish(self, code: str, state: str, kept_state: str) -> tuple[Person, str]:
        """Return who came back, and the path that they wanted.

        Raises:
            LinkDown: the provider is not reached.
            RefusedError: it is not who was sent there, or the provider vouches for nobody, or for one who has no role here.
        """
        again = "open the sign-in page and try again"
        if not state or not hmac.compare_digest(state.encode(), kept_state.encode()):
            raise RefusedError("this browser did not begin this sign-in", hint=again)
        with self._lock:
            # Taken out whatever comes of it: an answer counts once.
            begun = self._under_way.pop(state, None)
        if begun is None or not 0.0 <= self._now() - begun.began_at <= _UNDER_WAY_S:
            raise RefusedError("this sign-in was begun too long ago, or is over", hint=again)
        answer = self._exchange(code, begun.verifier)
        claims = self._verified(answer, begun.nonce)
        return self._person(claims), begun.next_path

    def _exchange(self, code: str, verifier: str) -> dict[str, Any]:
        rules = self._rules
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": rules.return_url,
            "code_verifier": verifier,
            "client_id": rules.client_id,
        }
        # RFC 6749, 2.3.1; a client without a secret is known by what it proves with PKCE.
        secret = httpx.BasicAuth(rules.client_id, rules.client_secret) if rules.client_secret else None
        endpoint = self._endpoint("token_endpoint")
        answer = self._ask("POST", endpoint, data=form, auth=secret)
        if not isinstance(answer.get("id_token"), str):
            raise RefusedError("the identity provider did not vouch for anybody", hint="sign in there again")
        return answer

    def _verified(self, answer: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        keys = self._ask("GET", self._endpoint("jwks_uri"))
        rules = self._rules
        try:
            token = jwt.decode(answer["id_token"], KeySet.import_key_set(keys), algorithms=_ALGORITHMS)  # type: ignore[arg-type]
            claims = CodeIDToken(
                token.claims,
                token.header,
                {
                    "iss": {"essential": True, "value": rules.issuer},
                    "aud": {"essential": True, "value": rules.client_id},
                },
                {"nonce": nonce, "client_id": rules.client_id, "access_token": answer.get("access_token")},
            )
            claims.validate(now=int(self._now()), leeway=_LEEWAY_S)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            _log.warning("what the identity provider says is not believed: %s: %s", type(error).__name__, error)
            hint = "try again; if it stays so, [auth] oidc_* of cloud.toml or the server's clock is wrong"
            raise RefusedError(
                f"what the identity provider says is not believed ({type(error).__name__})", hint=hint
            ) from error
        return dict(claims)

    def _person(self, claims: Mapping[str, Any]) -> Person:
        rules = self._rules
        name = claims.get(rules.name_claim)
        if (
            not isinstance(name, str)
            or len(name) > 120
            or not _NAME.fullmatch(name)
            or name.casefold() in RESERVED_NAMES
        ):
            hint = "[auth] oidc_name in cloud.toml says which claim is to name people"
            raise RefusedError(
                f"the identity provider gives no name that can be used ('{rules.name_claim}')", hint=hint
            )
        given = claims.get(rules.roles_claim, [])
        several = given if isinstance(given, list) else [given]
        values = {each for each in several if isinstance(each, str)}
        for value, role in rules.roles.items():
            if value in values:
                return Person(name, role)
        hint = "whoever is admin gives one by [auth] oidc_roles in cloud.toml, or with: plumbline-cloud token add"
        raise RefusedError(f"{name} has no role here", hint=hint)

    def _endpoint(self, name: str) -> str:
        metadata = self._read_metadata()
        url = str(metadata.get(name, ""))
        if not _is_safe(url):
            raise LinkDown(f"the identity provider names no safe {name}", hint="check [auth] oidc_issuer in cloud.toml")
        return url

    def _read_metadata(self) -> dict[str, Any]:
        with self._lock:
            known = self._metadata
        now = self._now()
        if known is not None and 0.0 <= now - known[0] < _METADATA_FOR_S:
            return known[1]
        found = self._ask("GET", f"{self._rules.issuer.rstrip('/')}/.well-known/openid-configuration")
        # OpenID Connect Discovery 1.0, 4.3: else one provider could speak as another.
        if found.get("issuer") != self._rules.issuer:
            hint = "set [auth] oidc_issuer in cloud.toml to exactly what the provider calls itself"
            raise LinkDown(f"the identity provider calls itself '{str(found.get('issuer'))[:200]}'", hint=hint)
        with self._lock:
            self._metadata = (now, found)
        return found

    def _ask(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        if not self._calls.acquire(blocking=False):
            raise LinkDown("the identity provider is slow, and others wait for it", hint="try again in a moment")
        try:
            return _ask(method, url, **more)
        finally:
            self._calls.release()


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" or (parts.scheme == "http" and is_loopback_name(parts.hostname or ""))
    except ValueError:
        return False


def _ask(method: str, url: str, **more: Any) -> dict[str, Any]:
    try:
        answer = httpx.request(method, url, timeout=_TIMEOUT_S, headers={"Accept": "application/json"}, **more)
        found = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        _log.warning("the identity provider does not answer at %s: %s", url, error)
        raise LinkDown("the identity provider does not answer", hint="try again, or sign in with a token") from error
    if answer.status_code >= 500 or not isinstance(found, dict):
        _log.warning("the identity provider answers %d at %s", answer.status_code, url)
        raise LinkDown("the identity provider does not work", hint="try again, or sign in with a token")
    if not answer.is_success:
        _log.warning("the identity provider refuses at %s: %s", url, str(found.get("error", ""))[:200])
        raise RefusedError("the identity provider refused", hint="open the sign-in page and try again")
    return found

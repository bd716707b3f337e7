"""An OpenID Connect provider over HTTP with keys of its own, which can be told to lie."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "plumbline", "the client's secret"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class IdentityProvider:
    """Lets in whoever `claims` says, without asking for a password. `url` is where it is served.

    `twist` changes the claims of the next tokens; `signer` makes the token of them; `reuse` gives the same code twice.
    """

    url: str = ""
    claims: dict[str, Any] = field(default_factory=lambda: {"sub": "1", "preferred_username": "eva", "groups": ["qa"]})
    twist: Callable[[dict[str, Any]], None] = lambda claims: None
    signer: Callable[[dict[str, Any]], str] | None = None
    refuse: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"}))
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": "k1"}, claims, self.key)

    def unsigned(self, claims: dict[str, Any]) -> str:
        head = _b64(json.dumps({"alg": "none"}).encode())
        return f"{head}.{_b64(json.dumps(claims).encode())}."

    def by_public_key(self, claims: dict[str, Any]) -> str:
        """Sign with HMAC, the public key being the secret: what a verifier must not fall for (RFC 8725, 2.1)."""
        head = _b64(json.dumps({"alg": "HS256", "kid": "k1"}).encode())
        signed = f"{head}.{_b64(json.dumps(claims).encode())}"
        return f"{signed}.{_b64(hmac.digest(self.key.as_pem(private=False), signed.encode(), 'sha256'))}"

    def by_another_key(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": "k1"}, claims, RSAKey.generate_key(2048, {"kid": "k1"}))

    def app(self) -> FastAPI:
        """Return the provider's application."""
        app = FastAPI()

        @app.get("/.well-known/openid-configuration")
        def metadata() -> dict[str, str]:
            return {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
            }

        @app.get("/keys")
        def keys() -> dict[str, Any]:
            return {"keys": [self.key.as_dict(private=False)]}

        @app.get("/authorize")
        def authorize(request: Request) -> RedirectResponse:
            asked = dict(request.query_params)
            self.asked.append(asked)
            assert asked["client_id"] == CLIENT and asked["response_type"] == "code" and "openid" in asked["scope"]
            back = f"{asked['redirect_uri']}?state={asked['state']}"
            if self.refuse:
                return RedirectResponse(f"{back}&error={self.refuse}", 303)
            code = secrets.token_urlsafe(16)
            self._codes[code] = asked
            return RedirectResponse(f"{back}&code={code}", 303)

        @app.post("/token")
        async def token(request: Request) -> JSONResponse:
            form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
            basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
            if request.headers.get("authorization") != f"Basic {basic}":
                return JSONResponse({"error": "invalid_client"}, 401)
            asked = self._codes.pop(form["code"], None)
            proved = _b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
            if asked is None or proved != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
                return JSONResponse({"error": "invalid_grant"}, 400)
            now = int(time.time())
            claims = {
                **self.claims,
                "iss": self.url,
                "aud": CLIENT,
                "iat": now,
                "exp": now + 300,
                "nonce": asked["nonce"],
            }
            self.twist(claims)
            made = (self.signer or self.sign)(claims)
            return JSONResponse({"access_token": "a", "token_type": "Bearer", "id_token": made})

        return app

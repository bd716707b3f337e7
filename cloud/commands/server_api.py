"""Commands that ask the running server rather than its database: one writer, and the same checks as for anybody."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx

from cloud.broker.tls import trusting
from cloud.settings import CloudSettings
from contract.errors import LinkDown, NotFound, RefusedError

_TOKEN_FILE = "PLUMBLINE_TOKEN_FILE"


def ask_server(settings: CloudSettings, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Return the server's JSON answer to a request, None where it has nothing to say.

    It is asked with the token in the file that the environment's PLUMBLINE_TOKEN_FILE names, else with the operator's.

    Raises:
        InvalidConfig: that file has no token.
        LinkDown: no server answers there.
        NotFound, RefusedError: it said no; the message is its own.
    """
    url = f"{settings.api.url()}{path}"
    own = os.environ.get(_TOKEN_FILE, "")
    token = settings.token(str(Path(own).absolute()) if own else settings.api.operator_token_file)
    headers = {"Authorization": f"Bearer {token}"}
    verify = trusting(settings.path(settings.api.client_ca_file)) if settings.api.client_ca_file else True
    try:
        response = httpx.request(method, url, json=body, headers=headers, timeout=30.0, verify=verify)
    except httpx.TransportError as error:
        hint = "start it with: plumbline-cloud serve --config cloud.toml"
        raise LinkDown(f"no server answers at {url}: {error}", hint=hint) from error
    if response.status_code == 204:
        return None
    if response.is_success:
        try:
            return response.json()
        except ValueError as error:
            hint = "another program has that port; set [api] port in cloud.toml"
            raise RefusedError(f"what answers at {url} is no Plumbline server", hint=hint) from error
    try:
        detail = str(response.json().get("detail", response.text))
    except ValueError:
        detail = response.text[:300]
    raise (NotFound if response.status_code == 404 else RefusedError)(detail)

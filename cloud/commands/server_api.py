"""Commands that ask the running server rather than its database: one writer, and the same checks as for anybody."""

from __future__ import annotations

from typing import Any

import httpx

from cloud.broker.tls import trusting
from cloud.settings import CloudSettings
from contract.errors import LinkDown, NotFound, RefusedError


def ask_server(settings: CloudSettings, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Return the server's JSON answer to a request with the operator's token.

    Raises:
        LinkDown: no server answers there.
        NotFound, RefusedError: it said no; the message is its own.
    """
    url = f"{settings.api.url()}{path}"
    headers = {"Authorization": f"Bearer {settings.token(settings.api.operator_token_file)}"}
    verify = trusting(settings.path(settings.api.client_ca_file)) if settings.api.client_ca_file else True
    try:
        response = httpx.request(method, url, json=body, headers=headers, timeout=30.0, verify=verify)
    except httpx.TransportError as error:
        hint = "start it with: plumbline-cloud serve --config cloud.toml"
        raise LinkDown(f"no server answers at {url}: {error}", hint=hint) from error
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

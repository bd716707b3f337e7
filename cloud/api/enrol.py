"""Routes by which devices become stations and renew their certificates (contract.provisioning)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from cloud.api.answers import json_body
from cloud.api.auth import station_guard
from cloud.api.limits import RequestLimits
from cloud.api.retry_after import RETRY_AFTER_S
from cloud.api.right_tokens import RightTokens
from cloud.provision.desk import Desk
from contract.codec import decode_control, encode_control
from contract.errors import BadMessage, InvalidConfig, RefusedError, TransientError
from contract.provisioning import Enrolled, EnrolRequest, RenewRequest

_MAX_REQUEST_BYTES = 16 * 1024

_CERTIFICATES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/x-pem-file": {}}, "description": "The authorities' certificates"}
}

M = TypeVar("M", bound=msgspec.Struct)


def enrol_routes(desk: Desk, limits: RequestLimits, tokens: RightTokens) -> APIRouter:
    """Return the routes for devices without a certificate; what they show is a one-time token.

    A plant's devices come from one address, and with them whoever else is in its network: a right token is let through whatever
    others did there, and only its own uses are counted. `limits` refuses an address that asks too often otherwise, and one that
    showed too many wrong tokens before theirs is looked up; by then the work was to read 16 KiB and to ask `tokens`.
    """
    routes = APIRouter(prefix="/v1", tags=["stations"])

    # The same for everybody, and in no answer is less work: a device that is to enrol asks this first, and has nothing to show yet.
    @routes.get("/ca", response_class=Response, responses=_CERTIFICATES)
    def authorities() -> Response:
        return Response(desk.trusted(), media_type="application/x-pem-file")

    @routes.post("/enrol", openapi_extra=json_body("A device's certificate request and its one-time token"))
    async def enrol(request: Request) -> Response:
        address = request.client.host if request.client else ""
        try:
            asked = await _read(request, EnrolRequest)
        except HTTPException:
            limits.count_address(address)
            raise
        right = await tokens.has(asked.token)
        if not right:
            try:
                limits.count_address(address)
                limits.check_tries(address, asked.token)
            except HTTPException:
                # It may have been made a moment ago.
                right = await tokens.has(asked.token, for_sure=True)
                if not right:
                    raise
        if right:
            limits.count_use(asked.token)

        def act() -> Enrolled:
            try:
                answer = desk.enrol(asked)
            except InvalidConfig:
                raise  # the request is none; its token was not looked at
            except RefusedError:
                limits.note_try(address, asked.token, good=False)
                raise
            limits.note_try(address, asked.token, good=True)
            return answer

        return await _answer(act, refused=403)

    return routes


def renew_routes(desk: Desk, is_token: Callable[[str, str], bool]) -> APIRouter:
    """Return the route for stations that have a certificate; they show their token (and, on the device port, the certificate)."""
    routes = APIRouter(prefix="/v1", tags=["stations"])
    station = Depends(station_guard(is_token))

    @routes.post("/renew/{station}", openapi_extra=json_body("A station's certificate request"))
    async def renew(request: Request, name: str = station) -> Response:
        asked = await _read(request, RenewRequest)
        return await _answer(lambda: desk.renew(name, asked), refused=403)

    return routes


async def _answer(act: Callable[[], msgspec.Struct], *, refused: int) -> Response:
    try:
        answer = await run_in_threadpool(act)
    except TransientError as error:
        raise HTTPException(503, error.one_line(), headers={"Retry-After": str(RETRY_AFTER_S)}) from error
    except InvalidConfig as error:
        raise HTTPException(422, error.one_line()) from error
    except RefusedError as error:
        raise HTTPException(refused, error.one_line()) from error
    return Response(encode_control(answer), media_type="application/json", headers={"Cache-Control": "no-store"})


async def _read(request: Request, kind: type[M]) -> M:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_REQUEST_BYTES:
            raise HTTPException(413, "a request for a certificate may have at most 16 KiB")
    try:
        return decode_control(body, kind)
    except BadMessage as error:
        raise HTTPException(422, error.one_line()) from error

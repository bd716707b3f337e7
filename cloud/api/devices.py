"""What stations ask for over HTTP: update metadata and bundles, orders where no broker brings them, a second opinion, and a
place for requested images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from starlette.requests import ClientDisconnect

from cloud.api.answers import told_plainly
from cloud.api.auth import StationBearer, station_guard
from cloud.api.images import read_pixels
from cloud.api.remembered_tokens import RememberedTokens
from cloud.api.retry_after import RETRY_AFTER_S
from cloud.fallback.service import Asked, Busy, FallbackService
from cloud.ports.registry import ImageFiles
from cloud.store.samples import Samples
from contract.codec import decode_control, encode_control
from contract.errors import BadImage, BadMessage, NotFound, RefusedError, TransientError
from contract.messages import DesiredState, ReportedState

MAX_IMAGE_BYTES = 16 * 1024 * 1024
MAX_REPORT_BYTES = 64 * 1024
_MOST_MS = 10**9
_IMAGE_LIMIT = "an image may have at most 16 MiB"
_ANSWER = {"label": "scratch", "confidence": 0.97, "good": 0.03, "model": "v3"}
_FALLBACK_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "the full-precision model's opinion", "content": {"application/json": {"example": _ANSWER}}},
    401: {"description": "the token is not this station's"},
    404: {"description": "the bundle has no full-precision model here"},
    413: {"description": "the image is too large"},
    422: {"description": "no usable PNG or JPEG"},
    503: {"description": "refused: it would be answered too late, or not now; ask again after Retry-After seconds"},
}


def device_routes(
    *,
    tuf_folder: Path,
    is_token: Callable[[str, str], bool],
    samples: Samples,
    images: ImageFiles,
    opinions: FallbackService,
    desired_of: Callable[[str], DesiredState],
    take_report: Callable[[ReportedState, float], None],
    now: Callable[[], float],
    on_image: Callable[[str, int], None] = lambda _station, _size_bytes: None,
    is_token_for_orders: Callable[[str, str], bool] | None = None,
) -> APIRouter:
    """Return the routes under /v1 that stations use; `opinions` answers their questions, `on_image(station, bytes)` is
    told of each image that came. `is_token_for_orders` is asked in the place of `is_token` by who asks for orders, and who reports.

    `desired_of` gives what the broker's retained message tells a station; `take_report` stores what one reports, and when.
    """
    routes = APIRouter(prefix="/v1", tags=["stations"])
    # As a default and not in the annotation: FastAPI reads annotations by the module's names and would not find this one.
    station = Depends(station_guard(is_token))
    without_broker = Depends(station_guard(is_token_for_orders or is_token))

    # Update metadata and bundles need no token: their signatures protect them, and a USB kit has none either.
    @routes.get("/tuf/{path:path}")
    def tuf(path: str) -> FileResponse:
        missing = HTTPException(404, f"no file '{path[:200]}' in the update repository")
        try:
            file = (tuf_folder / path).resolve()
            if not file.is_relative_to(tuf_folder.resolve()) or not file.is_file():
                raise missing
        except (OSError, ValueError) as error:  # a name that no file can have: too long, or with a NUL
            raise missing from error
        return FileResponse(file, media_type="application/octet-stream")

    @routes.get("/orders/{station}")
    def orders(name: str = without_broker, if_none_match: Annotated[str, Header()] = "") -> Response:
        body = encode_control(desired_of(name))
        headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"', "Cache-Control": "private, no-cache"}
        if headers["ETag"] in (each.strip() for each in if_none_match.split(",")):
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)

    @routes.post("/reports/{station}", status_code=204)
    async def report(request: Request, name: str = without_broker) -> Response:
        body = await _body(request, MAX_REPORT_BYTES, "a report may have at most 64 KiB")
        try:
            state = decode_control(body, ReportedState)
        except BadMessage as error:
            raise HTTPException(422, error.one_line()) from error
        if state.station != name:
            raise HTTPException(403, f"station '{name}' cannot report of '{state.station[:63]}'")
        try:
            await run_in_threadpool(take_report, state, now())
        except TransientError as error:
            raise HTTPException(503, error.one_line(), headers={"Retry-After": str(RETRY_AFTER_S)}) from error
        return Response(status_code=204)

    remembered = RememberedTokens(is_token, now)

    async def asking(station: str, credentials: StationBearer = None) -> str:
        token = credentials.credentials.strip() if credentials is not None else ""
        with told_plainly():
            right = await remembered.is_token(station, token)
        if not right:
            raise HTTPException(401, f"this token is not station '{station[:63]}'s; provision the station again")
        return station

    @routes.post("/fallback/{station}", responses=_FALLBACK_ANSWERS)
    async def fallback(
        request: Request,
        name: str = Depends(asking),
        x_plumbline_bundle: Annotated[str, Header()] = "",
        x_plumbline_deferred: Annotated[str, Header()] = "",
        x_plumbline_within_ms: Annotated[int | None, Header(ge=1)] = None,
    ) -> Response:
        announced = request.headers.get("content-length", "")
        size_bytes = int(announced) if announced.isdecimal() else MAX_IMAGE_BYTES
        if size_bytes > MAX_IMAGE_BYTES:
            raise HTTPException(413, _IMAGE_LIMIT)
        within_s = None if x_plumbline_within_ms is None else min(x_plumbline_within_ms, _MOST_MS) / 1e3
        asked = Asked(name, x_plumbline_bundle, within_s, bool(x_plumbline_deferred), size_bytes)
        try:
            prediction, model = await opinions.ask(asked, lambda: _body(request), lambda: _hung_up(request))
        except TransientError as error:
            after_s = error.retry_after_s if isinstance(error, Busy) else RETRY_AFTER_S if asked.deferred else 1
            raise HTTPException(503, error.one_line(), headers={"Retry-After": str(after_s)}) from error
        except NotFound as error:
            raise HTTPException(404, error.one_line()) from error
        except BadImage as error:
            raise HTTPException(422, f"station {name}: {error.one_line()}") from error
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        answer = {"label": prediction.label.name, "confidence": prediction.confidence, "good": prediction.good}
        return Response(json.dumps({**answer, "model": model}), media_type="application/json")

    @routes.post("/samples/{station}/{sample}", status_code=204)
    async def upload(request: Request, sample: str, name: str = station) -> Response:
        body = await _body(request)
        try:
            await run_in_threadpool(read_pixels, body)  # what the inspector could not see must not enter the queue
            known = await run_in_threadpool(samples.get, sample)
            if known.station != name:
                raise NotFound(f"station '{name}' reported no sample '{sample[:80]}'")
            if known.requested_at is None:
                raise RefusedError(f"nobody asked for sample '{sample}'", hint="images leave a station only on request")
            digest = await run_in_threadpool(images.put, body)
            await run_in_threadpool(samples.mark_received, sample, name, digest, now())
            if known.image_sha256 is None:
                on_image(name, len(body))
        except NotFound as error:
            raise HTTPException(404, error.one_line()) from error
        except BadImage as error:
            raise HTTPException(422, error.one_line()) from error
        except TransientError as error:
            raise HTTPException(503, error.one_line(), headers={"Retry-After": str(RETRY_AFTER_S)}) from error
        except RefusedError as error:
            raise HTTPException(403, error.one_line()) from error
        return Response(status_code=204)

    return routes


async def _hung_up(request: Request) -> None:
    """Return when the client, whose request was read to its end, closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request, max_bytes: int = MAX_IMAGE_BYTES, limit: str = _IMAGE_LIMIT) -> bytes:
    """Return the request's body, at most `max_bytes` of it."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise HTTPException(413, limit)
        chunks.append(chunk)
    return b"".join(chunks)

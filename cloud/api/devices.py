"""What stations ask for over HTTP: update metadata and bundles, a second opinion, and a place for requested images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from cloud.api.auth import station_guard
from cloud.api.images import read_pixels
from cloud.api.lines_first import RETRY_AFTER_S, LinesFirst
from cloud.ports.registry import FullPrecision, ImageFiles
from cloud.store.samples import Samples
from contract.errors import BadImage, NotFound, RefusedError, TransientError

MAX_IMAGE_BYTES = 16 * 1024 * 1024


def device_routes(
    *,
    tuf_folder: Path,
    is_token: Callable[[str, str], bool],
    samples: Samples,
    images: ImageFiles,
    full_precision: FullPrecision,
    now: Callable[[], float],
) -> APIRouter:
    """Return the routes under /v1 that stations use."""
    routes = APIRouter(prefix="/v1")
    # As a default and not in the annotation: FastAPI reads annotations by the module's names and would not find this one.
    station = Depends(station_guard(is_token))

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

    lines_first = LinesFirst()

    @routes.post("/fallback/{station}")
    async def fallback(
        request: Request,
        name: str = station,
        x_plumbline_bundle: Annotated[str, Header()] = "",
        x_plumbline_deferred: Annotated[str, Header()] = "",
    ) -> dict[str, str | float]:
        body = await _body(request)
        try:
            async with lines_first.turn(deferred=bool(x_plumbline_deferred)):
                pixels = await run_in_threadpool(read_pixels, body)
                prediction, model = await run_in_threadpool(full_precision.predict, x_plumbline_bundle, pixels)
        except TransientError as error:
            raise HTTPException(503, error.one_line(), headers={"Retry-After": str(RETRY_AFTER_S)}) from error
        except NotFound as error:
            raise HTTPException(404, error.one_line()) from error
        except BadImage as error:
            raise HTTPException(422, f"station {name}: {error.one_line()}") from error
        return {
            "label": prediction.label.name,
            "confidence": prediction.confidence,
            "good": prediction.good,
            "model": model,
        }

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
        except NotFound as error:
            raise HTTPException(404, error.one_line()) from error
        except BadImage as error:
            raise HTTPException(422, error.one_line()) from error
        except RefusedError as error:
            raise HTTPException(403, error.one_line()) from error
        return Response(status_code=204)

    return routes


async def _body(request: Request) -> bytes:
    """Return the request's body, at most MAX_IMAGE_BYTES of it."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_IMAGE_BYTES:
            raise HTTPException(413, f"an image may have at most {MAX_IMAGE_BYTES // 2**20} MiB")
        chunks.append(chunk)
    return b"".join(chunks)

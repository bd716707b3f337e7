"""The fallback door as it was before it refused anything: each request is decoded and judged alone, on a thread of its own.

usage: python -m scripts.benches.fallback_plain HOME PORT
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Header, Request
from fastapi.concurrency import run_in_threadpool

from cloud.api.auth import station_guard
from cloud.api.images import read_pixels
from cloud.registry.full_precision import FullPrecisionModel, FullPrecisionModels
from cloud.registry.release import Registry
from cloud.store.database import Database
from cloud.store.stations import Stations
from contract.decode import Prediction


def make_app(home: Path) -> FastAPI:
    """Return an application with that one route, over the home folder of a real server."""
    app = FastAPI()
    stations, models = (
        Stations(Database(f"sqlite:///{home / 'cloud.db'}")),
        FullPrecisionModels(Registry(home / "registry")),
    )
    loaded: dict[str, FullPrecisionModel] = {}
    known = Depends(station_guard(stations.is_token))

    def judge(bundle: str, body: bytes) -> dict[str, str | float]:
        model = loaded.get(bundle) or loaded.setdefault(bundle, models.load(bundle))
        answer = model.predict(model.tensor(read_pixels(body)))[0]
        assert isinstance(answer, Prediction)
        return {"label": answer.label.name, "confidence": answer.confidence, "good": answer.good}

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/fallback/{station}")
    async def fallback(
        request: Request, name: str = known, x_plumbline_bundle: Annotated[str, Header()] = ""
    ) -> dict[str, str | float]:
        return await run_in_threadpool(judge, x_plumbline_bundle, await request.body())

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(Path(sys.argv[1])), port=int(sys.argv[2]), log_level="error", access_log=False)

"""The HTTP API behind a real uvicorn on a free port of loopback."""

from __future__ import annotations

import io
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from PIL import Image

from cloud.api.app import make_app
from cloud.api.audit import audit_routes
from cloud.api.auth import Guards, Person, Role
from cloud.api.devices import device_routes
from cloud.api.drift import drift_routes
from cloud.api.fleet import fleet_routes
from cloud.api.idempotency import FirstAnswers
from cloud.api.images import count_pixels, read_pixels
from cloud.api.review import review_routes
from cloud.api.rollout_acts import RolloutActs
from cloud.api.rollouts import rollout_routes
from cloud.drift.trace import TracePoint
from cloud.fallback.service import FallbackService
from cloud.improve_loop import DriftOverview
from cloud.registry.blobs import Blobs
from cloud.review.label_choice import LabelChoice
from cloud.rollout_loop import RolloutLoop, RolloutSettings
from cloud.store.drift_traces import DriftTraces
from cloud.store.review_claims import ReviewClaims
from cloud.store.rollout_reading import RolloutReading
from contract.decode import Prediction
from contract.errors import NotFound
from contract.manifest import Label, LabelKind
from tests.fakes.cloud_fleet import FakeRelease, FakeReleases, PlainSigner
from tests.fakes.cloud_tables import T0, Tables, note, received, summary
from tests.fakes.file_tokens import file_tokens
from tests.fakes.link import RecordingLink

OPERATOR, INSPECTOR = "the operator's token", "the inspector's token"
ANN = "ann's own token"
GUARDS = Guards(
    file_tokens(
        {
            Person("operator", Role.ADMIN): OPERATOR,
            Person("inspector", Role.INSPECTOR): INSPECTOR,
            Person("ann", Role.INSPECTOR): ANN,
        }
    )
)


class BrightModel:
    """`cloud.ports.registry.FullPrecision` and its only model: bright is good."""

    version, batches = "large fp32", True

    def load(self, bundle: str) -> BrightModel:
        if bundle != "d" * 64:
            raise NotFound(f"bundle '{bundle[:12]}' is in no release")
        return self

    def tensor(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        return np.full((1, 1), pixels.mean() / 255)

    def blank(self) -> NDArray[Any]:
        return np.zeros((1, 1))

    def predict(self, tensors: NDArray[Any]) -> list[Prediction]:
        return [Prediction(0, Label("good", LabelKind.GOOD), float(g), float(g)) for g in tensors[:, 0]]


def opinions() -> FallbackService:
    """Return what answers questions by that model."""
    return FallbackService(
        BrightModel(), read_pixels, count_pixels, time.monotonic,
        workers=1, max_batch=4, max_wait_s=0.002, deadline_s=10.0, max_bytes=64 << 20,
    )  # fmt: skip


class CalmDrift:
    """Nothing ever drifts but the left camera of s2; remembers who asked to learn a series anew."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    def drift_of(self, station: str) -> list[dict[str, Any]]:
        labels = {"sentence": "accuracy 0.95 (0.90 to 0.98) on 120 audit labels", "audit": {"labels": 120}}
        quiet = {"camera": "", "phase": "quiet", "sentence": "within the enrolled range", "labels": labels}
        if station != "s2":
            return [{"station": station, **quiet}]
        left = {
            "station": "s2/left",
            "camera": "left",
            "phase": "alarmed",
            "sentence": "lens: fogged",
            "labels": labels,
        }
        return [left, {"station": "s2", **quiet}]

    def re_enrol(self, series: str, actor: str, reason: str) -> None:
        self.asked.append((series, actor, reason))

    def drift_status(self, series: str) -> dict[str, Any]:
        station, _, camera = series.partition("/")
        return next(each for each in self.drift_of(station) if each["camera"] == camera)

    def overview(self) -> DriftOverview:
        return DriftOverview(("s1", "s2", "s2/left"), ("s2/left",), ("s1",), {"fleet": ("s2/left",)})

    def newest_points(self, series: str) -> list[TracePoint]:
        return [TracePoint(int(T0), 3.5, 4.0, math.nan)] if series == "s2/left" else []

    def threshold_log10(self) -> float:
        return 3.5

    def start_retrain(self, alarm: int, actor: str, reason: str) -> int:
        if alarm != 7:
            raise NotFound(f"no alarm {alarm} is open")
        self.asked.append((f"retrain of {alarm}", actor, reason))
        return 3


def serve(app: FastAPI) -> Iterator[str]:
    """Serve `app` until the generator is closed; yield its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start: what it logged says why"
        time.sleep(0.005)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(60)
    listener.close()


@dataclass(frozen=True, slots=True)
class Api:
    """The API and what is behind it. `get` and `post` take a path and a token."""

    url: str
    tables: Tables
    tuf: Path
    drift: CalmDrift
    labels: list[str]
    client: httpx.Client

    def get(self, path: str, token: str | None = OPERATOR, **more: Any) -> httpx.Response:
        return self.client.get(self.url + path, headers=self._headers(token, more), **more)

    def post(self, path: str, token: str | None = OPERATOR, **more: Any) -> httpx.Response:
        return self.client.post(self.url + path, headers=self._headers(token, more), **more)

    @staticmethod
    def _headers(token: str | None, more: dict[str, Any]) -> dict[str, str]:
        headers: dict[str, str] = more.pop("headers", {})
        return headers if token is None else {**headers, "Authorization": f"Bearer {token}"}


@pytest.fixture
def png() -> Callable[..., bytes]:
    def make(level: int = 200, side: int = 16, kind: str = "PNG") -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(np.full((side, side), level, np.uint8)).save(buffer, kind)
        return buffer.getvalue()

    return make


@pytest.fixture
def api(tables: Tables, tmp_path: Path) -> Iterator[Api]:
    tables.add_online("s1", "s2")
    notes = tuple(note(f"x{n}", at=T0 + n) for n in range(3))
    tables.summaries.commit(received(summary("s1", 1, samples=notes)), [])
    tuf, images, drift = tmp_path / "registry" / "tuf", Blobs(tmp_path / "blobs"), CalmDrift()
    tuf.mkdir(parents=True)
    (tmp_path / "registry" / "secret.pem").write_text("a private key")
    releases = FakeReleases(FakeRelease("v1", "d" * 64))
    labels = ["good", "scratch"]
    now = lambda: T0 + 100.0  # noqa: E731
    control = RolloutLoop(
        rollouts=tables.rollouts, stations=tables.stations, releases=releases, signer=PlainSigner(),
        link=RecordingLink(), settings=RolloutSettings(), now=now,
    )  # fmt: skip
    reading = RolloutReading(tables.database)
    routers = [
        device_routes(
            tuf_folder=tuf, is_token=tables.stations.is_token, samples=tables.samples, images=images,
            opinions=opinions(), desired_of=control.desired_of,
            take_report=lambda report, at: tables.stations.commit((), [report], at), now=now,
        ),
        review_routes(
            guards=GUARDS, samples=tables.samples, claims=ReviewClaims(tables.database), images=images,
            choice=lambda: LabelChoice(tuple(labels), frozenset({"good"}), several="dent" in labels), now=now,
        ),
        fleet_routes(
            guards=GUARDS, stations=tables.stations, summaries=tables.summaries, samples=tables.samples,
            control=control, drift=drift, broker_connected=lambda: True,
            now=now,
        ),
        rollout_routes(
            guards=GUARDS, reading=reading, approvals=tables.rollouts.approvals,
            acts=RolloutActs(control, reading.one, now), first_answers=FirstAnswers(),
        ),
        audit_routes(guards=GUARDS, audit=tables.audit),
        drift_routes(
            guards=GUARDS, stations=tables.stations, alarms=tables.alarms, traces=DriftTraces(tables.database),
            drift=drift,
        ),
    ]  # fmt: skip
    with httpx.Client(timeout=60.0) as client:
        served = serve(make_app(routers))
        yield Api(next(served), tables, tuf, drift, labels, client)
        next(served, None)

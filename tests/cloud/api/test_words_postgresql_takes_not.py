"""PostgreSQL takes no NUL in a text: whoever sends one is told so, on every route, and breaks nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.cloud.api.whole_app import WholeApp, bearer, open_whole_app
from tests.fixtures_postgres import Postgres

NUL = "a\0b"
BODIES: dict[str, dict[str, object]] = {
    "POST /v1/stations/line1/stop": {"reason": NUL},
    "POST /v1/drift/line1/re-enrol": {"reason": "x", "camera": NUL},
    "POST /v1/alarms/1/retrain": {"reason": NUL},
    "POST /v1/configurations": {"stations": ["line1"], "settings": f"# {NUL}", "reason": "x"},
    "POST /v1/rollouts": {"version": NUL},
    "POST /v1/rollouts/rollback": {"version": "v1", "reason": NUL},
    "POST /v1/versions/v1/retire": {"reason": NUL},
    "POST /v1/versions/v1/unretire": {"reason": NUL},
    "PUT /v1/aliases/line-3": {"version": NUL, "reason": NUL, "was": NUL},
    "POST /v1/review/x0": {"label": NUL, "labeller": NUL},
    "POST /v1/tokens": {"person": NUL, "role": "viewer"},
}
PATHS = (
    "DELETE /v1/aliases/line-3?reason=%00", "GET /v1/stations/%00", "GET /v1/stations?text=%00&site=%00", "GET /v1/drift/%00",
    "GET /v1/configurations/%00", "POST /v1/stations/%00/stop", "GET /v1/review/%00/image", "GET /review/image/%00",
    "GET /review/overlay/%00", "GET /v1/review/queue?labeller=%00", "GET /v1/audit?text=%00", "GET /v1/versions/%00",
    "GET /v1/stations/line1/windows?camera=%00", "GET /v1/drift/line1/trace?camera=%00", "GET /v1/datasets/%00",
)  # fmt: skip
DEVICE_PATHS = (
    "GET /v1/orders/%00", "POST /v1/fallback/%00", "POST /v1/samples/line1/%00", "POST /v1/samples/%00/x", "POST /v1/renew/%00",
    "POST /v1/reports/%00", "GET /v1/tuf/%00",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[WholeApp]:
    url = postgres.fresh_database()
    yield from open_whole_app(tmp_path_factory.mktemp("whole"), database=url)
    postgres.drop(url)


@pytest.mark.parametrize("operation", [*BODIES, *PATHS])
def test_a_peoples_route_says_no_to_a_nul(whole: WholeApp, operation: str) -> None:
    method, path = operation.split(" ", 1)
    body = BODIES.get(operation, {"reason": "x"} if method == "POST" else None)
    answer = httpx.request(method, whole.url + path, json=body, headers=bearer(whole.operator), timeout=30)
    assert answer.status_code < 500, answer.text
    if operation in BODIES:
        assert answer.status_code in (404, 409, 422), answer.text
    assert whole.tables.audit.check().intact


@pytest.mark.parametrize("operation", DEVICE_PATHS)
def test_a_stations_route_says_no_to_a_nul(whole: WholeApp, operation: str) -> None:
    method, path = operation.split(" ", 1)
    url, headers = whole.devices_url + path, bearer("token of line1")
    answer = httpx.request(method, url, headers=headers, content=b"x" if method == "POST" else None, timeout=30)
    assert 400 <= answer.status_code < 500, answer.text


def test_what_a_station_reports_with_a_nul_is_refused_alone(whole: WholeApp) -> None:
    report = {
        "station": "line1", "boot": "b1", "at": 1e9, "bundle": "", "update_state": "IDLE", "reason": NUL, "v": 1,
    }  # fmt: skip
    url, headers = f"{whole.devices_url}/v1/reports/line1", bearer("token of line1")
    assert httpx.post(url, content=json.dumps(report), headers=headers, timeout=30).status_code == 422
    report["reason"] = "agreed on 41 %"
    assert httpx.post(url, content=json.dumps(report), headers=headers, timeout=30).status_code == 204

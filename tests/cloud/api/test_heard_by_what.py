"""What a station asks over HTTP though it has a broker says nothing of its link: one that died just afterwards is offline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from cloud.api.app import make_app
from cloud.api.devices import device_routes
from cloud.heard_by_http import HeardByHttp
from contract.codec import encode_control
from contract.errors import NotFound
from contract.messages import DesiredState, ReportedState
from tests.cloud.api.conftest import serve
from tests.cloud.api.whole_app import bearer


class _NoOpinion:
    async def ask(self, *_: Any) -> Any:
        raise NotFound("no such bundle")


def test_only_who_asks_for_orders_or_reports_is_heard_by_http(tmp_path: Path) -> None:
    heard = HeardByHttp(lambda: 100.0)
    is_token: Callable[[str, str], bool] = lambda station, token: token == f"of {station}"  # noqa: E731
    routes = device_routes(
        tuf_folder=tmp_path, is_token=is_token, is_token_for_orders=heard.noting(is_token), samples=None, images=None,
        opinions=_NoOpinion(), desired_of=lambda station: DesiredState(station, ""), take_report=lambda *_: None, now=lambda: 100.0,
    )  # type: ignore[arg-type]  # fmt: skip
    server = serve(make_app([routes]))
    url = f"{next(server)}/v1"
    assert httpx.post(f"{url}/samples/s1/x", content=b"none", headers=bearer("of s1"), timeout=60).status_code == 422
    assert httpx.post(f"{url}/fallback/s1", content=b"none", headers=bearer("of s1"), timeout=60).status_code == 404
    assert heard.all() == {}
    assert httpx.get(f"{url}/orders/s2", headers=bearer("wrong"), timeout=60).status_code == 401
    assert httpx.get(f"{url}/orders/s2", headers=bearer("of s2"), timeout=60).status_code == 200
    report = encode_control(ReportedState("s3", "b", 100.0, "", "IDLE"))
    assert httpx.post(f"{url}/reports/s3", content=report, headers=bearer("of s3"), timeout=60).status_code == 204
    assert heard.all() == {"s2": 100.0, "s3": 100.0}
    next(server, None)

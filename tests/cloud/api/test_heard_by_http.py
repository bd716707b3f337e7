"""A station without a broker asks for its orders over HTTP: the fleet says so, and a stranger changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.cloud.api.whole_app import WholeApp, bearer, open_whole_app


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeApp]:
    yield from open_whole_app(tmp_path_factory.mktemp("whole"))


@pytest.mark.slow
def test_its_link_is_by_http_once_it_has_asked_with_its_own_token(whole: WholeApp) -> None:
    whole.tables.stations.add("alone", "its own", "", time.time())

    def shown() -> dict[str, Any]:
        answer = httpx.get(f"{whole.url}/v1/stations?text=alone", headers=bearer(whole.operator), timeout=60)
        (found,) = answer.raise_for_status().json()["stations"]
        return dict(found)

    door = whole.devices_url
    assert httpx.get(f"{door}/v1/orders/alone", headers=bearer("wrong"), timeout=60).status_code == 401
    assert shown()["link"] == "never heard"
    assert httpx.get(f"{door}/v1/orders/alone", headers=bearer("its own"), timeout=60).status_code == 200
    until = time.monotonic() + 120.0
    # What pages and API have of the server's memory is a few seconds old at most.
    while (found := shown())["link"] != "by HTTP":
        assert time.monotonic() < until, found
        time.sleep(0.2)
    asked = f"{whole.url}/v1/stations?link=by%20HTTP"
    answer = httpx.get(asked, headers=bearer(whole.operator), timeout=60).json()
    assert [each["station"] for each in answer["stations"]] == ["alone"]

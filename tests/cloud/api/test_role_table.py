"""Every route of the real application against every role: a route that nobody wrote down here fails."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from cloud.api.auth import COOKIE, SCOPES, Role, Scope
from tests.cloud.api.whole_app import WholeApp, bearer, open_whole_app, routes_of

OPEN = "nobody in particular"
ANYBODY = "whoever is known"
STATION = "the station itself"
PAGE = "a page's cookie alone, of who may review"

# The law, written by hand.
TABLE: dict[str, Scope | str] = {
    "DELETE /v1/aliases/{alias}": Scope.RELEASE,
    "DELETE /v1/sessions/{session}": Scope.ADMIN,
    "DELETE /v1/tokens/{token}": Scope.ADMIN,
    "GET /healthz": OPEN,
    "GET /livez": OPEN,
    "GET /metrics": Scope.READ,
    "GET /review/image/{sample}": Scope.REVIEW,
    "GET /review/overlay/{sample}": Scope.REVIEW,
    "GET /sign-in": OPEN,
    "GET /v1/alarms": Scope.READ,
    "GET /v1/aliases": Scope.READ,
    "GET /v1/audit": Scope.READ,
    "GET /v1/audit/export": Scope.READ,
    "GET /v1/audit/verify": Scope.READ,
    "GET /v1/ca": OPEN,
    "GET /v1/configurations/{station}": Scope.READ,
    "GET /v1/costs": Scope.READ,
    "GET /v1/datasets": Scope.READ,
    "GET /v1/datasets/diff": Scope.READ,
    "GET /v1/datasets/{reference}": Scope.READ,
    "GET /v1/drift": Scope.READ,
    "GET /v1/drift/{station}": Scope.READ,
    "GET /v1/drift/{station}/trace": Scope.READ,
    "GET /v1/fleet": Scope.READ,
    "GET /v1/fleet/counts": Scope.READ,
    "GET /v1/me": ANYBODY,
    "GET /v1/openapi.json": OPEN,
    "GET /v1/promises": Scope.READ,
    "GET /v1/retrains": Scope.READ,
    "GET /v1/retrains/decisions": Scope.READ,
    "GET /v1/review/agreement": Scope.REVIEW,
    "GET /v1/review/disputes": Scope.TUNE,
    "GET /v1/review/queue": Scope.REVIEW,
    "GET /v1/review/{sample}/image": Scope.REVIEW,
    "GET /v1/review/{sample}/looked": Scope.REVIEW,
    "GET /v1/rollouts": Scope.READ,
    "GET /v1/rollouts/{rollout}": Scope.READ,
    "GET /v1/rollouts/{rollout}/ab": Scope.READ,
    "GET /v1/rollouts/{rollout}/stations": Scope.READ,
    "GET /v1/rollouts/{rollout}/timeline": Scope.READ,
    "GET /v1/sessions": Scope.ADMIN,
    "GET /v1/stations": Scope.READ,
    "GET /v1/stations/{station}": Scope.READ,
    "GET /v1/stations/{station}/timeline": Scope.READ,
    "GET /v1/stations/{station}/windows": Scope.READ,
    "GET /v1/tokens": Scope.ADMIN,
    "GET /v1/versions": Scope.READ,
    "GET /v1/versions/{version}": Scope.READ,
    "GET /v1/versions/{version}/dataset": Scope.READ,
    "GET /v1/versions/{version}/report": Scope.READ,
    "POST /sign-in": OPEN,
    "POST /sign-out": OPEN,
    "POST /v1/alarms/{alarm}/retrain": Scope.TUNE,
    "POST /v1/configurations": Scope.TUNE,
    "POST /v1/drift/{station}/re-enrol": Scope.TUNE,
    "POST /v1/enrol": OPEN,  # its body holds a one-time token
    "POST /v1/review/{sample}": Scope.REVIEW,
    "POST /v1/review/{sample}/claim": Scope.REVIEW,
    "POST /v1/review/{sample}/release": Scope.REVIEW,
    "POST /v1/review/{sample}/undo": Scope.REVIEW,
    "POST /v1/rollouts": Scope.RELEASE,
    "POST /v1/rollouts/ab": Scope.RELEASE,
    "POST /v1/rollouts/rollback": Scope.RELEASE,
    "POST /v1/rollouts/{rollout}/abort": Scope.HALT,
    "POST /v1/rollouts/{rollout}/approve": Scope.RELEASE,
    "POST /v1/rollouts/{rollout}/conclude": Scope.RELEASE,
    "POST /v1/rollouts/{rollout}/pause": Scope.HALT,
    "POST /v1/rollouts/{rollout}/reject": Scope.RELEASE,
    "POST /v1/rollouts/{rollout}/resume": Scope.RELEASE,
    "POST /v1/stations/{station}/stop": Scope.HALT,
    "POST /v1/tokens": Scope.ADMIN,
    "POST /v1/versions/{version}/retire": Scope.RELEASE,
    "POST /v1/versions/{version}/unretire": Scope.RELEASE,
    "PUT /v1/aliases/{alias}": Scope.RELEASE,
}
DEVICES: dict[str, str] = {
    "GET /healthz": OPEN,
    "GET /livez": OPEN,
    "GET /v1/openapi.json": OPEN,
    "GET /v1/orders/{station}": STATION,
    "GET /v1/tuf/{path:path}": OPEN,  # signed
    "POST /v1/fallback/{station}": STATION,
    "POST /v1/renew/{station}": STATION,
    "POST /v1/reports/{station}": STATION,
    "POST /v1/samples/{station}/{sample}": STATION,
}
# What a page shows or offers to save: a GET with the page's cookie does.
FROM_PAGES = {
    "GET /metrics", "GET /v1/review/{sample}/image", "GET /v1/versions/{version}/report",
    "GET /review/image/{sample}", "GET /review/overlay/{sample}",
}  # fmt: skip
_VALUES = {
    "{station}": "line1",
    "{sample}": "x0",
    "{rollout}": "99",
    "{alarm}": "99",
    "{session}": "0" * 16,
    "{token}": "999",
    "{path:path}": "x",
    "{alias}": "champion",
    "{version}": "v9",
    "{reference}": "9",
}
_CONFIG = "\n[auth]\nopen_on_loopback = false\nrequests_per_minute = 100000\nfailures_per_minute = 100000\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeApp]:
    yield from open_whole_app(tmp_path_factory.mktemp("whole"), _CONFIG)


@pytest.fixture(scope="module")
def tokens(whole: WholeApp) -> dict[Role, str]:
    return {role: whole.token(f"{role.value} anna", role.value)[1] for role in Role}


def ask(url: str, operation: str, **more: object) -> httpx.Response:
    method, path = operation.split(" ")
    for name, value in _VALUES.items():
        path = path.replace(name, value)
    body = {} if method in ("POST", "PUT") and path.startswith("/v1/") else None
    return httpx.request(method, url + path, json=body, timeout=30, **more)  # type: ignore[arg-type]


def test_every_route_is_in_the_table(whole: WholeApp) -> None:
    assert routes_of(whole.app) == sorted(TABLE)
    assert routes_of(whole.device_app) == sorted(DEVICES)


@pytest.mark.parametrize("operation", TABLE)
def test_a_route_lets_in_whom_the_table_says(whole: WholeApp, tokens: dict[Role, str], operation: str) -> None:
    needs = TABLE[operation]
    without = ask(whole.url, operation)
    wrong = ask(whole.url, operation, headers=bearer("wrong"))
    station = ask(whole.url, operation, headers=bearer("token of line1"))
    if needs == OPEN:
        assert 401 not in (without.status_code, wrong.status_code)
        return
    if needs == PAGE:
        assert [each.status_code for each in (without, wrong, station)] == [403] * 3
        return
    assert [each.status_code for each in (without, wrong, station)] == [401] * 3
    assert without.headers["www-authenticate"] == "Bearer"
    for role, token in tokens.items():
        code = ask(whole.url, operation, headers=bearer(token)).status_code
        if needs == ANYBODY or needs in SCOPES[role]:
            assert code not in (401, 403) and code < 500, (role, code)
        else:
            assert code == 403, (role, code)


@pytest.mark.parametrize("operation", [each for each, needs in TABLE.items() if needs != OPEN])
def test_a_cookie_opens_what_pages_show_and_nothing_else(whole: WholeApp, operation: str) -> None:
    signed_in = httpx.post(f"{whole.url}/sign-in", data={"token": whole.operator})
    cookies = {COOKIE: signed_in.cookies[COOKIE]}
    code = ask(whole.url, operation, cookies=cookies).status_code
    if TABLE[operation] == PAGE:
        assert code not in (401, 403)
        assert ask(whole.url, operation, cookies={COOKIE: "x" * 43}).status_code == 403
        return
    assert (code != 401) == (operation in FROM_PAGES)
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert ask(whole.url, operation, cookies=cookies, headers=foreign).status_code == 401
    if operation in FROM_PAGES:
        assert ask(whole.url, operation, cookies={COOKIE: "x" * 43}).status_code == 401


@pytest.mark.parametrize("operation", DEVICES)
def test_a_stations_route_lets_in_that_station(whole: WholeApp, operation: str) -> None:
    answers = [
        ask(whole.devices_url, operation, headers=bearer(token)).status_code
        for token in ("token of line2", whole.operator, "wrong", "token of line1")
    ]
    if DEVICES[operation] == OPEN:
        assert 401 not in answers
    else:
        assert answers[:3] == [401] * 3 and answers[3] != 401

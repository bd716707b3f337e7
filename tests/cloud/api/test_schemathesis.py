"""The real application against its own OpenAPI: what Schemathesis makes up, over HTTP, with real tables behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import positive_data_acceptance, use_after_free

from tests.cloud.api.test_role_table import DEVICES, TABLE
from tests.cloud.api.whole_app import WholeApp, bearer, open_whole_app

# All checks: no 5xx, documented codes, content types and shapes, bad values refused, good ones taken, no way in without a token.
_EXAMPLES = 6
_CONFIG = "\n[auth]\nrequests_per_minute = 1000000\nfailures_per_minute = 1000000\nopen_on_loopback = false\n"
# Whose request is good by more than its schema: what can name a version, an Idempotency-Key that no other act had, who labels
# where a token is shared, settings of an agent, a certificate request, pixels, a message of ours.
_MORE_THAN_SCHEMA = {
    "POST /v1/rollouts", "POST /v1/rollouts/ab", "POST /v1/rollouts/rollback", "POST /v1/rollouts/{rollout}/pause",
    "POST /v1/rollouts/{rollout}/reject", "POST /v1/rollouts/{rollout}/approve", "POST /v1/rollouts/{rollout}/resume",
    "POST /v1/rollouts/{rollout}/conclude", "POST /v1/rollouts/{rollout}/abort",
    "PUT /v1/aliases/{alias}", "POST /v1/review/{sample}",
    "POST /v1/review/{sample}/claim", "POST /v1/review/{sample}/release", "POST /v1/review/{sample}/undo",
    "POST /v1/configurations", "POST /v1/enrol", "POST /v1/renew/{station}", "POST /v1/reports/{station}",
    "POST /v1/fallback/{station}", "POST /v1/samples/{station}/{sample}",
}  # fmt: skip
_UNDOCUMENTED = {
    "GET /review/image/{sample}",
    "GET /review/overlay/{sample}",
    "GET /sign-in",
    "POST /sign-in",
    "POST /sign-out",
    "GET /v1/openapi.json",
}


@dataclass(frozen=True, slots=True)
class Described:
    """An application's operations by label, and the token that is let in."""

    operations: dict[str, APIOperation]
    token: str


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeApp]:
    yield from open_whole_app(tmp_path_factory.mktemp("whole"), _CONFIG)


@pytest.fixture(scope="module")
def people(whole: WholeApp) -> Described:
    return Described(_operations(whole.app.openapi(), whole.url), whole.operator)


@pytest.fixture(scope="module")
def stations(whole: WholeApp) -> Described:
    return Described(_operations(whole.device_app.openapi(), whole.devices_url), "token of line1")


def _operations(document: dict[str, object], url: str) -> dict[str, APIOperation]:
    # The token is given with each request; Schemathesis itself leaves it out, and puts in wrong ones, to see the door shut.
    generation = GenerationConfig(with_security_parameters=False, deterministic=True)
    project = ProjectConfig(base_url=url, generation=generation)
    schema = schemathesis.openapi.from_dict(
        document, config=SchemathesisConfig(projects=ProjectsConfig(default=project))
    )
    found = [each.ok() for each in schema.get_all_operations()]
    return {each.label: each for each in found}


def _run(described: Described, label: str, mode: GenerationMode) -> None:
    operation = described.operations[label.replace(":path}", "}")]
    excluded: list[CheckFunction] = [use_after_free]
    if label in _MORE_THAN_SCHEMA:
        excluded.append(positive_data_acceptance)

    @settings(
        max_examples=_EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=bearer(described.token), excluded_checks=excluded)

    try:
        ask()
    except Unsatisfiable:
        # Nothing can be wrong where any text will do, or nothing is asked.
        assert mode is GenerationMode.NEGATIVE and not operation.body


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
@pytest.mark.parametrize("label", sorted(set(TABLE) - _UNDOCUMENTED))
def test_a_peoples_route_keeps_what_the_openapi_says(people: Described, label: str, mode: GenerationMode) -> None:
    _run(people, label, mode)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
@pytest.mark.parametrize("label", sorted(set(DEVICES) - _UNDOCUMENTED))
def test_a_stations_route_keeps_what_the_openapi_says(stations: Described, label: str, mode: GenerationMode) -> None:
    _run(stations, label, mode)


def test_every_route_is_described(people: Described, stations: Described) -> None:
    assert set(people.operations) == set(TABLE) - _UNDOCUMENTED
    assert set(stations.operations) == {each.replace(":path}", "}") for each in set(DEVICES) - _UNDOCUMENTED}

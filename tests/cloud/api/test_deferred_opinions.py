"""Second opinions nobody waits for: asked by the agent's own client, served after those that a line waits for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.clock import SystemClock
from agent.uplink.deferred import DEFERRED_HEADER, HttpOpinions
from contract.errors import NotFound, RefusedError
from contract.manifest import Label, LabelKind
from tests.cloud.api.conftest import Api

GOOD = (Label("good", LabelKind.GOOD),)


def opinions(api: Api) -> HttpOpinions:
    api.client.headers["Authorization"] = "Bearer token of s1"
    return HttpOpinions(api.client, api.url, "s1", SystemClock())


def test_the_cloud_answers_what_the_agent_asks_later(api: Api, png: Callable[..., bytes]) -> None:
    prediction, model = opinions(api).ask(png(255), "d" * 64, GOOD)
    assert (prediction.label.name, prediction.good, model) == ("good", 1.0, "large fp32")


def test_the_agent_understands_what_the_cloud_will_not_answer(api: Api, png: Callable[..., bytes]) -> None:
    with pytest.raises(NotFound, match="in no release"):
        opinions(api).ask(png(), "f" * 64, GOOD)
    with pytest.raises(RefusedError, match="no usable PNG"):
        opinions(api).ask(b"torn", "d" * 64, GOOD)


def test_a_deferred_question_needs_the_stations_token_too(api: Api, png: Callable[..., bytes]) -> None:
    headers = {"X-Plumbline-Bundle": "d" * 64, DEFERRED_HEADER: "1"}
    assert api.post("/v1/fallback/s1", "wrong", content=png(), headers=headers).status_code == 401

"""Second opinions nobody waits for: asked by the agent's own client, served after those that a line waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from agent.clock import SystemClock
from agent.uplink.deferred import DEFERRED_HEADER, HttpOpinions
from cloud.api.lines_first import LinesFirst
from contract.errors import DeadlinePassed, NotFound, RefusedError
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


def test_a_line_is_served_at_once_and_who_can_wait_waits_for_it() -> None:
    async def story() -> list[str]:
        turns, order = LinesFirst(patience_s=20.0), []
        line_done = asyncio.Event()

        async def line(name: str) -> None:
            async with turns.turn(deferred=False):
                order.append(f"{name} begins")
                await line_done.wait()
            order.append(f"{name} ends")

        async def later(name: str) -> None:
            async with turns.turn(deferred=True):
                order.append(f"{name} begins")
                await asyncio.sleep(0)
                order.append(f"{name} ends")

        lines = [asyncio.create_task(line(name)) for name in ("line 1", "line 2")]
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(later(name)) for name in ("later 1", "later 2")]
        await asyncio.sleep(0.1)
        line_done.set()
        await asyncio.gather(*lines, *waiting)
        return order

    order = asyncio.run(story())
    assert order[:2] == ["line 1 begins", "line 2 begins"]
    assert order[2:4] == ["line 1 ends", "line 2 ends"]
    assert sorted((order[4:6], order[6:8])) == [[f"later {n} begins", f"later {n} ends"] for n in (1, 2)]


def test_who_can_wait_is_sent_away_when_lines_keep_coming_or_too_many_wait() -> None:
    async def story() -> None:
        turns = LinesFirst(patience_s=0.1, most_waiting=1)
        async with turns.turn(deferred=False):
            waits = asyncio.create_task(_turn(turns))
            await asyncio.sleep(0)
            with pytest.raises(DeadlinePassed, match="too many"):
                await _turn(turns)
            with pytest.raises(DeadlinePassed, match="served first"):
                await waits
        await _turn(turns)

    asyncio.run(story())


async def _turn(turns: LinesFirst) -> None:
    async with turns.turn(deferred=True):
        pass

"""Whether a token is right is told from memory: the table is read once a second, however many tokens are shown."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import HTTPException

from cloud.api.limits import RequestLimits
from cloud.api.right_tokens import RightTokens
from cloud.store.access import fingerprint
from contract.errors import TransientError
from tests.fakes.agent_clock import HandClock


class Table:
    """Tokens that enrol somebody; it counts how often it is read."""

    def __init__(self, *tokens: str) -> None:
        self.tokens, self.reads, self.away = set(tokens), 0, False

    def read(self) -> frozenset[str]:
        self.reads += 1
        if self.away:
            raise TransientError("the database did not take it: 10.1.2.3")
        return frozenset(map(fingerprint, self.tokens))


def test_a_thousand_wrong_tokens_cost_one_look_and_a_new_one_is_known_a_second_later() -> None:
    clock, table = HandClock(), Table("right")
    tokens = RightTokens(table.read, clock.monotonic)

    async def ask() -> None:
        assert await tokens.has("right") and not await tokens.has("")
        at_once = await asyncio.gather(*(tokens.has(f"wrong {n}") for n in range(1000)))
        assert not any(at_once) and table.reads == 1
        table.tokens = {"new"}
        assert not await tokens.has("new")
        clock.forward(1.0)
        at_once = await asyncio.gather(*(tokens.has(each) for each in ["right", "new"] * 50))
        assert at_once == [False, True] * 50 and table.reads == 2

    asyncio.run(ask())


def test_for_sure_it_waits_for_the_next_read_and_all_who_wait_share_it() -> None:
    clock, table, slept = HandClock(), Table("right"), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0.0)
        clock.forward(seconds)

    tokens = RightTokens(table.read, clock.monotonic, sleep=sleep)

    async def ask() -> None:
        assert not await tokens.has("new") and table.reads == 1
        clock.forward(0.25)
        table.tokens.add("new")
        assert not await tokens.has("new")
        asked = [tokens.has(each, for_sure=True) for each in ["wrong", "new", "right"] * 100]
        assert await asyncio.gather(*asked) == [False, True, True] * 100
        assert table.reads == 2 and slept == [0.75]
        assert await tokens.has("new", for_sure=True), "known is known"
        assert table.reads == 2

    asyncio.run(ask())


def test_without_a_database_it_says_so_plainly_and_goes_on_when_it_is_back() -> None:
    clock, table = HandClock(), Table("right")
    tokens = RightTokens(table.read, clock.monotonic)

    async def ask() -> None:
        table.away = True
        with pytest.raises(HTTPException) as refused:
            await tokens.has("right")
        assert refused.value.status_code == 503 and "10.1.2.3" not in refused.value.detail
        table.away = False
        assert await tokens.has("right")

    asyncio.run(ask())


def test_uses_of_one_token_are_counted_apart_from_all_else() -> None:
    clock = HandClock()
    limits = RequestLimits(2, 3, monotonic=clock.monotonic, salt=b"0123456789abcdef")
    for number in range(3):
        limits.count_use("right")
        limits.note_try("10.0.0.5", f"wrong {number}", good=False)
    with pytest.raises(HTTPException, match="429"):
        limits.count_use("right")
    limits.count_use("another")
    clock.forward(20.0)
    limits.count_use("right")

"""The server killed between any two things it does for good, while people approve, compare, conclude and roll back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from cloud.rollout.plan import read_plan
from cloud.rollout.rollout_states import LIVE, RolloutState
from contract.errors import PlumblineError
from contract.messages import StationState
from tests.cloud.rollout.test_restart_mid_wave import NEW, OLD, STATIONS, Server, sweep


def _insist(server: Server, act: Callable[[], object], done: Callable[[], bool]) -> None:
    """A person does something, and again where the answer did not come and it was not done."""

    def once() -> None:
        with suppress(PlumblineError):
            act()

    for _ in range(3):
        if server.alive(once) or done():
            return


def _until(server: Server, state: RolloutState) -> None:
    for _ in range(4):
        server.turns()
        if server.outside.rollouts.all()[-1].state is state:
            return
    raise AssertionError(f"{server.outside.rollouts.all()[-1].state} instead of {state}")


def approved_and_shadowed(server: Server) -> None:
    births = [StationState(s, "b1", True, 0.0, agent_version="0.2.0") for s in STATIONS]
    server.outside.stations.commit(births, [], server.clock.now())
    plan = msgspec.structs.replace(server.loop.plan(), approvals=1, shadow_stations=2)
    book = server.outside.rollouts
    _insist(server, lambda: server.loop.start("v2", (), "rosa", plan=plan), lambda: bool(book.all()))
    server.turns(2)
    assert book.all()[-1].state is RolloutState.PROPOSED and not server.link.desired()
    _insist(server, lambda: server.loop.approve(1, "eva", True), lambda: bool(book.approvals.of(1)))
    _until(server, RolloutState.DONE)
    assert set(server.fleet.running.values()) == {NEW} and len(book.approvals.of(1)) == 1
    orders = {(order.station, order.probation.shadow_only) for order in server.check_orders()}
    assert orders == {(s, False) for s in STATIONS} | {("s1", True), ("s2", True)}


def compared_and_kept(server: Server) -> None:
    book = server.outside.rollouts
    _insist(
        server,
        lambda: server.loop.start_ab("v2", 0.5, "rosa", until=server.clock.now() + 1e6),
        lambda: bool(book.all()),
    )
    server.turns(8)
    assert sorted(server.fleet.running.values()) == [OLD, OLD, NEW, NEW]
    keep = lambda: server.loop.conclude_ab(1, "b", "eva", "better")  # noqa: E731
    _insist(server, keep, lambda: read_plan(book.get(1).plan).keep == "b")
    _until(server, RolloutState.DONE)
    assert set(server.fleet.running.values()) == {NEW}
    server.check_orders()


def rolled_back_by_hand(server: Server) -> None:
    book = server.outside.rollouts
    _insist(server, lambda: server.loop.start("v2", (), "rosa"), lambda: bool(book.all()))
    _until(server, RolloutState.DONE)
    _insist(server, lambda: server.loop.roll_back("v1", "eva", "cracks"), lambda: len(book.all()) == 2)
    _until(server, RolloutState.DONE)
    assert set(server.fleet.running.values()) == {OLD} and len(book.all()) == 2
    assert not [each for each in book.all() if each.state in LIVE]
    server.check_orders()


stories = pytest.mark.parametrize("story", [approved_and_shadowed, compared_and_kept, rolled_back_by_hand])


@stories
def test_a_server_killed_at_some_steps_of_what_people_do_loses_and_doubles_nothing(
    tmp_path: Path, story: Callable[[Server], None]
) -> None:
    sweep(tmp_path, story, 9)


@pytest.mark.long
@stories
def test_a_server_killed_at_every_step_of_what_people_do_loses_and_doubles_nothing(
    tmp_path: Path, story: Callable[[Server], None]
) -> None:
    sweep(tmp_path, story, 1)

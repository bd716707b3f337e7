"""An order to decide unseen only: the candidate shows itself, is never in charge, and is put away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from update_plant import PROBATION, Plant, plant

from agent.update_status import update_status
from contract.messages import SHADOWED, Probation
from tests.agent.test_frame_loop import PASS, Bench, bright
from tests.fakes.agent_line import bundle

UNSEEN = msgspec.structs.replace(PROBATION, shadow_only=True)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Plant]:
    with plant(tmp_path) as made:
        yield made


def in_slots(here: Plant) -> set[str]:
    return {path.name for path in (here.home / "bundles" / "slots").iterdir()}


def test_on_the_line_it_decides_unseen_and_the_incumbent_stays_in_charge() -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=1000)
    bench.offer(bundle("b"), Probation(3, 0.9, timeout_s=60.0, serve_s=3600.0, shadow_only=True))
    told = bench.switch.news()
    assert told is not None and told.left_s == 60.0, "no time in charge is waited for"
    assert bench.feed(*bright(3)) == [PASS] * 3
    bench.loop.step()
    outcome = bench.outcome()
    assert outcome is not None and outcome.shadowed and not outcome.kept and (outcome.frames, outcome.agreed) == (3, 3)
    assert bench.serving.in_charge is not None and bench.serving.in_charge.bundle.digest[:1] == "a"
    assert bench.runtimes["b"].closed and not bench.runtimes["a"].closed
    (note,) = [summary.shadow for summary in bench.finish()]
    assert note is not None and (note.frames, note.agreed) == (3, 3)


def test_on_the_line_it_is_turned_down_where_nothing_is_in_charge() -> None:
    bench = Bench(enrol_frames=1000)
    bench.offer(bundle("b"), Probation(3, 0.0, shadow_only=True))
    bench.feed(*bright(2))
    outcome = bench.outcome()
    assert (
        outcome is not None and not outcome.kept and not outcome.shadowed and "no bundle is in charge" in outcome.reason
    )
    assert bench.serving.in_charge is None and bench.runtimes["b"].closed


def test_the_report_says_shadowed_and_what_ran_goes_on(here: Plant) -> None:
    running, other = here.deploy("1"), here.release("2", seed=1)
    here.send(here.order(other, "unseen", probation=UNSEEN))
    said = here.settle(here.loop())
    assert (said.update_state, said.outcome, said.bundle) == ("IDLE", SHADOWED, running.digest)
    assert (said.deployment, said.candidate, said.shadow_frames, said.shadow_agreed) == ("unseen", other.digest, 10, 9)
    assert said.reason == "decided 10 frames unseen, 9 of them as the bundle in charge"
    booted = here.slots().boot_bundle()
    assert booted is not None and booted.digest == running.digest
    assert here.slots().banned() == frozenset()


def test_after_a_restart_it_is_said_again_and_the_order_come_again_is_not_tried_again(here: Plant) -> None:
    here.deploy("1")
    envelope = here.send(here.order(here.release("2", seed=1), "unseen", probation=UNSEEN))
    here.settle(here.loop())
    offered = len(here.switch.offered)
    here.send(envelope)
    loop = here.loop()
    said = here.settle(loop)
    assert (said.outcome, said.deployment, loop.refused_orders) == (SHADOWED, "unseen", 0)
    assert len(here.switch.offered) == offered
    status = update_status(here.home, "s", None)
    assert status["last"]["shadowed"] and not status["last"]["kept"] and status["banned"] == []


def test_what_decided_unseen_is_not_fetched_again_when_it_is_ordered_in_earnest(here: Plant) -> None:
    here.deploy("1")
    other = here.release("2", seed=1)
    here.send(here.order(other, "unseen", probation=UNSEEN))
    here.settle(here.loop())
    assert other.digest in in_slots(here)
    asked = len(here.server.seen)
    here.send(here.order(other, "earnest"))
    said = here.settle(here.loop())
    assert (said.update_state, said.bundle, said.outcome) == ("COMMITTED", other.digest, "")
    assert not any(path.endswith((".plb", ".pld")) for path, _ in here.server.seen[asked:])


def test_it_makes_room_for_another_bundle(here: Plant) -> None:
    here.deploy("1")
    unseen = here.release("2", seed=1)
    here.send(here.order(unseen, "unseen", probation=UNSEEN))
    here.settle(here.loop())
    third = here.deploy("3", seed=2)
    assert unseen.digest not in in_slots(here) and third.digest in in_slots(here)


def test_one_that_fails_unseen_is_rolled_back_as_ever(here: Plant) -> None:
    running, other = here.deploy("1"), here.release("2", seed=1)
    here.switch.verdict = "agreed on 2 of 10 frames"
    here.send(here.order(other, "unseen", probation=UNSEEN))
    said = here.settle(here.loop())
    assert (said.update_state, said.outcome, said.bundle) == ("ROLLED_BACK", "", running.digest)
    assert (other.digest, "unseen") in here.slots().banned()

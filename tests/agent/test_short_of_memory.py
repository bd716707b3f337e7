"""A station that runs short of memory: a candidate goes first, then the smaller artefact comes, and last the models beside go."""

from __future__ import annotations

import threading

from agent.beside import BesideModels, Wanted
from agent.decide.degrade import LadderRules, Rung
from agent.decide.heat import Heat
from agent.decide.memory import MemoryRoom
from agent.degrading import Degrading
from agent.loading import Model
from contract.messages import Probation
from tests.agent.test_beside import Beside
from tests.agent.test_frame_loop import PASS, REJECT, Bench, bright
from tests.agent.test_frame_loop import review as seen_as
from tests.agent.test_probation import in_charge
from tests.fakes.agent_line import BrightRuntime, ListLog, bundle, image

RULES = LadderRules(climb_after_s=10.0, relief_s=60.0)


class Station:
    """A ladder that is looked at once a second, on a machine whose free memory is said."""

    def __init__(self) -> None:
        self.free_mib, self.now_s, self.log, self.has_beside = 4000.0, 0.0, ListLog(), True
        self.degrading = Degrading(
            RULES,
            self.log,
            heat=Heat,
            power_trouble=lambda _now_s: "",
            memory=lambda: MemoryRoom(7620.0, self.free_mib),
        )

    def seconds(self, count: int) -> Degrading:
        for _ in range(count):
            self.now_s += 1.0
            self.degrading.tick(self.now_s, 0, 0, has_beside=self.has_beside)
        return self.degrading


def test_each_thing_goes_in_its_turn_and_comes_back_last_first() -> None:
    station = Station()
    assert station.seconds(60).short_of_memory == ""
    station.free_mib = 300.0
    assert station.seconds(12).short_of_memory == ""  # no second opinion yet, which costs nothing
    station.seconds(10)
    assert station.degrading.short_of_memory == "the station is short of memory: 300 of 7620 MiB are left"
    assert not station.degrading.shadow
    assert station.seconds(10).smaller_artefact
    assert station.seconds(600).models_beside  # low is not critical
    assert station.degrading.judge_one_in == 1
    station.free_mib = 100.0
    assert not station.seconds(12).models_beside
    assert station.log.lines[-1].startswith(
        "memory: 100 MiB are left; the models beside the one in charge are given up"
    )
    station.free_mib = 700.0  # what they freed
    assert not station.seconds(600).models_beside
    # Nor does anything else take what they need: without them nothing passes.
    assert (station.degrading.figures.rung, station.degrading.short_of_memory) == (Rung.SMALLER_ARTEFACT, "")
    station.free_mib = 1500.0
    assert not station.seconds(30).models_beside
    assert station.seconds(32).models_beside
    assert station.log.lines[-1] == "memory: 1500 MiB are left; the models beside the one in charge are taken up again"
    assert station.seconds(190).figures.rung is Rung.FULL


def test_even_when_memory_is_critical_at_once_the_others_go_first() -> None:
    station = Station()
    station.free_mib = 50.0
    assert station.seconds(32).smaller_artefact and station.degrading.models_beside
    assert not station.seconds(12).models_beside


def test_a_station_that_has_no_models_beside_gives_none_up_and_says_nothing_of_them() -> None:
    station = Station()
    station.has_beside, station.free_mib = False, 10.0
    assert station.seconds(600).models_beside and station.degrading.smaller_artefact
    station.free_mib = 700.0
    assert station.seconds(200).figures.rung is Rung.FULL
    assert not any("beside" in line for line in station.log.lines)
    line = Beside()
    assert not line.beside.any_wanted
    line.settled("foreign")
    assert line.beside.any_wanted


def test_a_station_whose_memory_cannot_be_read_gives_up_nothing() -> None:
    degrading = Degrading(RULES, ListLog(), heat=Heat, power_trouble=lambda _now_s: "")
    for second in range(600):
        degrading.tick(float(second), 0, 0)
    assert (degrading.figures.rung, degrading.models_beside, degrading.short_of_memory) == (Rung.FULL, True, "")


def test_models_beside_that_are_given_up_are_freed_and_nothing_passes_until_they_are_back() -> None:
    line = Beside()
    bench = line.settled("foreign")
    assert bench.feed(image(230)) == [PASS]
    line.beside.give_up(True)
    assert bench.feed(image(230, 1), image(20, 2)) == [seen_as("no_model"), REJECT]
    assert line.runtimes[0].closed
    assert line.beside.states() == {"foreign": "given up while the station is short of memory"}
    line.want("foreign", "other")  # a reload does not bring them back
    assert line.beside.settle(20) and len(line.runtimes) == 1
    line.beside.give_up(False)
    assert line.beside.settle(20)
    assert line.beside.states() == {"foreign": "loaded", "other": "loaded"}
    assert bench.feed(image(230, 3)) == [PASS]


def test_a_model_that_was_being_loaded_when_they_were_given_up_is_freed() -> None:
    begun, gate, runtime = threading.Event(), threading.Event(), BrightRuntime()

    def load(_wanted: Wanted) -> Model:
        begun.set()
        assert gate.wait(60)
        return Model(bundle("f"), runtime, bundle("f").manifest.artefacts[0], "0" * 64)

    beside = BesideModels(load, ListLog())
    beside.want([Wanted("foreign", "foreign.plb")])
    assert begun.wait(60)
    beside.give_up(True)
    gate.set()
    assert beside.settle(20)
    beside.at_frame_boundary()
    assert beside.of("") == (None,) and runtime.closed


def test_a_candidate_is_turned_down_and_freed_before_it_costs_the_station() -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=1000)
    bench.offer(bundle("b"), Probation(100, 0.9, serve_s=3600.0))
    assert bench.feed(*bright(3)) == [PASS] * 3
    assert bench.outcome() is None
    bench.short_of_memory = "the station is short of memory: 300 of 7620 MiB are left"
    bench.loop.step()
    outcome = bench.outcome()
    assert outcome is not None and not outcome.kept and outcome.reason == bench.short_of_memory
    assert bench.runtimes["b"].closed and not bench.runtimes["a"].closed
    assert bench.feed(*bright(2, 10)) == [PASS] * 2


def test_a_candidate_that_is_in_charge_stays_there() -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=1000)
    bench.offer(bundle("b"), Probation(3, 0.9, serve_s=3600.0))
    assert bench.feed(*bright(3)) == [PASS] * 3
    bench.loop.step()
    assert in_charge(bench) == "b"
    bench.short_of_memory = "the station is short of memory"
    bench.loop.step()
    assert in_charge(bench) == "b" and bench.outcome() is None

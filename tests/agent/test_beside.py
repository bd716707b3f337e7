"""Models that look on beside the one in charge: a part passes when every one of them passes it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.beside import BesideModels, Wanted
from agent.decide.causes import Cause
from agent.decide.combine import combine
from agent.decide.thresholds import Decision, review
from agent.loading import Model
from contract.decode import Prediction
from contract.errors import BadModel
from contract.messages import Verdict
from tests.agent.test_frame_loop import PASS, REJECT, Bench
from tests.agent.test_frame_loop import review as seen_as
from tests.fakes.agent_line import BrightRuntime, ListLog, bundle, image
from tests.fixtures_broker import Broker
from tests.station_process import Collector, Station, wait_for
from tests.tiny_bundle import LABELS, model_bytes, write_bundle

UNSURE = Decision(Verdict.REVIEW, escalate=True, why=Cause.UNSURE)
DECISIONS = st.sampled_from(
    [Decision(Verdict.PASS), Decision(Verdict.REJECT), UNSURE, *(review(cause) for cause in Cause)]
)
STRICTNESS = {Verdict.PASS: 0, Verdict.REVIEW: 1, Verdict.REJECT: 2}


@given(DECISIONS, st.lists(DECISIONS, max_size=4))
def test_the_strictest_verdict_stands_and_only_one_models_lone_doubt_goes_to_the_cloud(
    first: Decision, others: list[Decision]
) -> None:
    whole = first
    for other in others:
        whole = combine(whole, other)
    assert STRICTNESS[whole.verdict] == max(STRICTNESS[each.verdict] for each in (first, *others))
    in_doubt = [each for each in others if each.verdict is Verdict.REVIEW]
    assert whole.escalate == (first.escalate and whole.verdict is Verdict.REVIEW and not in_doubt)
    assert (whole.why is None) == (whole.verdict is not Verdict.REVIEW)


class Beside:
    """A frame loop with models beside, by name; `models` holds what each answers, or raises."""

    def __init__(self, *names: str, fallback_answer: Prediction | None = None) -> None:
        self.models: dict[str, Callable[[NDArray[Any]], NDArray[np.float32]] | None] = {}
        self.broken: set[str] = set()
        self.stands_in = False
        self.runtimes: list[BrightRuntime] = []
        self.gate = threading.Event()
        self.gate.set()
        self.log = ListLog()
        self.beside = BesideModels(self._load, self.log)
        self.bench = Bench(
            installed=bundle("a"),
            beside=self.beside,
            fallback_answer=fallback_answer,
            fallback_takes_s=0.0 if fallback_answer else None,
        )
        self.want(*names)

    def want(self, *names: str) -> None:
        self.beside.want([Wanted(name, f"{name}.plb") for name in names])

    def settled(self, *names: str) -> Bench:
        self.want(*names)
        assert self.beside.settle(20)
        return self.bench

    def _load(self, wanted: Wanted) -> Model:
        assert self.gate.wait(60)
        if wanted.name in self.broken:
            raise BadModel("it is torn")
        runtime = BrightRuntime(self.models.get(wanted.name))
        self.runtimes.append(runtime)
        installed = bundle(wanted.name)
        artefact = installed.manifest.artefacts[0]
        if self.stands_in:
            artefact = msgspec.structs.replace(artefact, file="fallback.onnx")
        return Model(installed, runtime, artefact, "0" * 64)


def says(good: float, bad: float) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    return lambda _tensor: np.array([good, bad], np.float32)


def test_a_part_passes_when_all_pass_it_and_the_model_that_rejects_is_named() -> None:
    line = Beside()
    line.models["strict"] = says(-9, 9)
    bench = line.settled("strict")
    assert bench.feed(image(230)) == [REJECT]
    result = bench.recorder.results[-1]
    assert (result.label, result.bundle) == ("scratch", "strict" * 8)
    line.settled()
    assert bench.feed(image(230, 1)) == [PASS]
    assert bench.recorder.results[-1].bundle == "a" * 8
    assert line.runtimes[0].closed


def test_a_model_beside_that_fails_is_review_and_not_the_failure_of_the_one_in_charge() -> None:
    line = Beside()

    def broken(_tensor: NDArray[Any]) -> NDArray[np.float32]:
        raise BadModel("out of memory")

    line.models["foreign"] = broken
    bench = line.settled("foreign")
    assert bench.feed(*(image(230, seed) for seed in range(8))) == [seen_as("broken_model")] * 8
    assert bench.feed(image(20, 9)) == [REJECT], "the reject of the model in charge stands"
    assert bench.serving.in_charge is not None


def test_an_artefact_of_a_model_beside_that_its_thresholds_were_not_chosen_for_passes_nothing() -> None:
    line = Beside()
    line.stands_in = True
    bench = line.settled("foreign")
    assert bench.feed(image(230), image(20, 1)) == [seen_as("degraded"), REJECT]


def test_nothing_passes_until_a_wanted_model_is_there() -> None:
    line = Beside()
    line.gate.clear()
    line.want("foreign")
    assert line.bench.feed(image(230)) == [seen_as("no_model")]
    line.gate.set()
    assert line.beside.settle(20)
    assert line.bench.feed(image(230, 1)) == [PASS]


def test_one_that_does_not_load_is_said_tried_again_on_the_next_reload_and_passes_nothing_meanwhile() -> None:
    line = Beside()
    line.broken.add("foreign")
    bench = line.settled("foreign")
    assert line.beside.states() == {"foreign": "it is torn"}
    assert any("does not load" in said for said in line.log.lines)
    assert bench.feed(image(230)) == [seen_as("no_model")]
    line.broken.clear()
    line.settled("foreign")
    assert line.beside.states() == {"foreign": "loaded"}
    assert bench.feed(image(230, 1)) == [PASS]


def test_the_clouds_answer_to_one_doubt_never_settles_another_models() -> None:
    line = Beside(fallback_answer=Prediction(0, LABELS[0], 0.99, 0.99))
    line.models["doubtful"] = says(0.1, 0.0)
    bench = line.settled("doubtful")
    assert bench.feed(image(126)) == [seen_as("unsure")]
    assert bench.fallback is not None
    assert bench.fallback.asked == 0


def test_one_unloaded_while_it_loads_is_freed() -> None:
    line = Beside()
    line.gate.clear()
    line.want("foreign")
    line.want()
    line.gate.set()
    assert line.beside.settle(20)
    line.bench.feed(image(230))
    assert all(runtime.closed for runtime in line.runtimes)
    assert line.beside.states() == {}


def test_all_are_freed_with_the_line() -> None:
    line = Beside()
    bench = line.settled("one", "two")
    bench.finish()
    assert [runtime.closed for runtime in line.runtimes] == [True, True]


@pytest.mark.slow
def test_a_running_station_loads_and_unloads_a_model_on_reload(tmp_path: Path, broker: Broker) -> None:
    collector = Collector(broker.port)
    station = Station(tmp_path, broker.port)
    alone = station.config.read_text()
    write_bundle(tmp_path / "backwards.plb", model_bytes(gain=-20.0), version="2")
    models = '[[models]]\nname = "backwards"\nbundle = "backwards.plb"\n'

    def verdicts(since: int) -> set[str]:
        with_id = station.query(f"SELECT DISTINCT verdict FROM results WHERE id > {since}")
        return {str(row[0]) for row in with_id}

    try:
        station.start()
        wait_for(lambda: "PASS" in verdicts(0))
        station.config.write_text(f"{alone}\n{models}")
        assert station.command("reload").returncode == 0
        wait_for(lambda: "model 'backwards' looks on" in station.said())
        wait_for(lambda: station.status()["models"] == {"backwards": "loaded"})
        mark = station.last_id()
        wait_for(lambda: station.last_id() > mark + 300)
        # What one passes the other rejects, and the other way round.
        # The first of them were judged before, and not yet committed.
        assert "PASS" not in verdicts(mark + 200)
        # Another file under the same name is another model.
        write_bundle(tmp_path / "backwards.plb", model_bytes(gain=20.0), version="3", pass_at=0.5)
        assert station.command("reload").returncode == 0
        wait_for(lambda: station.said().count("model 'backwards' looks on") == 2)
        mark = station.last_id()
        wait_for(lambda: "PASS" in verdicts(mark))
        station.config.write_text(f"{alone}\n[[models]]\nnom = 1\n")
        refused = station.command("reload")
        assert refused.returncode == 2
        assert (
            "unknown key 'models[0].nom' (did you mean 'name'?)" in refused.stderr and "Traceback" not in refused.stderr
        )
        station.config.write_text(alone)
        assert station.command("reload").returncode == 0
        wait_for(lambda: "model 'backwards' is unloaded" in station.said())
        wait_for(lambda: station.status()["models"] == {})
        mark = station.last_id()
        wait_for(lambda: "PASS" in verdicts(mark))
        assert station.end(signal.SIGTERM) == 0
        nobody = station.command("reload")
        assert nobody.returncode == 1
        assert "no station runs" in nobody.stderr
    finally:
        station.close()
        collector.close()

"""The frame line: every captured frame has one verdict, and nothing broken is ever PASS (P6)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.asking import Asking
from agent.beside import BesideModels
from agent.camera_line import CameraLine
from agent.decide.budget import Budget
from agent.decide.frame_faults import FrameFaults
from agent.decide.sampling import Sampler
from agent.enrolled import Enrolled
from agent.frame_loop import FrameLoop, LineRules
from agent.guarantee import Guarantee
from agent.mailboxes import Switch
from agent.open_window import OpenWindow
from agent.ports.runtime import Runtime
from agent.ports.slots import InstalledBundle, Trial, TrialOutcome
from agent.serving import Serving
from agent.windows import WindowRules
from contract.decode import Prediction
from contract.errors import BadImage, BadModel, CameraFault
from contract.manifest import Artefact, Manifest
from contract.messages import Probation, Summary
from contract.sketches.moments import MEASURES_VERSION
from contract.sketches.wire import from_wire
from tests.fakes.agent_clock import HandClock
from tests.fakes.agent_line import (
    BrightRuntime,
    CannedFallback,
    DictMemory,
    ListLog,
    ListRecorder,
    QueueSource,
    StraightQueue,
    bundle,
    image,
)
from tests.tiny_bundle import LABELS


class Bench:
    """A frame loop on fakes, and the bundles it may load by version."""

    def __init__(
        self,
        *,
        installed: InstalledBundle | None = None,
        previous: InstalledBundle | None = None,
        fallback_answer: Prediction | None = None,
        fallback_takes_s: float | None = None,
        window_frames: int = 8,
        enrol_frames: int = 4,
        audit_rate: float = 0.0,
        kept_per_window: int = 2,
        memory: DictMemory | None = None,
        beside: BesideModels | None = None,
        unfamiliar_rate: float = 0.0,
        unloadable: tuple[str, ...] = (),
    ) -> None:
        self.clock = HandClock()
        self.notes: list[str] = []
        self.unloadable = set(unloadable)
        # What a degraded station gives up.
        self.second_opinions, self.shadow, self.smaller = True, True, False
        # What a trial reads: the process's memory, and which frames are drawn.
        self.memory_mib, self.roll = 100.0, 0.0
        self.short_of_memory = ""
        self.loadable = threading.Event()
        self.loadable.set()
        self.log = ListLog()
        self.source = QueueSource(self.clock)
        self.recorder = ListRecorder()
        self.memory = memory or DictMemory()
        self.guarantee = Guarantee(self.memory, self.log, ask=True)
        self.switch = Switch()
        self.runtimes: dict[str, BrightRuntime] = {}
        self.models: dict[str, Callable[[NDArray[Any]], NDArray[np.float32]]] = {}
        self.enrolled = Enrolled(self.memory, self.log, frames_needed=enrol_frames, unfamiliar_rate=unfamiliar_rate)
        self.fallback = (
            CannedFallback(self.clock, fallback_answer, fallback_takes_s) if fallback_takes_s is not None else None
        )
        self.serving = Serving(
            self._load,
            self.switch,
            self.clock,
            self.log,
            deadline_ms=100.0,
            previous=previous,
            shadow_allowed=lambda: self.shadow,
            smaller_wanted=lambda: self.smaller,
            roll=lambda: self.roll,
            memory_mib=lambda: self.memory_mib,
            short_of_memory=lambda: self.short_of_memory,
        )
        if installed is not None:
            self.serving.begin(installed)
        self.frames = StraightQueue(self.source)
        self.loop = FrameLoop(
            self.frames,
            [
                CameraLine(
                    "",
                    self.enrolled,
                    Sampler(np.random.default_rng(0), audit_rate=audit_rate, doubtful_per_window=kept_per_window),
                    FrameFaults(blank_sd=0.5, frozen_after=3),
                    self.guarantee,
                )
            ],
            self.serving,
            Asking(
                self.fallback,
                Budget.full(2, 0.0, self.clock.monotonic()),
                self.clock,
                deadline_ms=100.0,
                least_s=0.02,
                allowed=lambda: self.second_opinions,
            ),
            self.recorder,
            self.clock,
            self.log,
            LineRules(
                lambda: "b0",
                deadline_ms=100.0,
                windows=WindowRules(
                    "s1", window_frames, 60.0, lambda: True, self.serving.take_shadow, lambda: "; ".join(self.notes)
                ),
            ),
            beside=beside,
        )

    def _load(self, folder: Path, manifest: Manifest) -> tuple[Runtime, Artefact]:
        if manifest.version == "unloadable":
            raise BadModel("it is torn")
        if manifest.version.startswith("hangs"):
            assert self.loadable.wait(60)
        runtime = self.runtimes[manifest.version] = BrightRuntime(self.models.get(manifest.version))
        return runtime, next(artefact for artefact in manifest.artefacts if artefact.file not in self.unloadable)

    def feed(self, *items: NDArray[np.uint8] | Exception) -> list[tuple[str, str]]:
        """Run these through the line until each has its verdict; return (verdict, cause) of each."""
        before = len(self.recorder.results)
        self.source.put(*items)
        while self.source.queue:
            self.loop.step()
            self.await_loading()
        for _ in range(200):
            if len(self.recorder.results) >= before + len(items) or not self.recorder.room:
                break
            self.clock.forward(0.001)
            self.loop.step()
        return [(result.verdict, result.cause) for result in self.recorder.results[before:]]

    def finish(self) -> list[Summary]:
        self.loop.run(threading.Event())
        return [summary for _, summary in self.recorder.summaries]

    def offer(self, candidate: InstalledBundle, probation: Probation) -> None:
        self.switch.offer(Trial(candidate, "d1", probation))
        self.loop.step()
        self.await_loading()
        self.loop.step()

    def await_loading(self) -> None:
        for _ in range(1000):
            if not self.serving.loading:
                return
            threading.Event().wait(0.01)

    def outcome(self) -> TrialOutcome | None:
        return self.switch.next_outcome(0.0)


def bright(n: int, start: int = 0) -> list[NDArray[np.uint8]]:
    return [image(230, seed) for seed in range(start, start + n)]


PASS, REJECT = ("PASS", ""), ("REJECT", "")


def review(cause: str) -> tuple[str, str]:
    return ("REVIEW", cause)


def test_bright_passes_dark_is_rejected_and_grey_is_review() -> None:
    bench = Bench(installed=bundle("a"))
    assert bench.feed(image(230), image(20), image(128)) == [PASS, REJECT, review("unsure")]


def test_a_frame_without_a_model_is_review() -> None:
    bench = Bench()
    assert bench.feed(image(230), image(20, 1)) == [review("no_model")] * 2
    (summary,) = bench.finish()
    assert summary.accounting.review == {"no_model": 2}
    assert summary.window is None
    assert summary.note == "no model was installed"


def test_camera_fault_bad_image_and_a_driver_that_throws_are_review() -> None:
    bench = Bench(installed=bundle("a"))
    got = bench.feed(CameraFault("unplugged"), BadImage("torn"), ZeroDivisionError("driver"), image(230))
    assert got == [review("camera_fault"), review("bad_image"), review("camera_fault"), PASS]


def test_blank_and_frozen_frames_are_review_though_the_model_is_sure() -> None:
    bench = Bench(installed=bundle("a"))
    assert bench.feed(np.full((16, 16), 255, np.uint8)) == [review("blank_frame")]
    still = image(230, 7)
    assert bench.feed(still, still, still, still, image(230, 8)) == [
        PASS, PASS, review("frozen_frame"), review("frozen_frame"), PASS,
    ]  # fmt: skip


def test_nan_scores_and_a_failing_runtime_are_review() -> None:
    bench = Bench()
    calls = iter([np.array([np.nan, 0], np.float32), BadModel("out of memory"), TypeError("bug"), None])

    def act(tensor: NDArray[Any]) -> NDArray[np.float32]:
        scores = next(calls)
        if isinstance(scores, Exception):
            raise scores
        return np.array([9, -9], np.float32) if scores is None else scores

    bench.models["a"] = act
    bench.serving.begin(bundle("a"))
    assert bench.feed(*bright(4)) == [review("broken_model")] * 2 + [review("internal"), PASS]


def test_a_late_answer_is_review_late_and_never_pass() -> None:
    bench = Bench()

    def slow(tensor: NDArray[Any]) -> NDArray[np.float32]:
        bench.clock.forward(0.2)
        return np.array([9, -9], np.float32)

    bench.models["a"] = slow
    bench.serving.begin(bundle("a"))
    assert bench.feed(image(230)) == [review("late")]


def test_five_failures_in_a_row_fall_back_to_the_previous_bundle() -> None:
    bench = Bench(previous=bundle("old"), enrol_frames=1000)

    def broken(tensor: NDArray[Any]) -> NDArray[np.float32]:
        raise BadModel("gone")

    bench.models["new"] = broken
    bench.serving.begin(bundle("new"))
    assert bench.feed(*bright(7)) == [review("broken_model")] * 5 + [PASS] * 2
    assert bench.runtimes["new"].closed
    summaries = bench.finish()
    assert [summary.header.bundle for summary in summaries] == ["new" * 8, "old" * 8]


def test_with_nothing_left_to_fall_back_to_every_frame_is_review() -> None:
    bench = Bench()

    def broken(tensor: NDArray[Any]) -> NDArray[np.float32]:
        raise BadModel("gone")

    bench.models["only"] = broken
    bench.serving.begin(bundle("only"))
    assert bench.feed(*bright(12)) == [review("broken_model")] * 12


def test_a_bundle_that_does_not_load_at_start_gives_way_to_the_previous_one() -> None:
    bench = Bench(installed=bundle("unloadable"), previous=bundle("old"))
    assert bench.feed(image(230)) == [PASS]
    assert bench.serving.in_charge is not None
    assert bench.serving.in_charge.bundle.digest == "old" * 8


def test_a_broken_disk_is_review_and_a_full_queue_is_undecided() -> None:
    bench = Bench(installed=bundle("a"), window_frames=100)
    bench.recorder.disk_ok = False
    assert bench.feed(image(230)) == [review("broken_disk")]
    bench.recorder.room = False
    bench.feed(*bright(3, 1))
    bench.recorder.room = bench.recorder.disk_ok = True
    (summary,) = bench.finish()
    assert (summary.accounting.captured, summary.accounting.undecided) == (4, 3)
    assert summary.accounting.closes()


def test_the_window_stays_open_while_its_end_cannot_be_queued() -> None:
    bench = Bench(installed=bundle("a"), window_frames=4, enrol_frames=1000)
    bench.feed(*bright(3))
    bench.recorder.room = False
    bench.feed(*bright(3, 3))
    bench.recorder.room = True
    bench.feed(*bright(1, 6))
    first, second = bench.finish()
    assert (first.accounting.captured, second.accounting.captured) == (6, 1)
    assert first.window is not None
    assert first.window.frames == 6


def test_the_clouds_answer_settles_an_unsure_frame_but_is_never_sketched() -> None:
    cloud = Prediction(0, LABELS[0], 0.99, 0.99)
    bench = Bench(installed=bundle("a"), fallback_answer=cloud, fallback_takes_s=0.01, enrol_frames=1000)
    # The line goes on while the first two wait for their answers; the budget held two questions.
    assert bench.feed(image(126), image(126, 1), image(126, 2)) == [review("unsure"), PASS, PASS]
    assert bench.fallback is not None
    assert bench.fallback.asked == 2
    (summary,) = bench.finish()
    assert (summary.accounting.asked_cloud, summary.accounting.cloud_answers) == (2, 2)
    assert summary.window is not None
    assert from_wire(summary.window).label_counts().tolist() == [0, 3]  # grey is "scratch" to the local model


def test_no_answer_in_time_leaves_the_local_review() -> None:
    bench = Bench(installed=bundle("a"), fallback_answer=Prediction(0, LABELS[0], 1.0, 1.0), fallback_takes_s=5.0)
    ((verdict, _),) = bench.feed(image(128))
    assert verdict == "REVIEW"


def set_aside(takes_s: float, *, window_frames: int = 100) -> Bench:
    """Return a line on which one unsure frame waits for the cloud, which would pass it."""
    cloud = Prediction(0, LABELS[0], 0.99, 0.99)
    bench = Bench(
        installed=bundle("a"),
        fallback_answer=cloud,
        fallback_takes_s=takes_s,
        window_frames=window_frames,
        enrol_frames=1000,
    )
    bench.source.put(image(126))
    bench.loop.step()
    assert bench.recorder.results == []
    return bench


def test_a_frame_set_aside_when_the_station_stops_has_its_local_verdict_and_is_counted() -> None:
    bench = set_aside(takes_s=10.0)
    stop = threading.Event()
    stop.set()
    bench.loop.run(stop)
    assert [(result.verdict, result.cause) for result in bench.recorder.results] == [review("unsure")]
    ((_, summary),) = bench.recorder.summaries
    assert (summary.accounting.captured, summary.accounting.asked_cloud, summary.accounting.cloud_answers) == (1, 1, 0)


def test_an_answer_that_is_looked_at_too_late_makes_no_part_pass() -> None:
    bench = set_aside(takes_s=0.01)
    bench.clock.forward(0.2)
    bench.loop.step()
    assert [(result.verdict, result.cause) for result in bench.recorder.results] == [review("late")]


def test_a_window_closes_only_when_the_frames_set_aside_in_it_have_their_verdicts() -> None:
    bench = set_aside(takes_s=0.01, window_frames=1)
    assert bench.feed(image(230)) == [PASS]
    bench.loop.step()
    assert bench.recorder.summaries == [], "the window is full, and one frame of it waits"
    bench.clock.forward(0.02)
    bench.loop.step()
    ((number, summary),) = bench.recorder.summaries
    assert (number, summary.accounting.captured, summary.accounting.passed) == (1, 2, 2)
    assert summary.window is not None
    assert summary.window.frames == 2


def test_sure_frames_are_never_sent_anywhere() -> None:
    bench = Bench(installed=bundle("a"), fallback_answer=None, fallback_takes_s=0.0)
    bench.feed(*bright(5))
    assert bench.fallback is not None
    assert bench.fallback.asked == 0


def test_windows_close_by_count_and_by_time() -> None:
    bench = Bench(installed=bundle("a"), window_frames=3, enrol_frames=1000)
    bench.feed(*bright(7))
    assert [summary.accounting.captured for _, summary in bench.recorder.summaries] == [3, 3]
    bench.clock.forward(61)
    bench.loop.step()
    assert [window for window, _ in bench.recorder.summaries] == [1, 2, 3]
    bench.clock.forward(61)
    bench.loop.step()
    assert len(bench.recorder.summaries) == 3  # an empty window is not shipped


def test_enrolment_changes_the_sketch_identity_and_survives_a_restart() -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=4)
    bench.feed(*bright(6))
    first, second = bench.finish()
    assert (first.accounting.captured, second.accounting.captured) == (4, 2)
    assert first.window is not None and second.window is not None
    assert first.window.identity.reference == ""
    assert second.window.identity.reference != ""
    assert bench.memory.facts == {}, "the frame loop never waits for the disk"
    bench.enrolled.save()
    again = Enrolled(bench.memory, bench.log, frames_needed=4)
    assert again.reference is not None
    assert again.reference.digest() == second.window.identity.reference


def test_a_reference_that_an_earlier_build_learnt_is_learnt_anew() -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=4)
    bench.feed(*bright(6))
    bench.enrolled.save()
    bench.memory.facts["reference"] = bench.memory.facts["reference"].replace(f',"measures":{MEASURES_VERSION}', "")
    upgraded = Bench(installed=bundle("a"), enrol_frames=4, memory=bench.memory)
    assert upgraded.enrolled.reference is None
    assert any("enrolling anew" in line for line in upgraded.log.lines)
    upgraded.feed(*bright(5))
    assert upgraded.enrolled.reference is not None


def test_re_enrolment_forgets_the_reference_and_learns_anew() -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=2)
    bench.feed(*bright(4))
    old = bench.enrolled.reference
    bench.enrolled.request_enrolment()
    bench.feed(*[image(200, seed) for seed in range(3)])
    assert bench.enrolled.reference is not None and old is not None
    assert bench.enrolled.reference.digest() != old.digest()


def test_the_first_bundle_serves_at_once_and_is_kept_after_its_probation() -> None:
    bench = Bench()
    assert bench.feed(image(230)) == [review("no_model")]
    bench.offer(bundle("a"), Probation(frames=3, min_agreement=0.0))
    assert bench.feed(*bright(3, 1)) == [PASS] * 3
    bench.loop.step()
    assert bench.outcome() == TrialOutcome("d1", "a" * 8, True, "", 0, 0)


def test_a_first_bundle_that_fails_is_turned_down_and_frames_are_review_again() -> None:
    bench = Bench()

    def broken(tensor: NDArray[Any]) -> NDArray[np.float32]:
        raise BadModel("no memory")

    bench.models["a"] = broken
    bench.offer(bundle("a"), Probation(frames=3, min_agreement=0.0))
    assert bench.feed(*bright(2)) == [review("broken_model"), review("no_model")]
    outcome = bench.outcome()
    assert outcome is not None and not outcome.kept
    assert "no memory" in outcome.reason


def test_the_incumbent_decides_while_an_agreeing_candidate_is_on_trial_then_the_candidate_takes_over() -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=1000)
    bench.offer(bundle("b"), Probation(frames=3, min_agreement=0.9))
    assert bench.feed(*bright(3)) == [PASS] * 3
    assert bench.serving.in_charge is not None
    bench.loop.step()
    assert bench.serving.in_charge.bundle.digest == "b" * 8
    assert bench.runtimes["a"].closed
    assert bench.outcome() == TrialOutcome("d1", "b" * 8, True, "", 3, 3)
    bench.feed(*bright(2, 3))
    assert [summary.header.bundle for summary in bench.finish()] == ["a" * 8, "b" * 8]


def test_a_candidate_that_decides_otherwise_is_turned_down_and_never_decided_a_frame() -> None:
    bench = Bench(installed=bundle("a"))
    bench.models["bad"] = lambda _tensor: np.array([-9, 9], np.float32)
    bench.offer(bundle("bad"), Probation(frames=4, min_agreement=0.9))
    assert bench.feed(*bright(3), image(20)) == [PASS] * 3 + [REJECT]
    bench.loop.step()
    outcome = bench.outcome()
    assert outcome is not None and not outcome.kept
    assert (outcome.frames, outcome.agreed) == (4, 1)
    assert "1 of 4 frames" in outcome.reason
    assert bench.runtimes["bad"].closed
    assert bench.feed(image(230, 9)) == [PASS]


@pytest.mark.parametrize("fault", [BadModel("boom"), RuntimeError("boom")])
def test_a_candidate_that_throws_is_turned_down_and_costs_no_frame(fault: Exception) -> None:
    bench = Bench(installed=bundle("a"))

    def throws(_tensor: NDArray[Any]) -> NDArray[np.float32]:
        raise fault

    bench.models["bad"] = throws
    bench.offer(bundle("bad"), Probation(frames=50, min_agreement=0.0))
    assert bench.feed(*bright(3)) == [PASS] * 3
    outcome = bench.outcome()
    assert outcome is not None and not outcome.kept
    assert "boom" in outcome.reason


def test_a_candidate_that_does_not_load_is_turned_down() -> None:
    bench = Bench(installed=bundle("a"))
    bench.offer(bundle("unloadable"), Probation(frames=5, min_agreement=0.9))
    outcome = bench.outcome()
    assert outcome is not None and not outcome.kept
    assert "it is torn" in outcome.reason
    assert bench.feed(image(230)) == [PASS]


def test_a_candidate_slower_than_the_line_allows_is_turned_down() -> None:
    bench = Bench(installed=bundle("a"))

    def slow(tensor: NDArray[Any]) -> NDArray[np.float32]:
        bench.clock.forward(0.15)
        return np.array([9, -9], np.float32)

    bench.models["b"] = slow
    bench.offer(bundle("b"), Probation(frames=3, min_agreement=0.9))
    assert bench.feed(*bright(3)) == [PASS] * 3
    bench.loop.step()
    outcome = bench.outcome()
    assert outcome is not None and not outcome.kept
    assert "150.0 ms" in outcome.reason


def test_a_trial_without_frames_ends_by_its_time() -> None:
    bench = Bench(installed=bundle("a"))
    bench.offer(bundle("b"), Probation(frames=3, min_agreement=0.9, timeout_s=10.0))
    bench.clock.forward(11)
    bench.loop.step()
    outcome = bench.outcome()
    assert outcome is not None and not outcome.kept
    assert "only 0 of 3" in outcome.reason


def test_summaries_tell_of_the_shadow() -> None:
    bench = Bench(installed=bundle("a"), window_frames=2, enrol_frames=1000)
    bench.offer(bundle("b"), Probation(frames=50, min_agreement=0.9))
    bench.feed(*bright(2))
    bench.loop.step()
    ((_, summary),) = bench.recorder.summaries
    assert summary.shadow is not None
    told = summary.shadow
    assert (told.bundle, told.deployment, told.frames, told.agreed, told.failed) == ("b" * 8, "d1", 2, 2, 0)
    assert told.verdicts == told.incumbent == {"PASS": 2}


def test_audit_samples_carry_their_inclusion_and_doubtful_ones_are_capped() -> None:
    bench = Bench(installed=bundle("a"), audit_rate=1.0)
    bench.feed(*bright(3))
    assert {(s.note.reason, s.note.inclusion) for s in bench.recorder.samples} == {("audit", 1.0)}
    assert len({s.note.sample for s in bench.recorder.samples}) == 3
    plain = Bench(installed=bundle("a"), window_frames=100, enrol_frames=1000)
    plain.feed(*[image(128, seed) for seed in range(5)], image(230))
    assert [(s.note.reason, s.note.inclusion) for s in plain.recorder.samples] == [("hard", 0.0)] * 2


def test_what_is_unlike_anything_enrolled_is_kept_though_the_model_is_sure_and_nothing_is_while_it_enrols() -> None:
    strange = image(230, 99)
    strange[:8] = 180
    bench = Bench(installed=bundle("a"), enrol_frames=12, window_frames=64, kept_per_window=8)
    assert bench.feed(strange) == [PASS] and bench.recorder.samples == []
    bench = Bench(installed=bundle("a"), enrol_frames=12, window_frames=64, kept_per_window=8)
    bench.feed(*bright(16))
    assert bench.recorder.samples == []
    assert bench.feed(strange, np.full((16, 16), 128, np.uint8)) == [PASS, review("blank_frame")]
    novel, blank = (sample.note for sample in bench.recorder.samples)
    assert (novel.reason, novel.verdict, novel.inclusion) == ("novel", "PASS", 0.0) and novel.novelty > 3.0
    assert (blank.reason, blank.novelty) == ("review", 0.0), "a broken picture is no news of the part"


_ITEMS = st.sampled_from(["bright", "dark", "grey", "blank", "same", "camera", "torn", "driver", "wrong shape"])


@settings(max_examples=40, deadline=None)
@given(st.lists(_ITEMS, max_size=40), st.integers(1, 9), st.integers(0, 12))
def test_accounting_closes_over_every_mix_of_frames_and_faults(
    kinds: list[str], per_window: int, broken_at: int
) -> None:
    bench = Bench(window_frames=per_window)
    calls = 0

    def act(tensor: NDArray[Any]) -> NDArray[np.float32]:
        nonlocal calls
        calls += 1
        if calls == broken_at:
            raise BadModel("once")
        score = 20.0 * (float(tensor.mean()) - 0.5)
        return np.array([score, -score], np.float32)

    bench.models["a"] = act
    bench.serving.begin(bundle("a"))
    made: dict[str, Callable[[int], NDArray[np.uint8] | Exception]] = {
        "bright": lambda seed: image(230, seed),
        "dark": lambda seed: image(20, seed),
        "grey": lambda seed: image(128, seed),
        "blank": lambda _: np.zeros((16, 16), np.uint8),
        "same": lambda _: image(230, 999),
        "camera": lambda _: CameraFault("gone"),
        "torn": lambda _: BadImage("torn"),
        "driver": lambda _: KeyError("driver"),
        "wrong shape": lambda _: np.zeros((4, 4, 7), np.uint8),
    }
    verdicts = bench.feed(*[made[kind](seed) for seed, kind in enumerate(kinds)])
    summaries = bench.finish()
    assert len(verdicts) == len(kinds)
    assert sum(summary.accounting.captured for summary in summaries) == len(kinds)
    assert all(summary.accounting.closes() for summary in summaries)
    for kind, (verdict, _) in zip(kinds, verdicts, strict=True):
        assert verdict != "PASS" or kind in ("bright", "same")
    for window, summary in bench.recorder.summaries:
        rows = [result for result in bench.recorder.results if result.window == window]
        assert len(rows) == summary.accounting.captured


def test_a_fault_of_our_own_before_or_after_the_verdict_never_counts_a_frame_twice_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=1000)

    def breaks(*_: object) -> None:
        raise KeyError("ours")

    with monkeypatch.context() as patch:
        patch.setattr(bench.serving, "decided", breaks)
        assert bench.feed(image(230)) == [PASS]
    with monkeypatch.context() as patch:
        patch.setattr(OpenWindow, "observe", breaks)
        assert bench.feed(image(230, 1)) == [review("internal")]
    assert bench.loop.faults == 2
    (summary,) = bench.finish()
    assert (summary.accounting.captured, summary.accounting.closes()) == (2, True)


def test_while_a_drift_alarm_is_open_nothing_passes_by_itself_and_every_summary_says_so() -> None:
    bench = Bench(installed=bundle("v1"))
    assert bench.feed(image(230, 1))[0] == ("PASS", "")
    bench.guarantee.notice_drift(True, "lens: sharpness -8.2 sd")
    assert bench.feed(image(230, 2), image(20, 3)) == [("REVIEW", "drifted"), ("REJECT", "")]
    restarted = Bench(installed=bundle("v1"), memory=bench.memory)
    assert restarted.feed(image(230, 4)) == [("REVIEW", "drifted")], "a restart does not mend a lens"
    assert restarted.finish()[-1].note == "guarantee void: lens: sharpness -8.2 sd"
    bench.guarantee.notice_drift(False, "")
    assert bench.feed(image(230, 5)) == [("PASS", "")]
    assert bench.finish()[-1].note == ""


def test_a_part_that_would_have_passed_is_shown_to_the_cloud_while_drifted() -> None:
    sure = Prediction(1, LABELS[1], 0.99, 0.01)
    bench = Bench(installed=bundle("v1"), fallback_answer=sure, fallback_takes_s=0.0)
    bench.guarantee.notice_drift(True, "")
    assert bench.feed(image(230, 1)) == [("REJECT", "")]
    assert bench.fallback is not None and bench.fallback.asked == 1


def test_drops_are_noted_with_the_recorder_as_they_are_counted_so_that_no_crash_forgets_them() -> None:
    bench = Bench(installed=bundle("a"))
    bench.frames.drops = {"backlog": 2}
    bench.feed(*bright(2))
    bench.frames.drops = {"backlog": 5, "skipped": 1}
    bench.feed(*bright(2, 2))
    assert bench.recorder.drops == [("", 1, "backlog", 2), ("", 1, "backlog", 3), ("", 1, "skipped", 1)]
    told = [summary.accounting.dropped for summary in bench.finish()]
    assert {cause: sum(d.get(cause, 0) for d in told) for cause in ("backlog", "skipped")} == {
        "backlog": 5,
        "skipped": 1,
    }

"""What a degraded station gives up on the line, and that it takes each back."""

from __future__ import annotations

import msgspec

from agent.ports.slots import InstalledBundle
from contract.decode import Prediction
from contract.manifest import Artefact, FileEntry, Manifest
from contract.messages import Probation
from tests.agent.test_frame_loop import PASS, Bench, bright, review
from tests.fakes.agent_line import bundle, image
from tests.tiny_bundle import LABELS, manifest_of


def two_artefacts(*, small_first: bool) -> Manifest:
    """Return a manifest with an fp32 artefact of 400 bytes and an int8 one of 100."""
    manifest = manifest_of(b"model", version="two")
    (first,) = manifest.artefacts
    big, small = (msgspec.structs.replace(first, file=f"{name}.onnx", precision=name) for name in ("fp32", "int8"))
    files = (FileEntry("fp32.onnx", "f" * 64, 400), FileEntry("int8.onnx", "8" * 64, 100))
    artefacts: tuple[Artefact, ...] = (small, big) if small_first else (big, small)
    return msgspec.structs.replace(manifest, artefacts=artefacts, files=files)


def in_use(bench: Bench) -> str:
    assert bench.serving.in_charge is not None
    return bench.serving.in_charge.artefact.file


def test_no_second_opinion_is_asked_and_then_it_is_again() -> None:
    cloud = Prediction(0, LABELS[0], 0.99, 0.99)
    bench = Bench(installed=bundle("a"), fallback_answer=cloud, fallback_takes_s=0.0)
    bench.second_opinions = False
    assert bench.feed(image(126)) == [review("unsure")]
    bench.second_opinions = True
    assert bench.feed(image(126, 1)) == [PASS]
    assert bench.fallback is not None
    assert bench.fallback.asked == 1


def test_a_trial_waits_while_there_is_no_shadow_and_its_time_does_not_run() -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=1000)
    bench.offer(bundle("b"), Probation(frames=3, min_agreement=0.9, timeout_s=30.0))
    bench.shadow = False
    for seed in range(5):
        bench.feed(image(230, seed))
        bench.clock.forward(20)
    assert bench.outcome() is None
    bench.shadow = True
    assert bench.feed(*bright(3, 10)) == [PASS] * 3
    bench.loop.step()
    outcome = bench.outcome()
    assert outcome is not None and outcome.kept
    assert outcome.frames == 3


def test_the_smaller_artefact_takes_over_and_passes_nothing_by_itself_until_the_full_one_is_back() -> None:
    bench = Bench(installed=InstalledBundle("two", bundle("two").folder, two_artefacts(small_first=False)))
    assert bench.feed(image(230)) == [PASS]
    bench.smaller = True
    bench.loop.step()
    bench.await_loading()
    # Its thresholds were chosen on the other artefact's scores: a REJECT stands, a PASS does not.
    assert bench.feed(image(230, 1), image(20, 2)) == [review("degraded"), ("REJECT", "")]
    assert in_use(bench) == "int8.onnx"
    bench.smaller = False
    bench.loop.step()
    bench.await_loading()
    assert bench.feed(image(230, 3)) == [PASS]
    assert in_use(bench) == "fp32.onnx"
    artefacts = [summary.window.identity.artefact[0] for summary in bench.finish() if summary.window]
    assert artefacts == ["f", "8", "f"], "sketches of two artefacts never share a window"


def test_a_bundle_whose_first_artefact_is_its_smallest_has_nothing_to_fall_to() -> None:
    bench = Bench(installed=InstalledBundle("two", bundle("two").folder, two_artefacts(small_first=True)))
    bench.smaller = True
    assert bench.feed(*bright(3)) == [PASS] * 3
    assert in_use(bench) == "int8.onnx"


def test_an_artefact_that_stands_in_for_one_that_does_not_load_passes_nothing_by_itself() -> None:
    manifest = two_artefacts(small_first=True)
    bench = Bench(installed=InstalledBundle("two", bundle("two").folder, manifest), unloadable=("int8.onnx",))
    assert in_use(bench) == "fp32.onnx"
    assert bench.feed(image(230), image(20, 1)) == [review("degraded"), ("REJECT", "")]


def test_dropped_frames_are_counted_in_the_window_by_cause() -> None:
    bench = Bench(installed=bundle("a"), window_frames=1000)
    bench.feed(image(230))
    bench.frames.drops = {"backlog": 3, "skipped": 2}
    bench.feed(image(230, 1))
    bench.frames.drops = {"backlog": 4, "skipped": 2}
    (summary,) = bench.finish()
    assert summary.accounting.dropped == {"backlog": 4, "skipped": 2}
    assert (summary.accounting.captured, summary.accounting.decided) == (8, 2)
    assert summary.accounting.closes()


def test_a_window_says_what_was_given_up() -> None:
    bench = Bench(installed=bundle("a"))
    bench.notes = ["degraded: no shadow (heat: 97.0 C of 95 C)"]
    bench.feed(image(230))
    (summary,) = bench.finish()
    assert "no shadow (heat" in summary.note


def test_relief_goes_to_the_first_artefact_that_loads_and_not_to_one_that_may_pass_nothing() -> None:
    bench = Bench(installed=bundle("two", two_artefacts(small_first=True)), unloadable=("int8.onnx",))
    assert bench.feed(image(230, 1)) == [review("degraded")]
    bench.unloadable.clear()
    bench.smaller = True
    bench.feed(image(230, 2), image(230, 3))
    assert (in_use(bench), bench.feed(image(230, 4))) == ("int8.onnx", [PASS])
    bench.smaller = False
    bench.feed(image(230, 5), image(230, 6))
    assert (in_use(bench), bench.feed(image(230, 7))) == ("int8.onnx", [PASS])
    assert not any("going back" in line for line in bench.log.lines), "it is there already"


def test_pressure_makes_no_candidate_welcome_of_which_nothing_may_pass() -> None:
    bench = Bench(installed=bundle("old", msgspec.structs.replace(two_artefacts(small_first=False), version="old")))
    bench.smaller = True
    bench.feed(image(230, 1), image(230, 2))
    assert (in_use(bench), bench.feed(image(230, 3))) == ("int8.onnx", [review("degraded")])
    bench.unloadable.add("int8.onnx")
    bench.offer(bundle("two", two_artefacts(small_first=True)), Probation(frames=5, min_agreement=0.95))
    bench.feed(*bright(12, 10))
    outcome = bench.outcome()
    assert outcome is not None and not outcome.kept
    bench.smaller = False
    bench.feed(*bright(3, 30))
    assert (in_use(bench), bench.feed(image(230, 40))) == ("fp32.onnx", [PASS])


def test_a_candidate_of_which_nothing_may_pass_here_is_turned_down_where_the_incumbent_passes() -> None:
    bench = Bench(installed=bundle("good"), unloadable=("int8.onnx",))
    bench.offer(bundle("two", two_artefacts(small_first=True)), Probation(frames=20, min_agreement=0.95))
    assert bench.feed(*bright(25)) == [PASS] * 25
    outcome = bench.outcome()
    assert outcome is not None and not outcome.kept
    assert "only 'fp32.onnx' loads here" in outcome.reason


def test_a_candidate_of_which_nothing_may_pass_is_better_than_none_and_no_worse_than_another_such() -> None:
    manifest = two_artefacts(small_first=True)
    for installed in (None, bundle("old", msgspec.structs.replace(manifest, version="old"))):
        bench = Bench(installed=installed, unloadable=("int8.onnx",))
        bench.offer(bundle("two", manifest), Probation(frames=5, min_agreement=0.95))
        bench.feed(*bright(12))
        outcome = bench.outcome()
        assert outcome is not None and outcome.kept, outcome
        assert bench.feed(*bright(2, 50)) == [review("degraded")] * 2

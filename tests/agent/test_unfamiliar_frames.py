"""Frames unlike anything enrolled are REVIEW, whatever the model says of them; a drifted station says so."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.decide.causes import Cause
from agent.decide.combine import combine
from agent.decide.thresholds import Decision
from agent.decide.thresholds import review as refuse
from agent.decide.unfamiliar import frames_needed
from agent.enrolled import Enrolled
from contract.decode import Prediction
from contract.messages import Verdict
from contract.sketches.frame_stats import frame_stats
from tests.agent.test_frame_loop import PASS, REJECT, Bench, bright, review
from tests.fakes.agent_line import DictMemory, ListLog, bundle, image
from tests.tiny_bundle import LABELS

RATE = 0.1
ENROL, LEARN = 12, frames_needed(RATE)


def strange(level: int, seed: int = 99) -> NDArray[np.uint8]:
    pixels = image(level, seed)
    pixels[:8] = 235 if level < 128 else 120
    return pixels


def taught(**options: object) -> Bench:
    """A line that enrolled and then learnt its limit."""
    bench = Bench(
        installed=bundle("a"),
        enrol_frames=ENROL,
        unfamiliar_rate=RATE,
        window_frames=64,
        **options,  # type: ignore[arg-type]
    )
    bench.feed(*bright(ENROL + LEARN))
    return bench


def test_what_is_unlike_anything_enrolled_is_review_though_the_model_would_pass_or_reject_it() -> None:
    sure = Bench(installed=bundle("a"))
    bright_one, dark_one = np.maximum(strange(250), 150), np.minimum(strange(10), 60)
    assert sure.feed(bright_one, dark_one) == [PASS, REJECT], "the model alone is sure"
    bench = taught()
    assert bench.feed(*bright(1, 500), bright_one, dark_one) == [PASS, review("unfamiliar"), review("unfamiliar")]
    assert [sample.note.reason for sample in bench.recorder.samples][-2:] == ["review", "review"]
    last = bench.finish()[-1]
    assert last.accounting.review == {"unfamiliar": 2} and last.accounting.closes()
    assert last.window is not None and last.note == "", (
        "drift is judged on refused frames too; two strangers are no flood"
    )


def test_nothing_is_refused_before_the_limit_is_learnt_nor_where_it_is_off() -> None:
    early = Bench(installed=bundle("a"), enrol_frames=ENROL, unfamiliar_rate=RATE, window_frames=64)
    early.feed(*bright(ENROL + LEARN - 1))
    assert early.feed(strange(230)) == [PASS]
    off = Bench(installed=bundle("a"), enrol_frames=ENROL, window_frames=64)
    off.feed(*bright(ENROL + LEARN))
    assert off.feed(strange(230)) == [PASS]


def test_the_cloud_is_not_asked_about_a_frame_no_model_was_made_for() -> None:
    bench = taught(fallback_takes_s=0.01, fallback_answer=Prediction(0, LABELS[0], 0.99, 0.99))
    assert bench.feed(image(128, 7)) == [review("unfamiliar")]
    assert not bench.recorder.results[-1].asked_cloud


def test_a_drifted_station_says_so_and_its_refusal_is_suspended_until_the_alarm_closes() -> None:
    bench = taught()
    changed = [strange(230, seed) for seed in range(20)]
    assert bench.feed(*changed) == [review("unfamiliar")] * 20
    bench.guarantee.notice_drift(True, "the lens fogs")
    # Nothing passes by itself now; with a limit nothing would be left to tell a change by.
    assert bench.feed(*changed[:3]) == [review("drifted")] * 3
    bench.guarantee.notice_drift(False, "")
    assert bench.feed(*changed[:3]) == [review("unfamiliar")] * 3
    note = bench.finish()[-1].note
    assert "23 of" in note and "unfamiliar" in note and "enrol" in note


def test_nothing_is_learnt_while_a_drift_alarm_is_open() -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=ENROL, unfamiliar_rate=RATE, window_frames=64)
    bench.feed(*bright(ENROL))
    bench.guarantee.notice_drift(True, "the lens fogs")
    bench.feed(*(strange(230, seed) for seed in range(LEARN)))
    bench.guarantee.notice_drift(False, "")
    bench.feed(*bright(LEARN, 100))
    assert bench.feed(strange(230)) == [review("unfamiliar")]


def test_enrolling_anew_forgets_the_limit_and_learns_what_the_camera_sees_now() -> None:
    bench = taught()
    bench.enrolled.request_enrolment()
    changed = [strange(230, seed) for seed in range(ENROL + LEARN)]
    assert bench.feed(*changed) == [PASS] * len(changed)
    assert bench.feed(*bright(1, 600)) == [review("unfamiliar")], "the old kind is the stranger now"
    assert any("refused as unfamiliar" in line for line in bench.log.lines)


def test_the_limit_survives_a_restart_and_a_torn_one_is_learnt_anew() -> None:
    bench = taught()
    assert "refusal_limit" not in bench.memory.facts, "the frame loop never waits for the disk"
    bench.enrolled.save()
    again = taught_again(bench.memory)
    assert again.feed(strange(230)) == [review("unfamiliar")]
    bench.memory.facts["refusal_limit"] = bench.memory.facts["refusal_limit"][:20]
    torn = taught_again(bench.memory)
    assert torn.feed(strange(230)) == [PASS]
    assert any("cannot be read" in line for line in torn.log.lines)


def taught_again(memory: DictMemory) -> Bench:
    return Bench(installed=bundle("a"), enrol_frames=ENROL, unfamiliar_rate=RATE, window_frames=64, memory=memory)


def test_a_restart_while_it_learns_loses_few_frames_and_a_camera_has_its_own_limit() -> None:
    memory, stats = DictMemory(), [frame_stats(pixels) for pixels in bright(300)]
    first = Enrolled(memory, ListLog(), frames_needed=2, camera="left", unfamiliar_rate=0.001)
    for each in stats:
        first.add(each, 1.0)
    first.save()
    log = ListLog()
    Enrolled(memory, log, frames_needed=2, camera="left", unfamiliar_rate=0.001)
    assert log.lines == ["learning what is unfamiliar: 256 of 1999 frames"]
    assert set(memory.facts) == {"reference:left", "refusal_limit:left"}


def test_points_of_another_enrolment_are_not_believed() -> None:
    """A power cut may fall between the two writes of a new enrolment."""
    bench = taught()
    bench.enrolled.save()
    old = bench.memory.facts["refusal_limit"]
    bench.enrolled.request_enrolment()
    bench.feed(*(strange(230, seed) for seed in range(ENROL)))
    bench.enrolled.save()
    bench.memory.facts["refusal_limit"] = old
    again = taught_again(bench.memory)
    assert again.feed(strange(230)) == [PASS]
    assert any("learning it anew" in line for line in again.log.lines)


def test_a_station_that_enrolled_before_there_was_a_refusal_learns_it_from_the_next_frames() -> None:
    older = Bench(installed=bundle("a"), enrol_frames=ENROL, window_frames=64)
    older.feed(*bright(ENROL))
    older.enrolled.save()
    assert set(older.memory.facts) == {"reference"}
    bench = taught_again(older.memory)
    bench.feed(*bright(ENROL + LEARN, 100))
    assert bench.feed(strange(230)) == [review("unfamiliar")]


def test_a_model_beside_that_rejects_a_stranger_still_rejects_it() -> None:
    """A model made for foreign parts looks on: it is not the model alone that rejects, and the stricter verdict stands (P6)."""
    assert combine(refuse(Cause.UNFAMILIAR), Decision(Verdict.REJECT)).verdict is Verdict.REJECT
    assert combine(refuse(Cause.UNFAMILIAR), Decision(Verdict.PASS)) == refuse(Cause.UNFAMILIAR)

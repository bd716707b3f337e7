"""Second opinions in the store: what waits, what goes, and that each is told exactly once (P1, P5, P8)."""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.decide.opinions import Gone, add_up_opinions
from agent.ports.opinions import Opinion, Waiting
from agent.ports.policy import ImagesLeave
from agent.ports.recorder import Result
from agent.store.database import FILE_NAME, open_database, transaction
from agent.store.status import read_status
from contract.codec import decode_summary
from contract.decode import Prediction
from contract.messages import OpinionsNote, SampleNote, Summary, Verdict
from contract.sketches.window import FEATURES_VERSION, SketchIdentity, empty_window
from contract.sketches.wire import to_wire
from tests.agent.opinions_plant import BUNDLE, OpinionsPlant, summary
from tests.fakes.agent_line import image
from tests.tiny_bundle import LABELS

SKETCH = to_wire(empty_window(SketchIdentity(FEATURES_VERSION, 1, "", "a" * 64, 4)))
AGREES = Opinion(Prediction(0, LABELS[0], 0.99, 0.99), Verdict.PASS, True, "large")
REJECTS = Opinion(Prediction(1, LABELS[1], 0.99, 0.01), Verdict.REJECT, False, "large")
UNSURE = Opinion(Prediction(0, LABELS[0], 0.6, 0.6), Verdict.REVIEW, True, "large")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., OpinionsPlant]]:
    made: list[OpinionsPlant] = []

    def make(*arguments: Any, **options: Any) -> OpinionsPlant:
        made.append(OpinionsPlant(tmp_path, *arguments, **options))
        return made[-1]

    yield make
    for plant in made:
        plant.close()


def test_an_unsure_frame_waits_from_the_commit_that_stores_its_image_and_names_its_result(
    make: Callable[..., OpinionsPlant],
) -> None:
    plant = make()
    for _ in range(3):
        plant.plain_frame()
    plant.frame("one")
    plant.plain_frame()
    plant.frame("two", cause="drifted", reason="review", bundle="b" * 64)
    plant.frame("settled", verdict="PASS", cause="", answered=True)
    plant.frame("broken", cause="blank_frame", reason="review")
    plant.commit()
    assert plant.rows("sample, result, bundle, cause, state") == [
        ("one", 4, BUNDLE, "unsure", "waiting"),
        ("two", 6, "b" * 64, "drifted", "waiting"),
    ]
    parts = dict(plant.connection.execute("SELECT id, part FROM results").fetchall())
    assert (parts[4], parts[6]) == ("part of one", "part of two")
    first = plant.queue.next_due(2_000.0)
    assert first is not None and (first.sample, first.unsure, first.tries) == ("one", True, 0)


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        (ImagesLeave.NEVER, []),
        (ImagesLeave.UNSURE, [("hard",), ("audit",)]),
        (ImagesLeave.REQUESTED, [("hard",), ("audit",), ("drifted",)]),
    ],
)
def test_p8_what_may_not_leave_never_waits_to(
    make: Callable[..., OpinionsPlant], policy: ImagesLeave, waits: list[tuple[str]]
) -> None:
    plant = make(policy)
    plant.frame("hard")
    plant.frame("audit", reason="audit")
    plant.frame("drifted", cause="drifted", reason="review")
    plant.commit()
    assert plant.rows("sample") == waits


def test_p8_a_stricter_policy_lets_go_of_what_waits_already(make: Callable[..., OpinionsPlant]) -> None:
    plant = make()
    plant.frame("hard")
    plant.frame("drifted", cause="drifted", reason="review")
    plant.commit()
    for policy, gone in ((ImagesLeave.UNSURE, 1), (ImagesLeave.NEVER, 1)):
        stricter = make(policy)
        assert stricter.queue.forget_forbidden(3_000.0) == gone
    plant.plain_frame()
    plant.close_window()
    plant.commit()
    assert plant.told() == [OpinionsNote(queued=2, gone={"policy": 2})]
    assert plant.queue.next_due(5_000.0) is None


def test_the_oldest_are_crowded_out_and_counted(make: Callable[..., OpinionsPlant]) -> None:
    plant = make(max_waiting=3)
    for n in range(5):
        plant.frame(f"x{n}")
    plant.close_window()
    plant.commit()
    assert plant.rows("sample") == [(f"x{n}",) for n in range(5)]
    assert [row[0] for row in plant.rows("gone")] == ["crowded_out", "crowded_out", "", "", ""]
    assert plant.told() == [OpinionsNote(queued=5, gone={"crowded_out": 2})]


def test_nothing_waits_for_an_image_that_made_room_for_others(make: Callable[..., OpinionsPlant]) -> None:
    plant = make(max_samples=2)
    for n in range(4):
        plant.frame(f"x{n}")
    plant.close_window()  # room is made at a window's end, after it was told what there was
    plant.plain_frame(2)
    plant.close_window(2)
    plant.commit()
    states = Counter(row[0] for row in plant.rows("state || ' ' || gone"))
    assert states == {"gone evicted": 2, "waiting ": 2}
    assert plant.told() == [OpinionsNote(queued=4), OpinionsNote(gone={"evicted": 2})]


def test_a_row_whose_file_was_lost_goes_with_the_sweep_at_start(make: Callable[..., OpinionsPlant]) -> None:
    plant = make()
    plant.frame("x")
    plant.commit()
    (plant.folder / "samples" / "x.png").unlink()
    plant.samples.sweep()
    assert plant.rows("state, gone") == [("gone", "evicted")]


def test_an_answer_counts_although_the_frame_made_room_meanwhile_unless_that_was_told(
    make: Callable[..., OpinionsPlant],
) -> None:
    plant = make(max_waiting=1)
    plant.frame("first")
    plant.commit()
    first = plant.queue.next_due(2_000.0)
    plant.frame("second")
    plant.commit()
    assert first is not None and plant.rows("gone") == [("crowded_out",), ("",)]
    plant.queue.answered(first, AGREES, 3_000.0)
    second = plant.queue.next_due(2_000.0)
    plant.frame("third")
    plant.close_window()
    plant.commit()
    assert second is not None
    plant.queue.answered(second, AGREES, 3_001.0)
    assert plant.rows("state, gone") == [("answered", ""), ("gone", "crowded_out"), ("waiting", "")]
    assert plant.told() == [OpinionsNote(queued=3, answered=1, passed=1, agreed=1, gone={"crowded_out": 1})]


def test_a_frame_that_was_given_up_stays_given_up(make: Callable[..., OpinionsPlant]) -> None:
    plant = make()
    plant.frame("x")
    plant.commit()
    waiting = plant.queue.next_due(2_000.0)
    assert waiting is not None
    plant.queue.gone(waiting, Gone.REFUSED, "so it said", 3_000.0)
    plant.queue.answered(waiting, AGREES, 3_001.0)
    plant.queue.gone(waiting, Gone.GAVE_UP, "again", 3_002.0)
    assert plant.rows("state, gone, detail, ended_at") == [("gone", "refused", "so it said", 3_000.0)]


def test_a_failed_try_waits_its_time_and_lets_the_next_one_pass(make: Callable[..., OpinionsPlant]) -> None:
    plant = make()
    plant.frame("first")
    plant.frame("second")
    plant.commit()

    def next_at(now: float) -> str:
        waiting = plant.queue.next_due(now)
        return waiting.sample if waiting else ""

    first = plant.queue.next_due(2_000.0)
    assert first is not None
    plant.queue.failed(first, 2_600.0)
    assert [next_at(now) for now in (2_000.0, 2_599.0, 2_600.0)] == ["second", "second", "first"]
    assert next_at(2_600.0 - 100 * 86_400.0) == "first", "a clock that was far ahead does not hold a frame up"


def test_ended_ones_are_kept_to_be_shown_within_their_bound_and_untold_ones_always(
    make: Callable[..., OpinionsPlant],
) -> None:
    plant = make(max_waiting=2, max_rows=5)
    for window in range(1, 6):
        for n in range(4):
            plant.frame(f"x{window}-{n}", window=window)
        plant.close_window(window)
        plant.commit()
    assert len(plant.rows("id")) <= 5 + 2
    total = OpinionsNote()
    for note in plant.told():
        total = add_up_opinions(total, note) or total
    assert total == OpinionsNote(queued=20, gone={"crowded_out": 18})


def test_status_counts_them(make: Callable[..., OpinionsPlant]) -> None:
    plant = make()
    for n in range(5):
        plant.frame(f"x{n}")
    plant.commit()
    for opinion in (AGREES, REJECTS, UNSURE):
        waiting = plant.queue.next_due(2_000.0)
        assert waiting is not None
        plant.queue.answered(waiting, opinion, 2_000.0)
    waiting = plant.queue.next_due(2_000.0)
    assert waiting is not None
    plant.queue.gone(waiting, Gone.GAVE_UP, "", 2_000.0)
    assert read_status(plant.connection).opinions == {
        "waiting": 1, "answered": 3, "agreed": 2, "would_pass": 1, "would_reject": 1, "unsure_too": 1, "gone": 1,
    }  # fmt: skip


def test_a_database_from_before_gains_the_table_and_keeps_its_samples(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    open_database(path).close()
    old = sqlite3.connect(path)
    old.executescript(
        "DROP TRIGGER samples_gone; DROP TABLE second_opinions; PRAGMA user_version = 2;"
        "DELETE FROM _sqlite_migrations WHERE name = '0004_second_opinions';"
    )
    assert read_status(old).opinions == {}
    old.close()
    plant = OpinionsPlant(tmp_path)
    plant.frame("x")
    plant.commit()
    assert read_status(plant.connection).opinions["waiting"] == 1
    plant.close()


def test_windows_merged_into_hours_keep_what_they_told(tmp_path: Path) -> None:
    plant = OpinionsPlant(tmp_path, outbox_bytes=20_000)
    for window in range(1, 41):
        with transaction(plant.connection):
            note = SampleNote(f"x{window}", 1.0, "p", "good", 0.6, "REVIEW", "hard", 0.0)
            plant.samples.add(note, window, plant.samples.write(note, image(128)))
            plant.opinions.queue(window, _unsure(), note)
            plant.outbox.add(msgspec.structs.replace(_told(plant), window=SKETCH, note=""), window)
    merged = [decode_summary(row.payload) for row in plant.outbox.pending(100)]
    plant.close()
    assert len(merged) < 40 and all(summary.window for summary in merged), "merged, none of it into gap records"
    assert sum(summary.opinions.queued for summary in merged if summary.opinions) == 40


class PowerCut(Exception):
    pass


STEPS = st.lists(
    st.sampled_from(["frame", "frame", "close", "close", "cut", "cut frame", "pass", "reject", "unsure", "refuse", "fail",
                     "bundle", "ask", "answer", "evict", "send", "ack", "restart"]),
    max_size=60,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_every_opinion_is_told_in_exactly_one_summary_through_crashes_and_merges(steps: list[str]) -> None:
    queued = 0
    ended: Counter[str] = Counter()
    delivered: dict[tuple[str, int], OpinionsNote | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        plant = OpinionsPlant(Path(folder), max_waiting=4, outbox_bytes=1_200)

        def add_frame(number: int) -> None:
            note = SampleNote(f"x{number}", 1.0, "p", "good", 0.6, "REVIEW", "hard", 0.0)
            plant.samples.add(note, 1, plant.samples.write(note, image(128)))
            plant.opinions.queue(number, _unsure(), note)

        def close() -> None:
            with transaction(plant.connection):
                plant.outbox.add(_told(plant), 1)

        def deliver() -> None:
            for row in plant.outbox.take(3):
                delivered.setdefault((row.boot, row.seq), decode_summary(row.payload).opinions)

        asked: Waiting | None = None
        opinions = {"pass": AGREES, "reject": REJECTS, "unsure": UNSURE}
        for number, step in enumerate(steps, 1):
            if step == "frame":
                with transaction(plant.connection):
                    add_frame(number)
                queued += 1
            elif step == "cut frame":
                with pytest.raises(PowerCut), transaction(plant.connection):
                    add_frame(number)
                    raise PowerCut
            elif step == "close":
                close()
            elif step == "cut":
                with pytest.raises(PowerCut), transaction(plant.connection):
                    plant.outbox.add(_told(plant), 1)
                    raise PowerCut
            elif step == "evict":
                with transaction(plant.connection):
                    plant.connection.execute("DELETE FROM samples WHERE sample = (SELECT MIN(sample) FROM samples)")
            elif step == "restart":
                plant.close()
                plant = OpinionsPlant(Path(folder), max_waiting=4, outbox_bytes=1_200)
            elif step == "send":
                deliver()
            elif step == "ack":
                plant.outbox.acknowledge(plant.outbox.boot, [(seq, seq) for _, seq in delivered], 1.0)
            elif step == "ask":
                asked = plant.queue.next_due(9_000.0)
            elif step == "answer" and asked is not None:
                plant.queue.answered(asked, AGREES, 9_000.0)
            elif step != "answer" and (waiting := plant.queue.next_due(9_000.0)) is not None:
                if step == "refuse":
                    plant.queue.gone(waiting, Gone.REFUSED, "no", 9_000.0)
                elif step == "bundle":
                    plant.queue.gone_of_bundle(waiting.bundle, Gone.NO_BUNDLE, "no", 9_000.0)
                elif step == "fail":
                    plant.queue.failed(waiting, 0.0)
                else:
                    plant.queue.answered(waiting, opinions[step], 9_000.0)
        close()
        while len(delivered) < 1_000 and plant.outbox.pending(1, after_id=0):
            deliver()
            plant.outbox.acknowledge(plant.outbox.boot, [(seq, seq) for _, seq in delivered], 1.0)
        total = OpinionsNote()
        for note in delivered.values():
            total = add_up_opinions(total, note) or total
        for state, verdict, gone, agreed in plant.rows("state, verdict, gone, agreed"):
            ended.update({str(state): 1, f"verdict {verdict}": 1, f"gone {gone}": 1, "agreed": int(str(agreed))})
        plant.close()
    assert total.queued == queued == total.answered + sum(total.gone.values()) + ended["waiting"]
    assert (total.answered, total.agreed) == (ended["answered"], ended["agreed"])
    assert (total.passed, total.rejected, total.unsure) == tuple(
        ended[f"verdict {v}"] for v in ("PASS", "REJECT", "REVIEW")
    )
    assert total.gone == {why.value: ended[f"gone {why.value}"] for why in Gone if ended[f"gone {why.value}"]}


def _unsure() -> Result:
    return Result(1, 1.0, "p", "REVIEW", "unsure", "good", 0.6, 3.0, BUNDLE)


def _told(plant: OpinionsPlant) -> Summary:
    return msgspec.structs.replace(summary(), opinions=plant.opinions.tell(), note="x" * 200)

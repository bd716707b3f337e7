"""Approvals, plans and what the watch reads, on both engines."""

from __future__ import annotations

import pytest

from cloud.ports.rollout_evidence import SpotCounts
from cloud.ports.rollouts import MemberStep
from cloud.rollout.rollout_states import MemberEvent, MemberState, RolloutEvent, RolloutState
from cloud.store.rollout_evidence import RolloutEvidenceRows
from contract.errors import IllegalTransition, RefusedError
from contract.messages import Accounting, Header, ReportedState, SampleNote, Summary
from tests.fakes.cloud_tables import T0, Tables, received

BUNDLE = "c" * 64


def _tell(tables: Tables, station: str, seq: int, at: float, samples: tuple[SampleNote, ...] = ()) -> None:
    header = Header(station, "b1", seq, at, at + 60.0, at, True, BUNDLE)
    counts = Accounting(captured=10, passed=7, rejected=2, review={"unsure": 1})
    tables.summaries.commit(received(Summary(header, counts, samples=samples), at=at + 60.0), [])


def test_summaries_are_read_once_each_from_where_one_begins(tables: Tables) -> None:
    rows = RolloutEvidenceRows(tables.database)
    assert rows.rows(rows.begin(T0), 10) == []
    for n in range(6):
        _tell(tables, f"s{n % 2}", n + 1, T0 + 100.0 * n)
    cursor, read = rows.begin(T0 + 300.0), []
    while some := rows.rows(cursor, 2):
        read += some
        cursor = some[-1].cursor
    assert [(row.station, row.started_at) for row in read][-3:] == [
        ("s1", T0 + 300.0),
        ("s0", T0 + 400.0),
        ("s1", T0 + 500.0),
    ]
    assert {(row.bundle, row.passed, row.rejected, row.decided) for row in read} == {(BUNDLE, 7, 2, 10)}
    assert rows.rows(rows.begin(T0 + 1e6), 10) == [], "nothing is so new"
    assert rows.latencies([read[0].row]) == {}, "it has no sketches"
    assert len({row.row for row in read}) == len(read)


def test_only_frames_drawn_at_random_say_how_often_a_bundle_is_right(tables: Tables) -> None:
    tables.add_online("s1")
    notes = [
        SampleNote(f"n{n}", T0 + n, f"p{n}", "good", 0.9, "PASS", "audit" if n < 3 else "hard", 0.5) for n in range(5)
    ]
    _tell(tables, "s1", 1, T0, tuple(notes))
    for n, truth in enumerate(["good", "bad", "good", "bad", "bad"]):
        tables.samples.label(f"n{n}", truth, "ida", T0 + 100.0)
    assert RolloutEvidenceRows(tables.database).labelled(T0) == {("s1", BUNDLE): SpotCounts(3, 2)}
    assert RolloutEvidenceRows(tables.database).labelled(T0 + 2.0) == {("s1", BUNDLE): SpotCounts(1, 1)}


def test_the_newest_word_of_each_person_stands_and_only_while_it_is_waited_for(tables: Tables) -> None:
    book = tables.rollouts
    key = book.create("v1", BUNDLE, [["s1"]], [], "rosa", T0, proposed=True, reason="mends the lamp")
    book.approvals.say(key, "eva", True, "", T0 + 1)
    book.approvals.say(key, "tom", True, "fine", T0 + 2)
    book.approvals.say(key, "Eva", False, "the gate is red", T0 + 3)
    with pytest.raises(RefusedError, match="'EVA' has declined"):
        book.approvals.say(key, "EVA", False, "", T0 + 4)
    assert [(a.person, a.approved, a.note) for a in book.approvals.of(key)] == [
        ("tom", True, "fine"), ("Eva", False, "the gate is red"),
    ]  # fmt: skip
    with pytest.raises(IllegalTransition, match="was declined by Eva meanwhile"):
        book.step(book.get(key), RolloutEvent.APPROVE, "plumbline", "", T0 + 5)
    book.approvals.say(key, "eva", True, "it is green", T0 + 5)
    book.step(book.get(key), RolloutEvent.APPROVE, "plumbline", "", T0 + 5)
    with pytest.raises(RefusedError, match="is RUNNING and waits for no approval"):
        book.approvals.say(key, "ida", True, "", T0 + 6)
    assert tables.audit.first_broken() is None


def test_many_stations_move_on_together_or_not_at_all(tables: Tables) -> None:
    book = tables.rollouts
    key = book.create("v1", BUNDLE, [["s1", "s2"]], [], "rosa", T0, strata={"s1": "hall 1"}, arm_b=["s1"], kind="ab")
    one, two = book.members(key)
    assert (one.arm, one.stratum, two.arm, two.stratum) == ("b", "hall 1", "a", "")
    book.step_member(two, MemberEvent.SKIP, "", T0)
    with pytest.raises(IllegalTransition):
        book.step_members([MemberStep(one, MemberEvent.SKIP, ""), MemberStep(two, MemberEvent.SKIP, "")], T0)
    assert [m.state for m in book.members(key)] == [MemberState.PLANNED, MemberState.SKIPPED]
    assert [r.id for r in book.live()] == [key] and book.done() == book.late() == []


def test_what_is_noted_of_a_rollout_that_moved_on_is_dropped(tables: Tables) -> None:
    book = tables.rollouts
    key = book.create("v1", BUNDLE, [["s1"]], [], "rosa", T0)
    stale = book.get(key)
    book.note(stale, hold="why", evidence='{"heard":1}')
    assert (book.get(key).hold, book.get(key).evidence) == ("why", '{"heard":1}')
    book.step(stale, RolloutEvent.PAUSE, "eva", "lunch", T0, hold="paused by eva: lunch")
    book.note(stale, hold="", evidence="{}")
    assert (book.get(key).hold, book.get(key).state) == ("paused by eva: lunch", RolloutState.PAUSED)


def test_what_ran_before_is_known_by_reports_that_rollouts_took_down(tables: Tables) -> None:
    tables.add_online("s1")
    tables.stations.commit([], [ReportedState("s1", "b1", T0, BUNDLE, "COMMITTED", outcome="")], T0)
    (said,) = tables.stations.status()
    assert (said.bundle, said.health, said.board) == (BUNDLE, None, "")
    key = tables.rollouts.create("v1", "d" * 64, [["s1"]], [], "rosa", T0)
    assert not tables.rollouts.ran("d" * 64)
    tables.rollouts.step(tables.rollouts.get(key), RolloutEvent.ALL_WAVES_COMMITTED, "plumbline", "", T0)
    assert tables.rollouts.ran("d" * 64) and not tables.rollouts.ran("e" * 64)

"""Alarms, retrains, rollouts and standing orders as rows."""

from __future__ import annotations

import pytest

from cloud.ports.alarms import Opened
from cloud.ports.records import Cursor
from cloud.ports.rollouts import StandingOrder
from cloud.rollout.rollout_states import MemberEvent, MemberState, RolloutEvent, RolloutState
from contract.errors import IllegalTransition, NotFound, RefusedError
from tests.fakes.cloud_tables import T0, Tables

BUNDLE = "c" * 64


def _opened(station: str = "s1", at: float = T0) -> Opened:
    return Opened(station, at, at - 3600, "covariate_shift", "lens: sharpness -8.2 sd")


def test_an_alarm_opens_once_and_closes_once(tables: Tables) -> None:
    tables.alarms.commit(Cursor(0, 5, 5), {"s1": b"state"}, [_opened()], [])
    tables.alarms.commit(Cursor(0, 6, 6), {"s1": b"later"}, [_opened(at=T0 + 1)], [])
    (alarm,) = tables.alarms.open()
    assert (alarm.station, alarm.opened_at, alarm.seen_at, alarm.cause) == ("s1", T0, T0 - 3600, "covariate_shift")
    assert tables.alarms.load_state() == (Cursor(0, 6, 6), {"s1": b"later"})
    tables.alarms.commit(Cursor(0, 7, 7), {}, [], [("s1", T0 + 2, "24 quiet windows")])
    tables.alarms.close("s1", T0 + 3, "again")
    (closed,) = tables.alarms.all()
    assert (closed.closed_at, closed.closed_why, tables.alarms.open()) == (T0 + 2, "24 quiet windows", [])
    tables.alarms.commit(Cursor(0, 8, 8), {}, [_opened(at=T0 + 4)], [])
    assert [a.id for a in tables.alarms.open()] == [2]
    assert [e.act for e in tables.audit.entries()] == ["drift alarm", "alarm closed", "drift alarm"]


def test_an_alarm_that_turns_into_another_stays_one_alarm_and_says_what_it_is_now(tables: Tables) -> None:
    tables.alarms.commit(Cursor(0, 5, 5), {}, [Opened("s1", T0, T0 - 60, "black", "camera: frames are black")], [])
    (first,) = tables.alarms.open()
    tables.alarms.commit(Cursor(0, 6, 6), {}, [Opened("s1", T0 + 9, T0 + 8, "covariate_shift", "lens: fogged")], [])
    tables.alarms.commit(
        Cursor(0, 7, 7), {}, [Opened("s1", T0 + 10, T0 + 9, "covariate_shift", "lens: fogged more")], []
    )
    (alarm,) = tables.alarms.all()
    assert (alarm.id, alarm.opened_at) == (first.id, T0)
    assert (alarm.seen_at, alarm.cause, alarm.sentence) == (T0 + 8, "covariate_shift", "lens: fogged")
    assert [(e.act, e.detail) for e in tables.audit.entries()] == [
        ("drift alarm", "s1: camera: frames are black"), ("drift alarm changed", "s1: lens: fogged"),
    ]  # fmt: skip


def test_quiet_windows_do_not_end_what_peoples_labels_opened_and_a_new_normal_does(tables: Tables) -> None:
    tables.alarms.commit(Cursor(0, 5, 5), {}, [Opened("s1", T0, T0 - 60, "concept_shift", "answers: wrong")], [])
    tables.alarms.commit(Cursor(0, 6, 6), {}, [], [("s1", T0 + 1, "24 quiet windows")])
    assert [a.cause for a in tables.alarms.open()] == ["concept_shift"]
    tables.alarms.commit(Cursor(0, 7, 7), {}, [], [], [("s1", T0 + 2, "answered by v1.r1")])
    assert tables.alarms.open() == [] and tables.alarms.all()[0].closed_why == "answered by v1.r1"
    tables.alarms.commit(Cursor(0, 8, 8), {}, [Opened("s1", T0 + 3, T0, "concept_shift", "answers: wrong")], [])
    tables.alarms.commit(Cursor(0, 9, 9), {}, [Opened("s1", T0 + 4, T0, "covariate_shift", "lens: fogged")], [])
    tables.alarms.commit(Cursor(0, 10, 10), {}, [], [("s1", T0 + 5, "24 quiet windows")])
    assert tables.alarms.open() == [], "it had become the detectors'"


def test_a_retrain_is_recorded_step_by_step(tables: Tables) -> None:
    tables.alarms.commit(Cursor(0, 1, 1), {}, [_opened()], [])
    key = tables.alarms.start_retrain(tables.alarms.open()[0], "accuracy 0.4", T0 + 5)
    tables.alarms.update_retrain(key, state="training", run="runs/7")
    tables.alarms.update_retrain(key, state="released", version="v2", ended_at=T0 + 60)
    (retrain,) = tables.alarms.retrains()
    assert (retrain.alarm, retrain.station, retrain.state, retrain.run) == (1, "s1", "released", "runs/7")
    assert (retrain.version, retrain.started_at, retrain.ended_at) == ("v2", T0 + 5, T0 + 60)


def test_one_rollout_at_a_time(tables: Tables) -> None:
    first = tables.rollouts.create("v1", BUNDLE, [["s1"], ["s2", "s3"]], ["s3"], "operator", T0)
    with pytest.raises(RefusedError, match=f"rollout {first} is still under way"):
        tables.rollouts.create("v2", BUNDLE, [["s1"]], [], "operator", T0)
    tables.rollouts.step(tables.rollouts.get(first), RolloutEvent.ABORT, "operator", "wrong lamp", T0 + 1)
    with pytest.raises(RefusedError):
        tables.rollouts.create("v2", BUNDLE, [["s1"]], [], "operator", T0)
    tables.rollouts.step(tables.rollouts.get(first), RolloutEvent.ALL_BACK, "plumbline", "", T0 + 2)
    ended = tables.rollouts.get(first)
    assert (ended.state, ended.reason, ended.ended_at) == (RolloutState.ABORTED, "wrong lamp", T0 + 2)
    assert ended.changed_stations == ("s3",)
    assert tables.rollouts.create("v2", BUNDLE, [["s1"]], [], "operator", T0) == first + 1


def test_a_rollout_to_nobody_and_an_unknown_one_are_refused(tables: Tables) -> None:
    with pytest.raises(RefusedError, match="no station to roll out to"):
        tables.rollouts.create("v1", BUNDLE, [], [], "operator", T0)
    with pytest.raises(NotFound, match="no rollout 9"):
        tables.rollouts.get(9)


def test_who_read_an_older_state_of_a_rollout_changes_nothing(tables: Tables) -> None:
    """A person's abort must not be overwritten by the loop that meant to finish the rollout."""
    key = tables.rollouts.create("v1", BUNDLE, [["s1"], ["s2"]], [], "operator", T0)
    stale = tables.rollouts.get(key)
    tables.rollouts.step(stale, RolloutEvent.ABORT, "operator", "stop it", T0 + 1)
    entries = len(tables.audit.entries())
    with pytest.raises(IllegalTransition, match="has moved on"):
        tables.rollouts.step(stale, RolloutEvent.ALL_WAVES_COMMITTED, "plumbline", "", T0 + 2)
    with pytest.raises(IllegalTransition, match="has moved on"):
        tables.rollouts.advance(stale, T0 + 2)
    now = tables.rollouts.get(key)
    assert (now.state, now.wave, now.reason) == (RolloutState.ABORTING, 0, "stop it")
    assert len(tables.audit.entries()) == entries


def test_an_order_and_the_step_it_carries_out_are_one(tables: Tables) -> None:
    key = tables.rollouts.create("v1", BUNDLE, [["s1"]], [], "operator", T0)
    (member,) = tables.rollouts.members(key)
    assert tables.rollouts.next_seq("s1") == 1
    order = StandingOrder("s1", 1, BUNDLE, "{}", published=False)
    tables.rollouts.order(member, MemberEvent.ORDER, order, "a" * 64, T0)
    (ordered,) = tables.rollouts.members(key)
    assert (ordered.state, ordered.previous_bundle, tables.rollouts.next_seq("s1")) == (
        MemberState.ORDERED,
        "a" * 64,
        2,
    )
    with pytest.raises(IllegalTransition):
        tables.rollouts.order(ordered, MemberEvent.ORDER, StandingOrder("s1", 2, BUNDLE, "{}", False), "", T0)
    assert tables.rollouts.unpublished() == [order]


def test_an_order_is_marked_as_taken_only_while_it_is_the_newest(tables: Tables) -> None:
    key = tables.rollouts.create("v1", BUNDLE, [["s1"]], [], "operator", T0)
    first, second = (StandingOrder("s1", seq, BUNDLE, f"{{{seq}}}", published=False) for seq in (1, 2))
    tables.rollouts.order(tables.rollouts.members(key)[0], MemberEvent.ORDER, first, "a" * 64, T0)
    tables.rollouts.order(tables.rollouts.members(key)[0], MemberEvent.RECALL, second, "a" * 64, T0)
    tables.rollouts.mark_published(first)
    assert tables.rollouts.unpublished() == [second]
    tables.rollouts.mark_published(second)
    assert tables.rollouts.unpublished() == []
    tables.rollouts.republish_all()
    assert tables.rollouts.unpublished() == [second]

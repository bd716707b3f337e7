"""Which rollouts are over while a station of theirs has still to be heard."""

from __future__ import annotations

import pytest

from cloud.ports.rollouts import StandingOrder
from cloud.rollout.rollout_states import MemberEvent, RolloutEvent
from tests.fakes.cloud_tables import T0, Tables


@pytest.mark.parametrize(
    ("ends", "waits"),
    [
        ([RolloutEvent.ALL_WAVES_COMMITTED], MemberEvent.ORDER),
        ([RolloutEvent.ABORT, RolloutEvent.ALL_BACK], MemberEvent.RECALL),
    ],
)
def test_one_is_late_until_its_last_station_was_heard(
    tables: Tables, ends: list[RolloutEvent], waits: MemberEvent
) -> None:
    book = tables.rollouts
    key = book.create("v1", "e" * 64, [["s1", "s2"]], [], "rita", T0)
    for number, member in enumerate(book.members(key)):
        order = StandingOrder(member.station, number + 1, "e" * 64, "signed", published=False)
        book.order(member, MemberEvent.ORDER, order, "d" * 64, T0)
    if waits is MemberEvent.RECALL:
        for member in book.members(key):
            order = StandingOrder(member.station, 9, "d" * 64, "signed", published=False)
            book.recall(member, order, "d" * 64, "", T0)
    assert book.late() == [], "it is not over"
    for event in ends:
        book.step(book.get(key), event, "rita", "", T0)
    assert [rollout.id for rollout in book.late()] == [key]
    ended = MemberEvent.COMMIT if waits is MemberEvent.ORDER else MemberEvent.RETURN
    one, two = book.members(key)
    book.step_member(one, ended, "", T0)
    assert [rollout.id for rollout in book.late()] == [key]
    book.step_member(two, MemberEvent.SKIP, "a newer order", T0)
    assert book.late() == []

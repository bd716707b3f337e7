"""What stations are told: each content by name, whatever else has its name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud.ingest_acks import AckDesk
from cloud.ports.batch import Named
from contract.messages import Ack


def said(acks: list[Ack]) -> tuple[set[Named], set[Named]]:
    """Return (done, in conflict) of what the acks name."""
    done: set[Named] = set()
    conflicts: set[Named] = set()
    for ack in acks:
        contents = list(ack.contents)
        for ranges, into in ((ack.ranges, done), (ack.conflicts, conflicts)):
            for first, last in ranges:
                for seq in range(first, last + 1):
                    into.add(Named(ack.station, ack.boot, seq, contents.pop(0)))
        assert not contents
    return done, conflicts


def test_two_clones_in_one_batch_are_told_apart_in_one_ack() -> None:
    desk, stored, clone = AckDesk(), Named("s1", "b1", 5, 11), Named("s1", "b1", 5, 22)
    desk.add([stored, clone, Named("s1", "b1", 6, 33)], [clone])
    (ack,) = desk.take(7)
    assert (ack.ranges, ack.conflicts, ack.contents, ack.credit) == (((5, 6),), ((5, 5),), (11, 33, 22), 7)


def test_two_contents_that_are_both_done_go_in_two_acks_and_the_boot_is_renewed_by_one() -> None:
    desk = AckDesk()
    desk.add([Named("s1", "b1", 1, 11), Named("s1", "b1", 2, 22)], renew=[("s1", "b1")])
    desk.add([Named("s1", "b1", 2, 99)])
    one, two = desk.take(7)
    assert (one.ranges, one.contents, one.renew_boot) == (((1, 2),), (11, 22), True)
    assert (two.ranges, two.contents, two.renew_boot) == (((2, 2),), (99,), False)
    assert desk.take(7) == []


_NAMED = st.builds(
    Named, st.sampled_from(["s1", "s2"]), st.sampled_from(["b1", "b2"]), st.integers(1, 6), st.integers(1, 3)
)


@given(st.lists(st.tuples(st.lists(_NAMED), st.lists(_NAMED))))
def test_every_content_is_told_once_and_what_conflicts_is_never_called_done(
    batches: list[tuple[list[Named], list[Named]]],
) -> None:
    desk = AckDesk()
    for done, conflicts in batches:
        desk.add(done, conflicts)
    acks = desk.take(1)
    all_done = {each for done, _ in batches for each in done}
    all_conflicts = {each for _, conflicts in batches for each in conflicts}
    assert said(acks) == (all_done - all_conflicts, all_conflicts)
    assert sum(len(ack.contents) for ack in acks) == len(all_done | all_conflicts)

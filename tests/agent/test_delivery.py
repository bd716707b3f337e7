"""Delivery: the newest first, the backlog by credit, and again, each row by itself, when the cloud stays silent."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.delivery import Delivery
from agent.ports.link import Room
from agent.ports.outbox import OutboxRow, Renamed
from contract.messages import Ack

WIDE = Room(20)


class ListOutbox:
    """An outbox in a list; its ids are its sequence numbers."""

    def __init__(self, rows: int) -> None:
        self.boot = "b"
        self.rows: dict[int, OutboxRow] = {}
        self.last = 0
        self.add(rows)

    def add(self, rows: int = 1) -> None:
        for _ in range(rows):
            self.last += 1
            self.rows[self.last] = OutboxRow(self.last, "b", self.last, b"")

    def ids(self, limit: int, *, above: int = 0, below: int | None = None, newest: bool = False) -> list[int]:
        found = [n for n in sorted(self.rows) if n > above and (below is None or n < below)]
        return found[-limit:] if newest else found[:limit]

    def take_rows(self, ids: Sequence[int], largest_bytes: int) -> list[OutboxRow]:
        return [self.rows[n] for n in ids if n in self.rows]

    def acknowledge(
        self, boot: str, ranges: Sequence[tuple[int, int]], now: float, contents: Sequence[int] = ()
    ) -> list[int]:
        gone = [n for n in self.rows if boot == "b" and any(a <= n <= z for a, z in ranges)]
        for n in gone:
            del self.rows[n]
        return gone

    def rename(self, boot: str, ranges: Sequence[tuple[int, int]], contents: Sequence[int] = ()) -> Renamed:
        return Renamed()

    def renew(self, boot: str) -> bool:
        return False

    def troubles(self) -> list[str]:
        return []

    def depth(self) -> int:
        return len(self.rows)


def seqs(rows: list[OutboxRow]) -> list[int]:
    return [row.seq for row in rows]


def ack(*ranges: tuple[int, int], credit: int = 20, boot: str = "b") -> Ack:
    return Ack("s1", boot, ranges, credit)


def ack_of(sent: Sequence[int], credit: int = 20) -> Ack:
    return ack(*((seq, seq) for seq in sent), credit=credit)


def test_the_newest_windows_go_first_and_then_the_backlog_oldest_first() -> None:
    delivery = Delivery(ListOutbox(12), resend_after_s=5.0)
    assert seqs(delivery.next_rows(WIDE, 0.0)) == [9, 10, 11, 12, 1, 2, 3, 4, 5, 6, 7, 8]
    assert delivery.next_rows(WIDE, 4.0) == []


def test_a_window_that_ends_during_a_drain_goes_before_the_backlog() -> None:
    outbox = ListOutbox(500)
    delivery = Delivery(outbox, resend_after_s=5.0)
    now = 0.0
    for _ in range(40):
        outbox.add()
        now += 1.0
        sent = seqs(delivery.next_rows(WIDE, now))
        assert outbox.last in sent[:4], "it waited behind the backlog"
        delivery.acknowledged(ack_of(sent, credit=5), now)
    assert 1 not in outbox.rows, "the backlog goes all the same"


def test_of_what_is_sent_while_both_wait_at_least_half_is_live() -> None:
    outbox = ListOutbox(2_000)
    delivery = Delivery(outbox, resend_after_s=5.0)
    sent_seqs: list[int] = []
    for turn in range(50):
        outbox.add(10)  # more than the link takes
        sent = seqs(delivery.next_rows(Room(8, 8), float(turn)))
        sent_seqs += sent
        delivery.acknowledged(ack_of(sent, credit=8), float(turn))
    fresh = sum(seq > 2_000 for seq in sent_seqs)
    assert fresh / len(sent_seqs) >= 0.45  # the backlog's rows include those passed over since


def test_the_backlog_goes_at_the_rate_of_the_credit() -> None:
    outbox = ListOutbox(1_000)
    delivery = Delivery(outbox, resend_after_s=5.0)
    delivery.acknowledged(ack(credit=2), 0.0)
    sent = 0
    for tenth in range(300):
        rows = seqs(delivery.next_rows(WIDE, tenth / 10))
        sent += len(rows)
        delivery.acknowledged(ack_of(rows, credit=2), 0.0)
    assert 55 <= sent <= 70


def test_without_credit_one_row_asks_now_and_then() -> None:
    outbox = ListOutbox(50)
    delivery = Delivery(outbox, resend_after_s=5.0)
    delivery.acknowledged(ack(credit=0), 0.0)
    asked = [at for at in range(61) if delivery.next_rows(WIDE, float(at))]
    assert 2 <= len(asked) <= 15
    assert delivery.outstanding <= 2


def test_a_receive_maximum_of_one_is_enough_for_everything() -> None:
    outbox = ListOutbox(30)
    delivery = Delivery(outbox, resend_after_s=5.0)
    for turn in range(40):
        rows = seqs(delivery.next_rows(Room(1, 1), float(turn)))
        assert len(rows) <= 1
        delivery.acknowledged(ack_of(rows), 0.0)
    assert outbox.depth() == 0


def test_credit_bounds_what_is_outstanding_and_half_of_it_is_kept_for_new_windows() -> None:
    outbox = ListOutbox(500)
    delivery = Delivery(outbox, resend_after_s=60.0)
    for turn in range(30):
        delivery.next_rows(WIDE, float(turn))
    assert delivery.outstanding == 14  # four live, ten of the backlog, of the twenty assumed at first
    outbox.add()
    assert seqs(delivery.next_rows(WIDE, 31.0)) == [501]


def test_a_silent_cloud_is_asked_with_single_rows_not_with_all_of_them() -> None:
    outbox = ListOutbox(400)
    delivery = Delivery(outbox, resend_after_s=5.0, roll=lambda: 0.5)
    delivery.acknowledged(ack(credit=500), 0.0)
    for turn in range(20):
        delivery.next_rows(WIDE, turn * 0.1)
    waiting = delivery.outstanding
    assert waiting > 100
    again = sum(len(delivery.next_rows(WIDE, 8.0 + turn * 0.05)) for turn in range(400))
    assert 1 <= again <= 6, f"{again} of {waiting} rows were sent again in 20 s of silence"


def test_a_lost_acknowledgement_is_made_good_row_by_row_and_later_each_time() -> None:
    outbox = ListOutbox(1)
    delivery = Delivery(outbox, resend_after_s=5.0)
    at = [now / 10 for now in range(3_000) if delivery.next_rows(WIDE, now / 10)]
    waits = [b - a for a, b in itertools.pairwise(at)]
    assert at[0] == 0.0 and waits[0] >= 5.0 and waits[-1] > waits[0] and len(at) < 20
    outbox.add()
    assert seqs(delivery.next_rows(WIDE, 301.0))[0] == 2
    delivery.acknowledged(ack((1, 2)), 0.0)
    assert delivery.outstanding == 0


def test_a_row_that_is_never_acknowledged_does_not_hold_up_the_others() -> None:
    outbox = ListOutbox(60)
    delivery = Delivery(outbox, resend_after_s=5.0)
    for turn in range(20):
        sent = seqs(delivery.next_rows(WIDE, turn * 6.0))
        delivery.acknowledged(ack_of([seq for seq in sent if seq != 3]), 0.0)
    assert list(outbox.rows) == [3]


def test_a_new_connection_starts_over() -> None:
    delivery = Delivery(ListOutbox(3), resend_after_s=5.0)
    delivery.next_rows(WIDE, 0.0)
    delivery.reconnected()
    assert seqs(delivery.next_rows(WIDE, 0.1)) == [1, 2, 3]


def test_acknowledgements_of_another_boot_change_nothing() -> None:
    delivery = Delivery(ListOutbox(2), resend_after_s=5.0)
    delivery.next_rows(WIDE, 0.0)
    assert delivery.acknowledged(ack((1, 2), boot="other"), 0.0).deleted == 0
    assert delivery.outstanding == 2


@given(
    st.integers(0, 60),
    st.lists(
        st.tuples(st.integers(0, 25), st.booleans(), st.floats(0, 6), st.integers(0, 5), st.integers(0, 30)),
        max_size=40,
    ),
)
def test_everything_arrives_whatever_is_lost_on_the_way(
    rows: int, turns: list[tuple[int, bool, float, int, int]]
) -> None:
    outbox = ListOutbox(rows)
    delivery = Delivery(outbox, resend_after_s=5.0)
    now = 0.0
    for free, arrives, wait, new, credit in [*turns, *[(20, True, 301.0, 0, 20)] * 40]:
        now += wait
        outbox.add(new)
        sent = seqs(delivery.next_rows(Room(free, 25), now))
        assert len(sent) <= free and len(set(sent)) == len(sent)
        if arrives:
            delivery.acknowledged(ack_of(sent, credit), now)
    assert outbox.depth() == 0


@settings(max_examples=12, deadline=None)
@given(st.sampled_from([0, 1, 2, 20]), st.sets(st.integers(1, 40), max_size=4))
def test_rows_that_nobody_ever_answers_hold_up_no_other_whatever_the_credit(credit: int, mute: set[int]) -> None:
    box = ListOutbox(1)
    delivery = Delivery(box, resend_after_s=5.0)
    delivery.acknowledged(ack(credit=credit), 0.0)
    for tick in range(60 * 50):
        if tick % 60 == 0 and box.last < 40:
            box.add()
        for row in delivery.next_rows(WIDE, tick * 2.0):
            if row.seq not in mute:
                delivery.acknowledged(ack((row.seq, row.seq), credit=credit), 0.0)
    assert set(box.rows) == mute

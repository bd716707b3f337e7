"""Delivery: oldest first, within credit and room, and again when the cloud stays silent."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from agent.delivery import Delivery
from agent.ports.outbox import OutboxRow


class ListOutbox:
    """An outbox in a list."""

    def __init__(self, rows: int) -> None:
        self.boot = "b"
        self.rows = {n: OutboxRow(n, "b", n, b"") for n in range(1, rows + 1)}

    def take(self, limit: int, after_id: int = 0) -> list[OutboxRow]:
        return [row for n, row in sorted(self.rows.items()) if n > after_id][:limit]

    def acknowledge(self, boot: str, ranges: Sequence[tuple[int, int]], now: float) -> int:
        gone = [n for n in self.rows if boot == "b" and any(a <= n <= z for a, z in ranges)]
        for n in gone:
            del self.rows[n]
        return len(gone)

    def depth(self) -> int:
        return len(self.rows)


def seqs(rows: list[OutboxRow]) -> list[int]:
    return [row.seq for row in rows]


def test_rows_go_oldest_first_and_once_while_the_cloud_may_still_answer() -> None:
    delivery = Delivery(ListOutbox(5), resend_after_s=5.0)
    assert seqs(delivery.next_rows(3, 0.0)) == [1, 2, 3]
    assert seqs(delivery.next_rows(3, 1.0)) == [4, 5]
    assert delivery.next_rows(20, 4.0) == []


def test_silence_sends_them_again() -> None:
    delivery = Delivery(ListOutbox(3), resend_after_s=5.0)
    delivery.next_rows(20, 0.0)
    delivery.acknowledged("b", [(2, 2)], 20, 0.0)
    assert seqs(delivery.next_rows(20, 5.0)) == [1, 3]


def test_a_row_that_is_never_acknowledged_does_not_hold_up_the_others() -> None:
    outbox = ListOutbox(60)
    delivery = Delivery(outbox, resend_after_s=5.0)
    for turn in range(8):
        sent = seqs(delivery.next_rows(20, turn * 6.0))
        delivery.acknowledged("b", [(seq, seq) for seq in sent if seq != 3], 20, 0.0)
    assert list(outbox.rows) == [3] and seqs(delivery.next_rows(20, 60.0)) == [3]


def test_a_new_connection_starts_over() -> None:
    delivery = Delivery(ListOutbox(3), resend_after_s=5.0)
    delivery.next_rows(20, 0.0)
    delivery.reconnected()
    assert seqs(delivery.next_rows(20, 0.1)) == [1, 2, 3]


def test_credit_bounds_what_is_outstanding_and_none_still_probes_with_one() -> None:
    delivery = Delivery(ListOutbox(50), resend_after_s=5.0)
    assert len(delivery.next_rows(100, 0.0)) == 20
    delivery.acknowledged("b", [(1, 20)], 3, 0.0)
    assert seqs(delivery.next_rows(100, 0.1)) == [21, 22, 23]
    delivery.acknowledged("b", [(21, 23)], 0, 0.0)
    assert seqs(delivery.next_rows(100, 0.2)) == [24]
    assert delivery.next_rows(100, 0.3) == []


def test_acknowledgements_of_another_boot_change_nothing() -> None:
    outbox = ListOutbox(2)
    delivery = Delivery(outbox, resend_after_s=5.0)
    delivery.next_rows(20, 0.0)
    assert delivery.acknowledged("other", [(1, 2)], 20, 0.0) == 0
    assert delivery.outstanding == 2


@given(st.integers(0, 60), st.lists(st.tuples(st.integers(0, 25), st.booleans(), st.floats(0, 6)), max_size=40))
def test_everything_arrives_whatever_is_lost_on_the_way(rows: int, turns: list[tuple[int, bool, float]]) -> None:
    outbox = ListOutbox(rows)
    delivery = Delivery(outbox, resend_after_s=5.0)
    now = 0.0
    for room, arrives, wait in [*turns, *[(25, True, 6.0)] * 8]:
        now += wait
        sent = seqs(delivery.next_rows(room, now))
        assert len(sent) <= room
        if arrives:
            delivery.acknowledged("b", [(seq, seq) for seq in sent], 20, now)
    assert outbox.depth() == 0

"""The ledger tells loss, doubles and gaps apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.ledger import Committed, Produced, read_committed, settle
from tests.fakes.cloud_tables import open_tables, received, summary


def produced(*frames: int) -> Produced:
    made = Produced()
    for seq, captured in enumerate(frames, 1):
        made.add("s1", "b1", seq, captured)
    return made


def row(seq: int, captured: int, *covers: tuple[int, int], is_gap: bool = False) -> Committed:
    return Committed(("s1", "b1", seq), captured, covers, is_gap)


def test_everything_once_is_exact() -> None:
    balance = settle(produced(3, 4), [row(2, 4), row(1, 3)])
    balance.assert_exact()
    assert (balance.whole, balance.covered, balance.gaps) == (2, 0, 0)


def test_what_a_merged_summary_covers_is_not_lost() -> None:
    balance = settle(produced(3, 4, 5, 6), [row(3, 12, (1, 2)), row(4, 6)])
    balance.assert_exact()
    assert (balance.whole, balance.covered, balance.gaps) == (2, 2, 0)


def test_a_gap_is_covered_and_told() -> None:
    balance = settle(produced(3, 4), [row(2, 7, (1, 1), is_gap=True)])
    balance.assert_exact()
    assert (balance.covered, balance.gaps) == (1, 2)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([row(1, 3)], "1 lost"),
        ([row(1, 3), row(2, 4), row(2, 4)], "1 double"),
        ([row(1, 3), row(2, 7, (1, 1))], "1 double"),
        ([row(1, 3), row(2, 4), row(3, 1)], "nobody made"),
        ([row(1, 3), row(2, 5)], "8 frames of 7"),
    ],
)
def test_anything_else_is_told(rows: list[Committed], why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        settle(produced(3, 4), rows).assert_exact()


def test_committed_is_what_the_clouds_table_holds(tmp_path: Path) -> None:
    tables = open_tables(tmp_path / "cloud.db")
    tables.summaries.commit(received(summary("s1", 1), summary("s1", 2, passed=1)), [])
    made = Produced()
    made.add("s1", "b1", 1, 11)
    made.add("s1", "b1", 2, 5)
    settle(made, read_committed(tables.database)).assert_exact()
    tables.database.close()

"""P1: a summary that was acknowledged is in the database once, whatever happens."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.ports.records import Cursor
from cloud.store.summaries import DeadLetter
from tests.fakes.cloud_tables import T0, Tables, note, open_tables, received, summary

ROOT = Path(__file__).resolve().parents[3]


def test_totals_add_up_what_stations_account_for(tables: Tables) -> None:
    assert tables.summaries.commit(received(summary("s1", 1), summary("s1", 2), summary("s2", 1, passed=0)), []) == 3
    first, second = tables.summaries.totals()
    assert (first.station, first.summaries, first.captured, first.decided) == ("s1", 2, 22, 20)
    assert (first.passed, first.rejected, first.dropped, first.undecided, first.missing_seqs) == (14, 4, 2, 0, 0)
    assert (second.station, second.captured, second.passed) == ("s2", 4, 0)


def test_a_summary_twice_in_a_batch_and_again_in_the_next_is_counted_once(tables: Tables) -> None:
    one = summary("s1", 1)
    assert tables.summaries.commit(received(one, one), []) == 1
    assert tables.summaries.commit(received(one, summary("s1", 2), one), []) == 1
    assert tables.summaries.commit(received(one), []) == 0
    assert [t.summaries for t in tables.summaries.totals()] == [2]
    assert [cursor.row for cursor, _ in tables.summaries.after(Cursor(), 10)] == [1, 2]


def test_the_same_sequence_of_another_boot_or_station_is_another_summary(tables: Tables) -> None:
    batch = received(summary("s1", 1), summary("s1", 1, boot="b2"), summary("s2", 1))
    assert tables.summaries.commit(batch, []) == 3


def test_holes_are_counted_in_each_boot_and_close_when_the_rest_comes(tables: Tables) -> None:
    tables.summaries.commit(received(summary("s1", 1), summary("s1", 5), summary("s1", 2, boot="b2")), [])
    assert tables.summaries.totals()[0].missing_seqs == 4
    tables.summaries.commit(received(*(summary("s1", seq) for seq in (2, 3, 4)), summary("s1", 1, boot="b2")), [])
    assert tables.summaries.totals()[0].missing_seqs == 0


def test_a_duplicate_does_not_bring_its_sample_notes_or_its_time_again(tables: Tables) -> None:
    tables.stations.add("s1", "t", "", T0)
    with_notes = summary("s1", 1, samples=(note("x1"),))
    tables.summaries.commit(received(with_notes, at=T0), [])
    tables.samples.mark_requested(["x1"], None, T0 + 5)
    tables.summaries.commit(received(with_notes, at=T0 + 99), [])
    assert tables.samples.get("x1").requested_at == T0 + 5
    assert tables.stations.status()[0].summary_at == T0


def test_dead_letters_are_kept_and_counted(tables: Tables) -> None:
    tables.summaries.commit([], [DeadLetter("pl/v1/x", "no summary", b"\x00\xff", T0)])
    assert tables.summaries.dead_letter_count() == 1


def test_reading_goes_on_after_a_row(tables: Tables) -> None:
    tables.summaries.commit(received(*(summary("s1", seq) for seq in range(1, 8))), [])
    first = tables.summaries.after(Cursor(), 3)
    rest = tables.summaries.after(first[-1][0], 100)
    assert len(first) == 3 and len(rest) == 4 and not tables.summaries.after(rest[-1][0], 100)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_order_and_repetition_gives_the_same_totals(data: st.DataObject) -> None:
    sent = [summary(s, seq, boot=b, passed=seq) for s in ("s1", "s2") for b in ("b1", "b2") for seq in (1, 2, 4)]
    arriving = data.draw(st.lists(st.sampled_from(sent), max_size=30)) + data.draw(st.permutations(sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(arriving)), max_size=4)))
    with tempfile.TemporaryDirectory() as folder:
        tables = open_tables(Path(folder) / "cloud.db")
        new = sum(
            tables.summaries.commit(received(*arriving[start:stop]), [])
            for start, stop in zip([0, *cuts], [*cuts, len(arriving)], strict=True)
        )
        totals = tables.summaries.totals()
        tables.database.close()
    assert new == len(sent)
    assert [(t.summaries, t.passed, t.missing_seqs) for t in totals] == [(6, 14, 2)] * 2


def test_writers_at_the_same_time_count_each_summary_once(tmp_path: Path) -> None:
    path, new = tmp_path / "cloud.db", []
    open_tables(path).database.close()

    def write(seed: int) -> None:
        tables = open_tables(path)
        order = random.Random(seed).sample(range(1, 61), 60)
        for start in range(0, 60, 6):
            new.append(tables.summaries.commit(received(*(summary("s1", s) for s in order[start : start + 6])), []))
        tables.database.close()

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tables = open_tables(path)
    assert len(new) == 30 and sum(new) == 60
    assert [(t.summaries, t.missing_seqs) for t in tables.summaries.totals()] == [(60, 0)]
    tables.database.close()


_COMMITTER = """
import sys
from pathlib import Path
from tests.fakes.cloud_tables import open_tables, received, summary
tables = open_tables(Path(sys.argv[1]))
first = int(sys.argv[2])
while True:
    # The batch overlaps the one before: what a station sends again after a lost acknowledgement.
    tables.summaries.commit(received(*(summary("s1", seq) for seq in range(max(1, first - 3), first + 5))), [])
    print(first + 4, flush=True)
    first += 5
"""


@pytest.mark.parametrize("kill_after", [1, 7])
def test_kill_9_between_commits_loses_nothing_acknowledged_and_doubles_nothing(tmp_path: Path, kill_after: int) -> None:
    path, acknowledged = tmp_path / "cloud.db", 0
    for _ in range(2):
        process = subprocess.Popen(
            (sys.executable, "-c", _COMMITTER, str(path), str(acknowledged + 1)), stdout=subprocess.PIPE, cwd=ROOT
        )
        assert process.stdout is not None
        for _ in range(kill_after):
            acknowledged = int(process.stdout.readline())
        process.kill()
        # What it committed and said before the blow counts as acknowledged too.
        acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])
        process.wait()
        process.stdout.close()
    tables = open_tables(path)
    (total,) = tables.summaries.totals()
    assert total.missing_seqs == 0
    assert acknowledged <= total.summaries <= acknowledged + 5
    tables.database.close()

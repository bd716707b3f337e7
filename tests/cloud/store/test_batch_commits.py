"""A batch is one transaction: what it makes of repeated, conflicting, covering and gapped summaries, and of births."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, text

from cloud.ports.batch import Batch, Named, Outcome, named
from cloud.ports.records import Cursor
from cloud.store.partitions import Partitions, partition_names, week_of
from cloud.store.summary_rows import SUMMARY_COLUMNS, summary_values
from cloud.store.summary_tables import boots, gaps, seen, summaries
from cloud.store.tables import samples
from contract.codec import encode_summary
from contract.errors import TransientError
from contract.gaps import gap_key, sign_gap
from contract.messages import Command, CommandResult, GapNote, ReportedState, StationState, Summary
from tests.fakes.cloud_tables import T0, Tables, note, open_tables, summary


def batch_of(*sent: Summary, **other: Any) -> Batch:
    return Batch(summaries=[(each, encode_summary(each)) for each in sent], **other)


def commit(tables: Tables, *sent: Summary, **other: Any) -> Outcome:
    return tables.batches.commit(batch_of(*sent, **other), T0)


def name_of(message: Summary) -> Named:
    return named(message, encode_summary(message))


def covering(seq: int, *covers: tuple[int, int], gap: GapNote | None = None) -> Summary:
    return msgspec.structs.replace(summary("s1", seq), covers=covers, gap=gap)


def missing(tables: Tables) -> int:
    return tables.summaries.totals()[0].missing_seqs


def watermarks(tables: Tables) -> list[tuple[str, str, int, int]]:
    c = boots.c
    with tables.database.read() as connection:
        rows = connection.execute(select(c.station, c.boot, c.watermark, c.highest).order_by(c.station, c.boot))
        return [tuple(row) for row in rows]  # type: ignore[misc]


def test_the_same_content_again_is_a_duplicate_and_other_content_a_conflict(tables: Tables) -> None:
    other = summary("s1", 2, passed=1)
    assert commit(tables, summary("s1", 1), summary("s1", 2)) == Outcome(new=2)
    assert commit(tables, summary("s1", 2), other, summary("s1", 3)) == Outcome(1, (name_of(other),))
    clone = summary("s1", 4, passed=1)
    assert commit(tables, summary("s1", 4), clone) == Outcome(1, (name_of(clone),)), "of two in one batch the second"
    (total,) = tables.summaries.totals()
    assert (total.summaries, total.passed, total.conflicts) == (4, 28, 2)


def test_covered_sequences_are_no_holes_whichever_comes_first(tables: Tables) -> None:
    commit(tables, summary("s1", 1), summary("s1", 9))
    assert missing(tables) == 7
    commit(tables, covering(7, (3, 6)))
    assert missing(tables) == 2
    commit(tables, covering(8, (2, 2)))
    assert missing(tables) == 0 and watermarks(tables) == [("s1", "b1", 9, 9)]
    assert commit(tables, summary("s1", 5)) == Outcome(), "below the watermark all is accounted for"


def test_a_covered_sequence_that_comes_after_all_is_a_conflict_while_something_is_missing_below(tables: Tables) -> None:
    commit(tables, covering(7, (3, 6)))
    late = summary("s1", 5)
    assert commit(tables, late).conflicts == (name_of(late),)
    assert commit(tables, summary("s1", 1), summary("s1", 2)) == Outcome(2)


@pytest.mark.parametrize("covers", [(5, 3), (0, 0), (0, 1 << 40)])
def test_odd_covers_harm_only_who_sent_them(tables: Tables, covers: tuple[int, int]) -> None:
    assert commit(tables, covering(2, covers), summary("s2", 1)).new == 2
    assert [t.station for t in tables.summaries.totals()] == ["s1", "s2"]
    assert commit(tables, summary("s2", 2)).new == 1


def test_a_gap_is_recorded_with_whether_its_station_signed_it(tables: Tables) -> None:
    tables.stations.add("s1", "the token", "", T0)
    gap = GapNote(3, "no room")
    signed = sign_gap(covering(4, (1, 3), gap=gap), gap_key("the token"))
    forged = sign_gap(covering(5, gap=gap), gap_key("another token"))
    stranger = msgspec.structs.replace(summary("s9", 1), gap=gap)
    commit(tables, signed, forged, stranger)
    commit(tables, signed)
    with tables.database.read() as connection:
        rows = connection.execute(select(gaps).order_by(gaps.c.station, gaps.c.seq)).all()
    assert [(row.station, row.seq, row.windows, row.why, row.verified) for row in rows] == [
        ("s1", 4, 3, "no room", True),
        ("s1", 5, 3, "no room", False),
        ("s9", 1, 3, "no room", False),
    ]
    assert [total.gaps for total in tables.summaries.totals()] == [2, 1]


def born(next_seq: int, at: float, boot: str = "b1") -> StationState:
    return StationState("s1", boot, True, at, next_seq=next_seq)


def test_a_birth_that_gives_a_sequence_again_is_of_a_restored_station(tables: Tables) -> None:
    assert commit(tables, states=[born(1, T0)]).renew == ()
    commit(tables, *(summary("s1", seq) for seq in range(1, 6)))
    assert commit(tables, states=[born(6, T0 + 50)]).renew == ()
    assert commit(tables, states=[born(4, T0 + 60)]).renew == (("s1", "b1"),)
    assert commit(tables, states=[born(4, T0 + 70, "b2"), born(0, T0 + 70)]).renew == ()


def test_a_birth_that_comes_late_or_again_is_not(tables: Tables) -> None:
    commit(tables, *(summary("s1", seq) for seq in range(1, 6)))
    # Summary 5 ended at T0 + 6: it followed this birth, which another worker held up.
    assert commit(tables, states=[born(5, T0 + 2)]).renew == ()
    first = born(6, T0 + 50)
    assert commit(tables, states=[first]).renew == ()
    commit(tables, summary("s1", 6))
    assert commit(tables, states=[first]).renew == ()


def test_a_batch_that_fails_at_its_end_leaves_nothing_of_its_beginning(tables: Tables) -> None:
    tables.commands.sent(Command("c1", "s1", "re_enrol", T0), T0)
    broken = CommandResult("c1", "s1", True, None)  # type: ignore[arg-type]
    states = [StationState("s1", "b1", True, T0)]
    reports = [ReportedState("s1", "b1", T0, "d", "IDLE")]
    with pytest.raises(Exception, match=r"NOT NULL|not-null|null value"):
        commit(tables, summary("s1", 1), states=states, reports=reports, dead=[("t", "r", b"")], results=[broken])
    assert tables.summaries.totals() == [] and tables.summaries.after(Cursor(), 9) == []
    assert tables.summaries.dead_letter_count() == 0 and tables.stations.strangers() == []
    whole = CommandResult("c1", "s1", True, "done")
    assert commit(tables, summary("s1", 1), states=states, reports=reports, results=[whole]) == Outcome(new=1)
    assert tables.stations.strangers() == ["s1"]


SENT = [summary(s, seq, boot=b, passed=seq) for s in ("s1", "s2") for b in ("b1", "b2") for seq in (1, 2, 4)]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_repetition_and_split_into_batches_comes_to_the_same(data: st.DataObject, tables: Tables) -> None:
    arriving = data.draw(st.lists(st.sampled_from(SENT), max_size=30)) + data.draw(st.permutations(SENT))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(arriving)), max_size=4)))
    with tables.database.write() as connection:
        for name in ("summaries", "seen", "boots", "station_totals"):
            connection.execute(text(f"DELETE FROM {name}"))
    outcomes = [
        commit(tables, *arriving[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(arriving)], strict=True)
    ]
    assert sum(each.new for each in outcomes) == len(SENT) and not any(each.conflicts for each in outcomes)
    assert [(t.summaries, t.passed, t.missing_seqs) for t in tables.summaries.totals()] == [(6, 14, 2)] * 2
    assert {each[2:] for each in watermarks(tables)} == {(2, 4)}
    payloads = sorted(payload for _, payload in tables.summaries.after(Cursor(), 100))
    assert payloads == sorted(map(encode_summary, SENT))


def test_workers_that_share_stations_neither_deadlock_nor_double(database_url: str) -> None:
    names = [f"s{n}" for n in range(12)]
    failed, new = [], []

    def work(turn: int) -> None:
        tables = open_tables(database_url)
        try:
            for seq in range(1, 13):
                mixed = names[turn:] + names[:turn] if seq % 2 else names[::-1]
                new.append(commit(tables, *(summary(name, seq) for name in mixed)).new)
        except TransientError as error:
            failed.append(error)
        tables.database.close()

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and sum(new) == 12 * 12
    tables = open_tables(database_url)
    assert [(t.summaries, t.missing_seqs) for t in tables.summaries.totals()] == [(12, 0)] * 12
    tables.database.close()


def test_the_watch_reads_nothing_that_a_running_transaction_could_still_come_before(postgres_url: str) -> None:
    tables = open_tables(postgres_url)
    commit(tables, summary("s1", 1))
    read = tables.summaries.after(Cursor(), 10)
    with tables.database.write() as slow:
        # Its ids are drawn now, and it commits last.
        slow.execute(text("INSERT INTO station_totals (station) VALUES ('s3')"))
        row = dict(slow.execute(select(summaries)).one()._mapping) | {"station": "s3", "payload": b"slow"}
        del row["tx"], row["id"]
        slow.execute(summaries.insert().values(**row))
        commit(tables, summary("s2", 1))
        assert tables.summaries.after(read[-1][0], 10) == [], "s2 waits for what began before it"
    rest = tables.summaries.after(read[-1][0], 10)
    assert [payload for _, payload in rest] == [b"slow", encode_summary(summary("s2", 1))]
    assert [cursor.position for cursor, _ in rest] == [2, 3]
    # The row of an earlier transaction may have the higher id: none is skipped, wherever reading stops.
    assert tables.summaries.after(rest[0][0], 10) == rest[1:]
    tables.database.close()


def test_windows_of_any_time_find_a_partition_and_1970_makes_none(postgres_url: str) -> None:
    tables = open_tables(postgres_url)
    at = [T0 - 20 * 86_400.0, T0, 7.0, T0 + 9e9]
    sent = [summary("s1", seq) for seq in range(1, 5)]
    moved = [
        msgspec.structs.replace(each, header=msgspec.structs.replace(each.header, started_at=start, ended_at=start + 1))
        for each, start in zip(sent, at, strict=True)
    ]
    commit(tables, *moved)
    commit(tables, summary("s1", 5))
    with tables.database.read() as connection:
        names = partition_names(connection)
        counts = {name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar() for name in names}
        filed = connection.execute(select(summaries.c.filed_at).order_by(summaries.c.seq)).scalars().all()
    assert counts == {"summaries_default": 0, "summaries_w20261026": 1, "summaries_w20261116": 4}
    assert filed[:4] == [T0 - 20 * 86_400.0, T0, T0, T0] and week_of(T0) <= T0
    tables.database.close()


def test_rows_of_a_week_that_had_no_partition_move_when_it_gets_one(postgres_url: str) -> None:
    tables = open_tables(postgres_url)
    partitions = Partitions(tables.database, patience_ms=50)
    row = dict(zip(SUMMARY_COLUMNS, summary_values(summary("s1", 1), b"x", T0), strict=True))
    with tables.database.read() as backup:
        backup.execute(text("LOCK TABLE summaries_default IN ACCESS SHARE MODE"))
        partitions.make([T0], T0)
        with tables.database.write() as connection:
            assert partition_names(connection) == ["summaries_default"]
            tables.database.insert_rows(connection, summaries, [row])
    read = tables.summaries.after(Cursor(), 9)
    partitions.make([T0], T0 + 30)
    with tables.database.read() as connection:
        assert partition_names(connection) == ["summaries_default"], "not tried again at once: each batch would wait"
    partitions.make([T0], T0 + 60)
    with tables.database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM summaries_w20261116")).scalar() == 1
    assert tables.summaries.after(Cursor(), 9) == read
    tables.database.close()


def test_a_restored_station_is_told_again_when_the_answer_was_lost_on_the_way(tables: Tables) -> None:
    commit(tables, *(summary("s1", seq) for seq in range(1, 6)))
    birth = born(3, T0 + 50)
    # The worker died, or the database's answer was lost, after the commit: the broker gives the birth to another.
    for _ in range(2):
        assert commit(tables, states=[birth]).renew == (("s1", "b1"),)


@pytest.mark.parametrize("last", [9, 1 << 40])
def test_a_range_that_reaches_past_its_own_summary_swallows_no_window_to_come(tables: Tables, last: int) -> None:
    assert commit(tables, covering(4, (1, 1), (3, last))).new == 1
    assert commit(tables, *(summary("s1", seq) for seq in (5, 6))).new == 2
    (totals,) = tables.summaries.totals()
    assert (totals.summaries, totals.missing_seqs) == (3, 1)


def test_what_a_restored_station_gives_numbers_anew_is_no_duplicate_though_their_digests_are_forgotten(
    tables: Tables,
) -> None:
    commit(tables, *(summary("s1", seq) for seq in range(1, 41)))
    with tables.database.write() as connection:
        connection.execute(delete(seen).where(seen.c.seq <= 30))  # as keeping does, hours later
    commit(tables, states=[born(11, T0 + 5_000)])  # and the ack that asks for a fresh boot is lost
    again = summary("s1", 10)
    other = [summary("s1", seq, passed=99) for seq in (11, 12, 35)]
    outcome = commit(tables, again, *other)
    assert outcome.new == 0 and len(outcome.conflicts) == 3 and outcome.renew == (("s1", "b1"),)
    # Without a birth that says so it is what was stored, long ago.
    commit(tables, *(summary("s2", seq) for seq in range(1, 41)))
    with tables.database.write() as connection:
        connection.execute(delete(seen).where(seen.c.seq <= 30))
    assert commit(tables, summary("s2", 11)) == Outcome()


def test_a_code_with_a_nul_in_it_costs_no_summary(tables: Tables) -> None:
    told = msgspec.structs.replace(
        summary("s1", 1, samples=(note("a", part="P\0 1"),)), gap=GapNote(1, "for \0 reasons")
    )
    assert commit(tables, told).new == 1
    with tables.database.read() as connection:
        assert connection.execute(select(samples.c.part)).scalars().all() == ["P\\x00 1"]
        assert connection.execute(select(gaps.c.why)).scalars().all() == ["for \\x00 reasons"]

"""Old windows become fewer rows that say the same, whenever and wherever the work is broken off; nothing unread is touched."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select, text

from cloud.ports.batch import Batch
from cloud.ports.records import Cursor
from cloud.store.keeping import Keeping, KeepRules, Kept
from cloud.store.partitions import partition_names
from cloud.store.summary_tables import gaps, seen, summaries
from contract.codec import decode_summary, encode_summary
from contract.messages import Accounting, GapNote, Header, Summary
from contract.sketches.window import Window, merge_all
from contract.sketches.wire import from_wire, to_wire
from tests.cloud.drift.conftest import StationLine
from tests.fakes.cloud_tables import T0, Tables

DAY, HOUR = 86_400.0, 3_600.0
RULES = KeepRules(fine_days=2, hourly_days=10, daily_days=30, dead_letter_days=5, dead_letters=4)
# A midnight, so that cells are easy to count.
START = T0 // DAY * DAY
LINES = {name: [StationLine(name, frames=3).window() for _ in range(6)] for name in ("s1", "s2")}


def told(station: str, seq: int, at: float, window: Window | None, **other: Any) -> Summary:
    header = Header(station, "b1", seq, at, at + 60, float(seq), True, "d" * 64, camera=other.pop("camera", ""))
    accounting = Accounting(captured=4, passed=1, rejected=1, review={"unsure": 1}, dropped={"queue full": 1})
    return Summary(header, accounting, None if window is None else to_wire(window), **other)


def send(tables: Tables, *sent: Summary, read: bool = True, at: float = START + DAY) -> None:
    tables.batches.commit(Batch(summaries=[(each, encode_summary(each)) for each in sent]), at)
    if read:
        tables.alarms.commit(tables.summaries.after(Cursor(), 10_000)[-1][0], {}, [], [])


def replace_header(said: Summary, **changes: Any) -> Summary:
    return msgspec.structs.replace(said, header=msgspec.structs.replace(said.header, **changes))


def keep(tables: Tables, now: float, rules: KeepRules = RULES) -> Kept:
    keeping, merged, dropped = Keeping(tables.database, rules), 0, 0
    for _ in range(50):
        kept = keeping.tick(now)
        merged, dropped = merged + kept.merged, dropped + kept.dropped
        if not (kept.more or kept.merged or kept.dropped):
            return Kept(merged, dropped)
    raise AssertionError("it never comes to an end")


def rows(tables: Tables) -> list[Any]:
    with tables.database.read() as connection:
        return list(connection.execute(select(summaries).order_by(summaries.c.station, summaries.c.filed_at)))


def said(tables: Tables) -> tuple[Counter[str], dict[str, Window], Any]:
    """Return what all rows say together: counts by station and field, the sketch of each station, and the totals."""
    counts: Counter[str] = Counter()
    windows: dict[str, list[Window]] = {}
    for row in rows(tables):
        summary = decode_summary(bytes(row.payload))
        h, a = summary.header, summary.accounting
        assert (a.captured, a.decided, sum(a.dropped.values())) == (row.captured, row.decided, row.dropped)
        assert a.closes() and (h.station, h.seq, h.started_at, h.ended_at) == (
            row.station,
            row.seq,
            row.started_at,
            row.ended_at,
        )
        counts.update({f"{h.station} captured": a.captured, f"{h.station} unsure": a.review["unsure"]})
        counts[f"{h.station} windows"] += row.windows
        if summary.window is not None:
            windows.setdefault(h.station, []).append(from_wire(summary.window))
    merged = {station: merge_all(found[0].identity, found) for station, found in windows.items()}
    return counts, merged, tables.summaries.totals()


def test_windows_become_one_an_hour_then_one_a_day_then_none(tables: Tables) -> None:
    sent = [
        told(station, 6 * hour + n + 1, START + hour * HOUR + n * 600, window)
        for station, windows in LINES.items()
        for hour in range(3)
        for n, window in enumerate(windows)
    ]
    send(tables, *sent)
    before = said(tables)
    assert keep(tables, START + 2 * DAY) == Kept(), "not old enough"
    assert keep(tables, START + 4 * DAY) == Kept(merged=30)
    assert [(row.station, row.level, row.windows) for row in rows(tables)] == [("s1", 1, 6)] * 3 + [("s2", 1, 6)] * 3
    assert said(tables) == before
    assert keep(tables, START + 12 * DAY) == Kept(merged=4)
    assert [(row.level, row.windows) for row in rows(tables)] == [(2, 18)] * 2 and said(tables) == before
    assert keep(tables, START + 45 * DAY) == Kept(dropped=2)
    assert rows(tables) == [] and tables.summaries.totals() == before[2], "totals are kept for ever"


def test_windows_of_another_camera_sketch_or_none_at_all_stay_apart(tables: Tables) -> None:
    a, b = LINES["s1"][:2]
    other = replace(b, identity=type(b.identity)(b.identity.features, b.identity.seed, "", b.identity.artefact, 4))
    windows = [(a, ""), (b, ""), (other, ""), (None, ""), (None, ""), (a, "left")]
    send(tables, *(told("s1", n + 1, START + n, each, camera=camera) for n, (each, camera) in enumerate(windows)))
    assert keep(tables, START + 4 * DAY) == Kept(merged=2)
    assert sorted((row.camera, row.windows) for row in rows(tables)) == [("", 1), ("", 2), ("", 2), ("left", 1)]


def test_what_the_drift_watch_has_not_read_stays_and_what_it_read_is_never_new_to_it(tables: Tables) -> None:
    window = LINES["s1"][0]
    send(tables, *(told("s1", n, START + n, window) for n in (1, 2)))
    cursor, _ = tables.alarms.load_state()
    send(tables, *(told("s1", n, START + n, window) for n in (3, 4)), read=False)
    assert keep(tables, START + 40 * DAY, replace(RULES, daily_days=100)) == Kept(merged=1)
    unread = [decode_summary(payload).header.seq for _, payload in tables.summaries.after(cursor, 10)]
    assert unread == [3, 4]
    assert keep(tables, START + 60 * DAY).dropped == 1
    assert [decode_summary(payload).header.seq for _, payload in tables.summaries.after(cursor, 10)] == [3, 4]


def test_rows_that_come_after_the_newest_were_dropped_are_read(tables: Tables) -> None:
    send(tables, told("s1", 1, START, None))
    cursor, _ = tables.alarms.load_state()
    keep(tables, START + 60 * DAY)
    send(tables, told("s1", 2, START + 60 * DAY, None), read=False, at=START + 60 * DAY)
    assert [decode_summary(payload).header.seq for _, payload in tables.summaries.after(cursor, 10)] == [2]


def test_a_late_window_joins_the_hour_that_was_merged_before(tables: Tables) -> None:
    send(tables, *(told("s1", n, START + n, LINES["s1"][n]) for n in (1, 3)))
    keep(tables, START + 4 * DAY)
    send(tables, told("s1", 2, START + 2, LINES["s1"][2]), at=START + 4 * DAY)
    before = said(tables)
    assert keep(tables, START + 4 * DAY) == Kept(merged=1) and said(tables) == before
    assert [(row.windows, row.seq) for row in rows(tables)] == [(3, 3)]


def test_a_row_that_nobody_can_read_stays_and_holds_nothing_up(tables: Tables) -> None:
    send(tables, *(told("s1", n, START + n, LINES["s1"][n]) for n in (1, 2, 3)))
    with tables.database.write() as connection:
        connection.execute(summaries.update().where(summaries.c.seq == 2).values(payload=b"\xff\x00"))
    assert keep(tables, START + 12 * DAY) == Kept(merged=1)
    assert sorted(row.windows for row in rows(tables)) == [1, 2]


class _Blow(BaseException):
    """What stops a process in the middle of a transaction."""


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_broken_off_at_any_statement_nothing_is_lost_or_doubled(data: st.DataObject, tables: Tables) -> None:
    with tables.database.write() as connection:
        for name in ("summaries", "seen", "boots", "station_totals", "drift_cursor"):
            connection.execute(text(f"DELETE FROM {name}"))
    times = data.draw(st.lists(st.integers(0, 3 * 24), min_size=1, max_size=12))
    lines = LINES["s1"] + LINES["s2"]
    send(tables, *(told("s1", n + 1, START + at * 1200, lines[n % 12]) for n, at in enumerate(times)))
    before = said(tables)
    for blow_at in data.draw(st.lists(st.integers(1, 30), max_size=3)):
        left = [blow_at]

        def count(*_args: Any, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise _Blow

        event.listen(tables.database.engine, "before_cursor_execute", count)
        try:
            Keeping(tables.database, RULES).tick(START + 14 * DAY)
        except _Blow:
            pass
        finally:
            event.remove(tables.database.engine, "before_cursor_execute", count)
        assert said(tables) == before
    keep(tables, START + 14 * DAY)
    assert said(tables) == before and len(rows(tables)) == len({at // 72 for at in times})


def test_dead_letters_and_gaps_are_few_and_not_old(tables: Tables) -> None:
    for day in range(8):
        dead = [("t", f"day {day}", b"x")]
        tables.batches.commit(Batch(dead=dead), START + day * DAY)
    keep(tables, START + 7 * DAY)
    assert tables.summaries.dead_letter_count() == 4
    keep(tables, START + 10.5 * DAY)
    assert tables.summaries.dead_letter_count() == 2
    gapped = told("s1", 1, START, None, gap=GapNote(2, "no room"))
    send(tables, gapped)
    keep(tables, START + 60 * DAY)
    with tables.database.read() as connection:
        assert connection.execute(select(gaps)).all() == []


def test_digests_far_below_the_watermark_are_forgotten_and_their_summaries_stay_duplicates(tables: Tables) -> None:
    sent = [told("s1", n, START + n, None) for n in range(1, 322)]
    send(tables, *sent)
    keep(tables, START + DAY)
    with tables.database.read() as connection:
        assert connection.execute(select(seen.c.seq).order_by(seen.c.seq)).scalars().all() == list(range(22, 322))
    again = Batch(summaries=[(sent[0], encode_summary(sent[0])), (sent[300], encode_summary(sent[300]))])
    assert tables.batches.commit(again, T0).new == 0
    assert tables.summaries.totals()[0].summaries == 321


def test_old_weeks_are_dropped_whole_unless_unread(postgres_url: str) -> None:
    from tests.fakes.cloud_tables import open_tables

    tables = open_tables(postgres_url)
    send(tables, *(told("s1", week + 1, START + week * 7 * DAY, None) for week in range(3)), at=START + 15 * DAY)
    send(tables, told("s1", 4, START + 7 * DAY, None), read=False, at=START + 15 * DAY)
    with tables.database.read() as connection:
        weeks = partition_names(connection)[1:]
    rules = KeepRules(fine_days=1, hourly_days=1, daily_days=20)
    assert Keeping(tables.database, rules).tick(START + 60 * DAY).dropped == 3
    with tables.database.read() as connection:
        left = partition_names(connection)[1:]
    assert weeks[1] in left and weeks[0] not in left and weeks[2] not in left
    assert [row.seq for row in rows(tables)] == [4]
    tables.database.close()


@pytest.mark.parametrize("days", [0.5, 400.0])
def test_windows_of_a_clock_that_cannot_be_right_are_aged_by_when_they_came(tables: Tables, days: float) -> None:
    send(tables, told("s1", 1, 7.0, LINES["s1"][0]), told("s1", 2, START, LINES["s1"][1]), at=START + 60)
    keep(tables, START + days * DAY, replace(RULES, daily_days=1000))
    assert len(rows(tables)) == 2, "neither merged with the others' times nor dropped as of 1970"


def test_a_clock_that_says_2100_costs_nothing(tables: Tables) -> None:
    wrong, window = START + 75 * 365 * DAY, LINES["s1"][0]
    send(tables, *(told("s1", seq, START + 60 * seq, window) for seq in range(1, 6)))
    tables.batches.commit(Batch(dead=[("t", "r", b"x")]), START)
    # Windows that come meanwhile are stored, and say what day it is.
    send(tables, told("s1", 6, START + 600, window), at=wrong)
    before = rows(tables)
    keeping = Keeping(tables.database, RULES)
    for at in (wrong, wrong + 5, wrong + 100):
        assert keeping.tick(at) == Kept()
    assert rows(tables) == before and tables.summaries.dead_letter_count() == 1
    assert keeping.tick(START + 4 * DAY).merged == 4  # it was put right


def test_without_any_synced_clock_rows_are_kept_by_the_cloud_s(tables: Tables) -> None:
    unset = [replace_header(told("s1", seq, 60.0 * seq, LINES["s1"][0]), clock_synced=False) for seq in (1, 2)]
    send(tables, *unset, at=START)
    assert keep(tables, START + 200 * DAY).dropped > 0 and rows(tables) == []


def test_a_late_window_that_comes_while_its_week_is_dropped_is_not_lost_unread(postgres_url: str) -> None:
    from tests.fakes.cloud_tables import open_tables

    tables, other = open_tables(postgres_url), open_tables(postgres_url)
    send(tables, told("s1", 1, START, None))

    def come_late(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("LOCK TABLE ONLY summaries"):
            send(other, told("s1", 2, START + 60, None), read=False)

    event.listen(tables.database.engine, "before_cursor_execute", come_late)
    rules = KeepRules(fine_days=1, hourly_days=1, daily_days=20)
    Keeping(tables.database, rules).tick(START + 60 * DAY)
    assert 2 in [row.seq for row in rows(tables)]
    for each in (tables, other):
        each.database.close()


def test_what_comes_before_the_cloud_s_clock_is_set_is_not_dropped_as_of_1970_once_it_is(tables: Tables) -> None:
    send(tables, *(told("s1", seq, START + 60 * seq, LINES["s1"][seq]) for seq in (1, 2)), at=100.0)
    tables.batches.commit(Batch(dead=[("t", "r", b"x")]), 100.0)
    assert keep(tables, START + DAY) == Kept() and len(rows(tables)) == 2
    assert tables.summaries.dead_letter_count() == 1

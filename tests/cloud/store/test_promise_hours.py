"""Promises and costs are counted with the batch that tells of them: once, in the hour they are about, whatever the order."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.cost_meter import CostMeter
from cloud.ports.alarms import Opened
from cloud.ports.batch import Batch
from cloud.ports.records import Cursor
from cloud.ports.rollouts import StandingOrder
from cloud.promises import FleetPromises, Terms
from cloud.slo.tally import HOUR_S, Promise, Tally, hour_of
from cloud.store.batches import Batches
from cloud.store.costs import DAY_S, Cost, Costs
from cloud.store.promises import PromiseHours
from contract.codec import encode_summary
from contract.errors import TransientError
from contract.messages import Accounting, Summary
from tests.fakes.cloud_tables import T0, Tables, commit_batch, open_tables, summary

TERMS = Terms(dict(zip(Promise, (0.999, 0.99, 0.99, 0.9), strict=True)), 28, 900.0, 72 * HOUR_S)


def window(seq: int, *, station: str = "s1", hour: int = 0, late: int = 0, dropped: int = 1) -> Summary:
    """Return a window of 20 frames in the hour `hour` after T0's."""
    plain = summary(station, seq)
    at = hour_of(T0) * HOUR_S + hour * HOUR_S + seq % 60
    accounting = Accounting(20, 10, 2, {"unsure": 8 - late - dropped, "late": late}, {"queue full": dropped})
    header = msgspec.structs.replace(plain.header, started_at=at, ended_at=at + 1)
    return msgspec.structs.replace(plain, header=header, accounting=accounting)


def batch_of(*summaries: Summary) -> Batch:
    return Batch(summaries=[(each, encode_summary(each)) for each in summaries])


def counted(tables: Tables) -> dict[Promise, dict[int, Tally]]:
    return PromiseHours(tables.database).since(0)


def test_frames_count_in_the_hour_their_window_was_in_however_late_it_comes(tables: Tables) -> None:
    commit_batch(tables, batch_of(window(1, hour=2), window(2, hour=2, late=3)), T0 + 2 * HOUR_S)
    commit_batch(tables, batch_of(window(3, hour=0, dropped=2)), T0 + 9 * HOUR_S)  # after an outage
    at = hour_of(T0)
    assert counted(tables)[Promise.AVAILABILITY] == {at: (18, 20), at + 2: (38, 40)}
    assert counted(tables)[Promise.IN_TIME] == {at: (18, 18), at + 2: (35, 38)}


def test_what_comes_twice_counts_once_and_a_clone_not_at_all(tables: Tables) -> None:
    for _ in range(3):
        commit_batch(tables, batch_of(window(1), window(1), window(2)), T0)
    commit_batch(tables, batch_of(window(2, dropped=7)), T0)  # other content under the same number
    assert counted(tables)[Promise.AVAILABILITY] == {hour_of(T0): (38, 40)}
    costs = Costs(tables.database)
    for _ in range(2):
        costs.add_summaries(T0)
    cost = costs.days(0, 10**6)
    assert [(each.station, each.kind) for each in cost] == [("s1", Cost.SUMMARY_BYTES)]
    assert cost[0].amount == sum(len(encode_summary(window(n))) for n in (1, 2))


def test_a_batch_whose_frames_were_not_counted_is_not_stored_either(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_arguments: object) -> None:
        raise TransientError("the power went")

    with monkeypatch.context() as broken:
        broken.setattr("cloud.store.batches.add_tallies", cut)
        with pytest.raises(TransientError):
            commit_batch(tables, batch_of(window(1)), T0)
    assert not any(counted(tables).values())
    assert commit_batch(tables, batch_of(window(1)), T0).new == 1, "it comes again, and is new"
    assert counted(tables)[Promise.AVAILABILITY] == {hour_of(T0): (19, 20)}


MESSAGES = st.lists(st.tuples(st.sampled_from(["s1", "s2"]), st.integers(1, 12)), min_size=1, max_size=30)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(MESSAGES, st.lists(st.integers(1, 6), max_size=10))
def test_any_order_repetition_and_split_among_workers_counts_the_same(
    new_database: Callable[..., str], sent: list[tuple[str, int]], sizes: list[int]
) -> None:
    tables = open_tables(new_database())
    try:
        # Two workers, each with a shard of its own.
        workers = [Batches(tables.database), Batches(tables.database)]
        workers[1]._shard += 1
        rest, number = list(sent), 0
        while rest:
            size = sizes[number] if number < len(sizes) else len(rest)
            some, rest = rest[:size], rest[size:]
            windows = [window(seq, station=station, hour=seq % 3, late=seq % 2) for station, seq in some]
            workers[number % 2].commit(batch_of(*windows), T0 + 4 * HOUR_S)
            if number % 3 == 0:
                Costs(tables.database).add_summaries(T0)
            number += 1
        Costs(tables.database).add_summaries(T0 + 1)
        distinct = set(sent)
        for promise, good_of, total in (
            (Promise.AVAILABILITY, lambda seq: 19, 20),
            (Promise.IN_TIME, lambda seq: 19 - seq % 2, 19),
        ):
            expected: dict[int, Tally] = {}
            for _, seq in distinct:
                hour = hour_of(T0) + seq % 3
                expected[hour] = expected.get(hour, Tally()).plus(Tally(good_of(seq), total))
            assert counted(tables)[promise] == expected
        stored = sum(each.amount for each in Costs(tables.database).days(0, 10**6))
        assert stored == sum(
            len(encode_summary(window(seq, station=s, hour=seq % 3, late=seq % 2))) for s, seq in distinct
        )
    finally:
        tables.database.close()


def fresh(tables: Tables) -> tuple[float, float]:
    total = Tally()
    for tally in counted(tables)[Promise.FRESHNESS].values():
        total = total.plus(tally)
    return total.good, total.total


def test_who_was_stopped_or_never_spoke_does_not_owe_fresh_data(tables: Tables) -> None:
    tables.add_online("s1", "s2", "s3", "new")
    now = T0 + 3_000
    commit_batch(tables, batch_of(window(1, station="s1"), window(1, station="s3")), now - 5_000)
    commit_batch(tables, batch_of(window(1, station="s2"), window(1, station="stranger")), now - 10)
    hours = PromiseHours(tables.database)
    hours.count_fresh(now, 900.0)
    hours.count_fresh(now + 20, 900.0)
    assert fresh(tables) == (1, 3)
    tables.rollouts.order_apart(StandingOrder("s3", 1, "", "{}", True), "operator", "stop station", "broken", now)
    hours.count_fresh(now + 60, 900.0)
    assert fresh(tables) == (2, 5)


def test_budgets_are_read_from_what_was_counted(tables: Tables) -> None:
    now = [T0 + 8 * HOUR_S]
    promises = FleetPromises(PromiseHours(tables.database), TERMS, lambda: now[0])
    assert promises.why_held() == "" and all(each.share is None for each in promises.budgets())
    windows = [window(seq, hour=seq % 8, dropped=2) for seq in range(1, 1001)]
    commit_batch(tables, batch_of(*windows), now[0])
    tables.alarms.commit(Cursor(), {}, [Opened("s1", T0 - 80 * HOUR_S, T0, "lens", "fogged")], [])
    now[0] += 10
    by_name = {each.promise: each for each in promises.budgets()}
    assert (by_name["availability"].share, by_name["availability"].events) == (0.9, 20_000)
    assert by_name["in_time"].share == 1.0
    assert (by_name["recovery"].share, by_name["recovery"].events) == (0.0, 1)
    assert by_name["freshness"].share is None
    assert "frames captured were decided" in promises.why_held()
    promises.tick()
    PromiseHours(tables.database).prune(hour_of(T0) + 100)
    assert not any(counted(tables).values())


def test_costs_are_gathered_and_kept_when_the_database_is_away(tables: Tables) -> None:
    costs, away = Costs(tables.database), [False]

    def write(*arguments: object) -> None:
        if away[0]:
            raise TransientError("locked")
        costs.add(*arguments)  # type: ignore[arg-type]

    meter = CostMeter(write, lambda: T0)
    meter.asked("s1", "answered", 500)
    meter.asked("s1", "refused", 0)
    away[0] = True
    with pytest.raises(TransientError):
        meter.flush()
    meter.image("s1", 70)
    away[0] = False
    meter.flush()
    meter.flush()
    meter.asked("s1", "answered", 500)
    meter.flush()
    day = int(T0 // DAY_S)
    assert {each.kind: each.amount for each in costs.days(day, day)} == {
        Cost.ANSWERED: 2, Cost.REFUSED: 1, Cost.FALLBACK_BYTES: 1000, Cost.IMAGES: 1, Cost.IMAGE_BYTES: 70,
    }  # fmt: skip
    costs.prune(day + 1)
    assert costs.days(0, day) == []

"""A clock that says 2106 for a moment: nothing that is kept for months is forgotten by it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from cloud.notices_wiring import Alerts
from cloud.ports.batch import Batch
from cloud.ports.needs import Need, Severity
from cloud.ports.notices import Changes, Notice
from cloud.promise_wiring import make_accounts
from cloud.settings_operate import PromiseSettings
from cloud.slo.tally import Promise
from cloud.store.clock_witness import ClockWitness
from cloud.store.costs import DAY_S
from cloud.store.notices import Notices
from contract.codec import encode_summary
from tests.fakes.cloud_tables import T0, Tables, commit_batch, open_tables, summary

YEAR_2106 = 4_294_967_295.0


@pytest.fixture
def tables(database_url: str) -> Iterator[Tables]:
    opened = open_tables(database_url)
    one = summary("s1", 1)
    commit_batch(opened, Batch(summaries=[(one, encode_summary(one))]), T0)
    yield opened
    opened.database.close()


def test_hours_and_costs_outlast_it_and_are_pruned_when_they_are_old(tables: Tables) -> None:
    now = [T0]
    accounts = make_accounts(PromiseSettings(), tables.database, lambda: now[0])
    accounts.tick()
    now[0] = YEAR_2106
    accounts.tick()
    assert accounts.hours.since(0)[Promise.AVAILABILITY] != {} and accounts.costs.days(0, int(T0 // DAY_S)) != []
    newest = summary("s1", 2)
    at = T0 + 500 * DAY_S
    header = msgspec.structs.replace(newest.header, started_at=at, ended_at=at + 60)
    newest = msgspec.structs.replace(newest, header=header)
    commit_batch(tables, Batch(summaries=[(newest, encode_summary(newest))]), at)
    now[0] = at
    accounts.tick()
    assert len(accounts.hours.since(0)[Promise.AVAILABILITY]) == 1 and accounts.costs.days(0, int(T0 // DAY_S)) == []


def test_what_was_told_outlasts_it(tables: Tables) -> None:
    notices = Notices(tables.database)
    need = Need("a", "kind", Severity.PAGE, "a needs somebody", "/")
    notices.apply(Changes(open=[Notice(0, need, T0, T0, T0, 1, T0 + 9)]), [], T0)
    alerts = Alerts(None, None, (), None, (), notices, ClockWitness(tables.database), ())  # type: ignore[arg-type]
    alerts.prune(YEAR_2106)
    assert len(notices.newest(9)) == 1
    alerts.prune(T0 + 89 * DAY_S)
    assert len(notices.newest(9)) == 1

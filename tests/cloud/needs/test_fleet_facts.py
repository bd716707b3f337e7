"""The facts as they are read from real tables."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from cloud.fleet_facts import FactSources, FleetFacts, NeedsNow
from cloud.needs import needs
from cloud.ports.rollouts import StandingOrder
from cloud.registry.resign_status import resign_status
from cloud.rollout.plan import RolloutPlan
from cloud.rollout.rollout_states import MemberEvent, RolloutEvent
from cloud.store.fact_rows import FactRows
from cloud.store.tables import audit, station_status, stations
from contract.messages import Accounting, GapNote, Header, HealthNote, ReportedState, StationState, Summary
from tests.fakes.cloud_tables import T0, Tables, received
from tests.fakes.link import RecordingLink

DAY = 86_400.0


class Moment:
    """A clock that a test moves, and facts read by it."""

    def __init__(self, tables: Tables, home: Path, **more: object) -> None:
        self.now, self.link = T0, RecordingLink()
        t = tables
        self.sources = FactSources(
            t.stations, t.summaries, t.samples, t.alarms, t.rollouts, FactRows(t.database), self.link,
            disks={"home": home}, **more,  # type: ignore[arg-type]
        )  # fmt: skip
        self.facts = FleetFacts(self.sources, lambda: self.now)

    def kinds(self) -> list[str]:
        return [need.kind for need in needs(self.facts.read())]


def windows(station: str, seq: int, at: float, *, ends: float, outbox: int = 0, gap: GapNote | None = None) -> Summary:
    header = Header(station, "b1", seq, ends - 60.0, ends, 1.0, True, "d" * 64)
    health = HealthNote(disk_free_mib=50_000, outbox=outbox)
    return Summary(header, Accounting(captured=1, passed=1), health=health, gap=gap)


def test_silence_is_counted_from_when_the_broker_was_reached(tables: Tables, tmp_path: Path) -> None:
    tables.add_online("s1", now=T0 - DAY)
    moment = Moment(tables, tmp_path)
    assert moment.kinds() == []
    moment.now += 1801
    assert moment.kinds() == ["silent station"]
    moment.link.up = False
    moment.kinds()
    moment.now += 61
    assert moment.kinds() == ["broker down"]
    moment.link.up = True
    assert moment.kinds() == []


def test_a_clock_is_wrong_by_what_the_newest_window_says(tables: Tables, tmp_path: Path) -> None:
    tables.add_online("ahead", "behind", "late", "right")
    sent = [
        windows("ahead", 1, T0, ends=T0 + 4000.0), windows("behind", 1, T0, ends=T0 - DAY),
        windows("late", 1, T0, ends=T0 - DAY, outbox=500), windows("right", 1, T0, ends=T0),
    ]  # fmt: skip
    tables.summaries.commit(received(*sent), [])
    with tables.database.write() as connection:
        for each in sent:
            whose = station_status.c.station == each.header.station
            connection.execute(
                station_status.update().where(whose).values(health=msgspec.json.encode(each.health).decode())
            )
    found = {t.station: t.ahead_s for t in Moment(tables, tmp_path).facts.read().troubles}
    assert found == {"ahead": 4000.0, "behind": -DAY}, "what waited at the station says nothing of its clock"


def test_gaps_count_for_a_day(tables: Tables, tmp_path: Path) -> None:
    tables.add_online("s1")
    tables.summaries.commit(received(windows("s1", 1, T0, ends=T0, gap=GapNote(3, "the disk was full"))), [])
    moment = Moment(tables, tmp_path)
    assert moment.kinds() == ["data lost"]
    moment.now += 1.1 * DAY
    assert "data lost" not in moment.kinds()


def test_who_stopped_a_rollout_is_told_from_the_audit_log(tables: Tables, tmp_path: Path) -> None:
    tables.add_online("s1", "s2")
    book = tables.rollouts
    for number, actor in ((1, "plumbline"), (2, "rita")):
        book.create(f"v{number}", "e" * 64, [["s1"], ["s2"]], [], "rita", T0)
        order = StandingOrder("s1", number, "e" * 64, "{}", True)
        book.order(book.members(number)[0], MemberEvent.ORDER, order, "", T0)
        book.step(book.get(number), RolloutEvent.ABORT, actor, "s1: it crashed", T0)
        first, second = book.members(number)
        book.withdraw(first, "nothing to go back to", T0)
        book.step_member(second, MemberEvent.SKIP, "", T0)
        book.step_member(book.members(number)[0], MemberEvent.RETURN, "", T0)
        book.step(book.get(number), RolloutEvent.ALL_BACK, "plumbline", "", T0)
    moment = Moment(tables, tmp_path)
    assert [(f.rollout.id, f.by_itself) for f in moment.facts.read().rollouts] == [(1, True), (2, False)]
    book.create("v3", "f" * 64, [["s1"]], [], "rita", T0)
    order = StandingOrder("s1", 3, "f" * 64, "{}", True)
    book.order(book.members(3)[0], MemberEvent.ORDER, order, "", T0)
    assert moment.facts.read().rollouts[-1].unanswered == 1
    book.step_member(book.members(3)[0], MemberEvent.COMMIT, "", T0)
    book.step(book.get(3), RolloutEvent.ALL_WAVES_COMMITTED, "plumbline", "", T0)
    assert moment.facts.read().rollouts == [], "one that went well since says that somebody saw to it"


def test_approvals_are_asked_for_while_a_rollout_is_proposed(tables: Tables, tmp_path: Path) -> None:
    tables.add_online("s1")
    plan = RolloutPlan(approvals=2).encode()
    tables.rollouts.create("v1", "e" * 64, [["s1"]], [], "rita", T0, plan=plan, proposed=True)
    moment = Moment(tables, tmp_path)
    assert moment.kinds() == ["approval asked"] and moment.facts.read().rollouts[0].approvals == 2
    tables.rollouts.approvals.say(1, "otto", True, "", T0)
    assert moment.facts.read().rollouts[0].approvals == 1
    tables.rollouts.approvals.say(1, "otto", False, "no", T0 + 1)
    assert moment.facts.read().rollouts[0].approvals == 2, "the newest word counts"


def test_audit_signing_strangers_and_stations_without_access(tables: Tables, tmp_path: Path) -> None:
    tables.add_online("s1", "gone", now=T0 - DAY)
    tables.stations.commit([StationState("eve", "b", True, T0)], [], T0)
    tables.stations.commit([], [ReportedState("s1", "b1", T0, "d" * 64, "ROLLED_BACK", reason="it died")], T0)
    with tables.database.write() as connection:
        connection.exec_driver_sql("UPDATE stations SET token_sha256 = '' WHERE station = 'gone'")
    for number in range(3):
        tables.audit.append(T0, "rita", "act", f"{number}")
    with tables.database.write() as connection:
        connection.execute(audit.update().where(audit.c.id == 2).values(detail="forged"))
    late = resign_status({"targets": T0 - DAY}, T0)
    moment = Moment(tables, tmp_path, repository=lambda: late)
    assert set(moment.kinds()) == {"audit log broken", "signing due", "stranger", "station rolled back"}
    moment.now += 1900.0
    assert set(moment.kinds()) == {"audit log broken", "signing due", "stranger", "silent station"}


@pytest.mark.parametrize("count", [10_000])
def test_ten_thousand_stations_are_read_and_judged_in_seconds_and_kept_for_whoever_asks(
    tables: Tables, tmp_path: Path, count: int
) -> None:
    with tables.database.write() as connection:
        rows = [
            {"station": f"s{n}", "token_sha256": "x", "site": f"hall {n % 20}", "added_at": T0} for n in range(count)
        ]
        tables.database.upsert_rows(connection, stations, ["station"], rows)
    births = [StationState(f"s{n}", "b1", True, T0) for n in range(count)]
    tables.stations.commit(births, [], T0 - 7200.0)
    tables.summaries.commit(
        received(*(windows(f"s{n}", 1, T0, ends=T0 - 7200.0) for n in range(count)), at=T0 - 7200), []
    )
    moment = Moment(tables, tmp_path)
    now = NeedsNow(moment.facts, lambda: moment.now)
    assert now.current() == []
    moment.now += 1801.0
    began = time.process_time()  # what others do on the machine meanwhile is no part of it
    found = now.current()
    took = time.process_time() - began
    assert [(n.kind, len(n.members)) for n in found] == [("silent station", 500)] * 20
    assert took < 5.0, f"{took:.2f} s"
    again = now.current()
    assert len(again) == 20 and all(a is b for a, b in zip(again, found, strict=True)), (
        "the next who asks gets what was read"
    )
    print(f"\n{count} stations: {took * 1e3:.0f} ms")

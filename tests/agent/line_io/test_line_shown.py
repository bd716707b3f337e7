"""What a station says of its line's controller: figures for Prometheus, health, and a status that outlives the station."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from agent.api.meter import LineMeter
from agent.api.station_metrics import StationFigures, station_metrics
from agent.line_io.desk import Desk, DeskRules
from agent.line_io.line_teller import FACT, LineTeller, line_of
from agent.line_io.plc_loop import PlcLoop
from agent.ports.line import LineCounts
from tests.fakes.agent_clock import HandClock
from tests.fakes.modbus_line import QuietLog


class DictMemory:
    """Facts in a dictionary; counts what would be writes to a disk."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}
        self.writes = 0

    def get(self, name: str) -> str | None:
        return self.facts.get(name)

    def put(self, name: str, value: str) -> None:
        self.facts[name] = value
        self.writes += 1


def nowhere() -> sqlite3.Connection:
    raise sqlite3.OperationalError("there is none")


def figures(line: LineCounts | None, trouble: str = "") -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = station_metrics(
        LineMeter(HandClock()), StationFigures("1", True, "", {}, line=line, line_trouble=trouble), None,
        home=Path("/"), database=Path("/none"), connect=nowhere, station="s1", simulated=True,
    )  # fmt: skip
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(s.labels.items())): s.value for f in families for s in f.samples}


def looped(clock: HandClock) -> PlcLoop:
    return PlcLoop(Desk(DeskRules(waiting=1), clock), lambda _: None, clock, QuietLog(), heartbeat_s=1.0)  # type: ignore[arg-type, return-value]


def test_triggers_are_counted_by_what_became_of_them() -> None:
    counts = LineCounts(9, 4, {"full": 2}, {"timeout": 1, "gone": 1}, 1, 3, 0, 5)
    found = figures(counts)
    assert found["plumbline_triggers_total", ()] == 9
    assert found["plumbline_triggers_answered_total", ()] == 4
    assert found["plumbline_triggers_lost_total", (("cause", "timeout"),)] == 1
    assert found["plumbline_triggers_refused_total", (("cause", "full"),)] == 2
    assert found["plumbline_triggers_waiting", ()] == 1
    assert found["plumbline_verdicts_late_total", ()] == 3
    assert found["plumbline_verdicts_unshown_total", ()] == 5
    assert found["plumbline_controller_served", ()] == 1
    assert figures(counts, "the broker is away")["plumbline_controller_served", ()] == 0


def test_a_station_without_a_controller_has_none_of_these_figures() -> None:
    assert not [name for name, _ in figures(None) if "trigger" in name or "verdicts" in name or "controller" in name]


def test_how_the_controller_stands_is_kept_seldom_and_at_once_when_it_breaks() -> None:
    clock, memory = HandClock(), DictMemory()
    loop = looped(clock)
    teller = LineTeller(loop, memory, clock, {})
    teller.tell()
    assert line_of(memory.facts[FACT])["controller"] == "served"
    for n in range(1, 50):
        loop.desk.trigger(n, "")
        clock.forward(0.1)
        teller.tell()
    assert memory.writes == 1
    loop.desk.away("the controller's heartbeat stopped")
    teller.tell()
    assert line_of(memory.facts[FACT]) == {
        "controller": "the controller's heartbeat stopped",
        "triggers": {
            "triggers": 49, "answered": 0, "refused: full": 48, "waiting": 1, "late": 0, "unasked": 0, "unshown": 0,
        },
    }  # fmt: skip
    loop.desk.close()
    teller.tell(last=True)
    assert line_of(memory.facts[FACT])["triggers"]["lost: stopped"] == 1  # type: ignore[index]


def test_a_controller_that_was_taken_away_is_forgotten() -> None:
    clock, memory = HandClock(), DictMemory()
    LineTeller(looped(clock), memory, clock, {}).tell()
    without = LineTeller(None, memory, clock, {})
    without.tell()
    without.tell()
    assert memory.writes == 2
    assert line_of(memory.facts[FACT]) == line_of("") == line_of("{") == {}

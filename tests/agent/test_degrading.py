"""A station that degrades says so, in its journal, its summaries and its metrics, and comes back by itself."""

from __future__ import annotations

import threading
from pathlib import Path

from agent.api.meter import LineMeter
from agent.api.station_metrics import StationFigures, station_metrics
from agent.decide.degrade import LadderRules, Rung
from agent.degrading import Degrading
from agent.health.power import PowerSensors
from agent.health.thermal import ThermalSensors
from agent.store.database import open_database, open_read_only
from tests.agent.health.sysfs_tree import orin, put
from tests.fakes.agent_clock import HandClock
from tests.fakes.agent_line import ListLog

RULES = LadderRules(climb_after_s=10.0, relief_s=60.0)


class Station:
    """A station's ladder on a board made of files, at a camera of 20 frames a second; a tick is a second."""

    def __init__(self, root: Path) -> None:
        self.thermal = orin(root / "thermal")
        self.log = ListLog()
        power = PowerSensors(power_supply=root / "supply", hwmon=root / "hwmon", platform=root / "platform")
        sensors = ThermalSensors(self.thermal, root / "platform")
        self.degrading = Degrading(RULES, self.log, heat=sensors.look, power_trouble=power.trouble)
        self.now_s, self.captured, self.dropped = 1000.0, 0, 0

    def heat(self, milli: int) -> None:
        put(self.thermal / "thermal_zone1", temp=milli)

    def seconds(self, count: int, *, dropped: int = 0, captured: int = 20) -> None:
        for _ in range(count):
            self.captured += captured
            self.dropped += dropped
            self.degrading.tick(self.now_s, self.captured, self.dropped)
            self.now_s += 1.0

    def allows(self) -> tuple[bool, bool, bool, int]:
        here = self.degrading
        return here.second_opinions, here.shadow, here.smaller_artefact, here.judge_one_in


def test_a_hot_station_gives_up_one_thing_after_the_other_and_comes_back_when_it_is_cool(tmp_path: Path) -> None:
    station = Station(tmp_path)
    station.seconds(30)
    assert station.allows() == (True, True, False, 1)
    assert (station.degrading.note, station.log.lines) == ("", [])
    station.heat(97_000)
    station.seconds(21)
    assert station.allows() == (False, False, False, 1)
    assert station.degrading.note == "degraded: no shadow (heat: 97.0 C of 95 C)"
    station.seconds(20)
    assert station.allows() == (False, False, True, 2)
    station.seconds(100)
    assert station.allows() == (False, False, True, 8)
    station.heat(60_000)
    station.seconds(6 * 60 + 1)
    assert station.allows() == (True, True, False, 1)
    assert station.degrading.note == ""
    assert station.degrading.figures.changes == 12
    assert len(station.log.lines) == 12  # each step, and nothing between them
    assert station.log.lines[0] == "degraded by a step, no second opinion: heat: 97.0 C of 95 C"
    assert station.log.lines[-1] == "no longer degraded"


def test_a_window_that_was_degraded_for_a_while_says_so_once(tmp_path: Path) -> None:
    station = Station(tmp_path)
    station.heat(97_000)
    station.seconds(12)
    station.heat(50_000)
    station.seconds(70)
    assert station.degrading.note == ""
    assert station.degrading.note_of_window() == "degraded: no second opinion (heat: 97.0 C of 95 C)"
    assert station.degrading.note_of_window() == ""


def test_a_window_that_begins_degraded_says_so_to_its_end(tmp_path: Path) -> None:
    station = Station(tmp_path)
    station.heat(97_000)
    station.seconds(25)
    told = [station.degrading.note_of_window() for _ in range(2)]
    assert told == ["degraded: no shadow (heat: 97.0 C of 95 C)"] * 2


def test_backlog_is_judged_over_some_seconds_and_each_rung_by_its_own_drops(tmp_path: Path) -> None:
    station = Station(tmp_path)
    station.seconds(5)
    station.seconds(1, dropped=20)  # one bad second
    station.seconds(60)
    assert station.log.lines == []
    station.seconds(13, dropped=5)
    assert station.degrading.figures.rung is Rung.NO_SECOND_OPINION
    station.seconds(70)  # that was enough: the drops before it count no more
    assert station.degrading.figures.changes == 2
    assert station.degrading.note == ""
    station.seconds(500, dropped=5)
    assert station.degrading.figures.rung is Rung.SMALLER_ARTEFACT
    assert station.degrading.note == "degraded: smaller artefact (backlog: 25% of the frames dropped)"


def test_a_slow_line_that_drops_one_frame_in_a_hundred_is_left_alone(tmp_path: Path) -> None:
    station = Station(tmp_path)
    for _ in range(20):
        station.seconds(99, captured=1)
        station.seconds(1, captured=1, dropped=1)
    assert station.log.lines == []


def test_counters_or_a_clock_that_begin_anew_do_no_harm(tmp_path: Path) -> None:
    station = Station(tmp_path)
    station.seconds(100)
    station.captured = station.dropped = 0
    station.seconds(5)
    station.now_s = 3.0
    station.seconds(100)
    assert (station.degrading.note, station.log.lines) == ("", [])
    station.heat(97_000)
    station.seconds(11)
    station.now_s = -500.0
    station.heat(50_000)
    station.seconds(62)
    assert station.degrading.note == ""


def test_it_looks_once_a_second_however_often_it_is_called(tmp_path: Path) -> None:
    looks = 0

    def trouble(now_s: float) -> str:
        nonlocal looks
        looks += 1
        return ""

    bare = ThermalSensors(tmp_path / "none", tmp_path / "none")
    degrading = Degrading(RULES, ListLog(), heat=bare.look, power_trouble=trouble)
    for quarter in range(41):
        degrading.tick(quarter / 4, quarter, 0)
    assert looks == 11


def test_low_power_is_told_with_its_reason(tmp_path: Path) -> None:
    station = Station(tmp_path)
    put(tmp_path / "supply/BAT0", type="Battery", status="Discharging", capacity=12)
    station.seconds(11)
    assert station.degrading.note == "degraded: no second opinion (low power: the battery is at 12%)"


def test_the_frame_thread_may_read_while_the_main_thread_ticks(tmp_path: Path) -> None:
    station, done, odd = Station(tmp_path), threading.Event(), []

    def read() -> None:
        while not done.wait(0.0002):
            figures = station.degrading.figures
            if bool(figures.note) is not bool(figures.rung):
                odd.append(figures)
            if bool(station.degrading.note_of_window()) and station.degrading.judge_one_in not in (1, 2, 4, 8):
                odd.append(figures)

    reader = threading.Thread(target=read)
    reader.start()
    for milli in (97_000, 50_000):
        station.heat(milli)
        station.seconds(150)
    done.set()
    reader.join()
    assert odd == []


def test_metrics_show_the_step_and_the_zone_nearest_to_its_limit(tmp_path: Path) -> None:
    station = Station(tmp_path)
    station.heat(97_000)
    station.seconds(25)
    text = metrics(tmp_path, station.degrading)
    assert "\nplumbline_degrade_step 2\n" in text
    assert '\nplumbline_hottest_celsius{zone="gpu-thermal"} 97\n' in text
    assert '\nplumbline_hottest_trip_celsius{zone="gpu-thermal",trip="throttle"} 99\n' in text
    assert "\nplumbline_low_power 0\n" in text


def test_metrics_of_a_machine_without_sensors_name_no_temperature(tmp_path: Path) -> None:
    bare = ThermalSensors(tmp_path / "none", tmp_path / "none")
    degrading = Degrading(RULES, ListLog(), heat=bare.look, power_trouble=lambda now_s: "")
    degrading.tick(0.0, 0, 0)
    text = metrics(tmp_path, degrading)
    assert "\nplumbline_degrade_step 0\n" in text
    assert "celsius" not in text
    assert "plumbline_agent_" not in metrics(tmp_path, None)


def metrics(home: Path, degrading: Degrading | None) -> str:
    database = home / "agent.sqlite"
    open_database(database).close()
    return station_metrics(
        LineMeter(HandClock()),
        StationFigures("1", True, "", {}),
        None,
        home=home,
        database=database,
        connect=lambda: open_read_only(database),
        station="s1",
        simulated=True,
        degrade=degrading.figures if degrading else None,
    )

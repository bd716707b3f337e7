"""A whole station as its own process, triggered by a real Modbus client."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from agent.line_io import modbus_map as m
from agent.line_io.modbus_map import Bit, Hold, In, Reason, Status
from agent.plc_wiring import Plc
from agent.settings import load_settings
from tests.fakes.agent_clock import HandClock
from tests.fakes.modbus_line import QuietLog
from tests.fakes.modbus_plc import ModbusPlc
from tests.fixtures_broker import free_port
from tests.station_process import Station


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def station(tmp_path: Path, port: int) -> Iterator[Station]:
    plc = f'[plc]\nkind = "modbus"\nport = {port}\nheartbeat_s = 2.0\n[api]\nport = 0\n'
    made = Station(tmp_path, free_port(), extra=plc)
    yield made
    made.close()


@pytest.fixture
def connect(port: int) -> Iterator[Callable[[], ModbusPlc]]:
    """How to get a PLC that is connected once the station listens."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(ModbusPlc.at_last(port)))


@pytest.mark.slow
def test_parts_are_judged_when_the_plc_says_so_and_each_verdict_is_in_the_record(
    station: Station, connect: Callable[[], ModbusPlc]
) -> None:
    station.start()
    plc = connect()
    plc.begin()
    plc.until(lambda seen: bool(seen[In.STATE] & Bit.READY), 60.0)
    took_s, verdicts = [], {}
    for n in range(1, 301):
        since_s = time.monotonic()
        plc.ask(n, f"part-{n}")
        seen = plc.answered(n)
        took_s.append(time.monotonic() - since_s)
        assert seen[In.STATUS] == Status.VERDICT
        verdicts[f"part-{n}"] = {1: "PASS", 2: "REJECT", 3: "REVIEW"}[seen[In.VERDICT]]
        plc.write(Hold.ACK, n)
    print(f"p50 {statistics.median(took_s) * 1e3:.1f} ms, max {max(took_s) * 1e3:.1f} ms")
    seen = plc.inputs()
    assert m.double(300) == seen[In.TRIGGERS : In.TRIGGERS + 2] == seen[In.ANSWERED : In.ANSWERED + 2]
    assert seen[In.LOST : In.UNSHOWN + 2] == [0] * 6
    plc.ask(301, "the last")  # may be answered, or lost as the station stops: one of both
    assert station.end(signal.SIGTERM) == 0
    recorded = dict(station.query("SELECT part, verdict FROM results"))
    recorded.pop("the last", None)
    assert recorded == verdicts
    assert len(set(verdicts.values())) >= 2
    status = station.status()
    assert status["controller"] == "served"
    assert status["triggers"]["triggers"] == 301
    assert status["triggers"]["answered"] + status["triggers"].get("lost: stopped", 0) == 301


def test_a_station_that_is_killed_and_starts_again_shows_nothing_of_before(
    station: Station, connect: Callable[[], ModbusPlc]
) -> None:
    station.start()
    plc = connect()
    plc.begin()
    plc.until(lambda seen: bool(seen[In.STATE] & Bit.READY), 60.0)
    plc.ask(5)
    plc.answered(5)
    station.end(signal.SIGKILL)
    station.start()
    plc = connect()
    seen = plc.inputs()
    assert (seen[In.ASK], seen[In.VERDICT]) == (0, 0)
    assert seen[In.STATE] & (Bit.PASS | Bit.REJECT | Bit.RESULT_READY) == Bit.REJECT
    plc.ask(5)
    seen = plc.answered(5)
    assert (seen[In.STATUS], seen[In.REASON]) == (Status.REFUSED, Reason.OUT_OF_STEP)


def test_every_open_trigger_has_room_for_its_frame(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('station = "s1"\nhome = "state"\n[plc]\nkind = "modbus"\nwaiting = 6\n')
    plc = Plc(load_settings(tmp_path / "agent.toml"), HandClock(), QuietLog())
    assert plc.room("", 2) == 6
    assert plc.room("", 9) == 9
    assert plc.room("another", 2) == 2

"""A settings order restarts a station in its process while its controller goes on asking: every answer is its own part's."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pymodbus.exceptions import ModbusException

from agent.line_io import modbus_map as m
from agent.line_io.modbus_map import Bit, Hold, In, Status
from tests.agent.test_station_configuration import Plant
from tests.fakes.modbus_plc import ModbusPlc
from tests.fixtures_broker import free_port
from tests.station_process import wait_for

VERDICTS = {1: "PASS", 2: "REJECT", 3: "REVIEW"}


class Driver:
    """A PLC that asks for part after part, connects again when it must, and keeps what it was told of each."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.told: dict[str, str] = {}
        self.ends: Counter[str] = Counter()
        self.not_ready_seen = 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        number = 0
        while not self.stop.is_set():
            with suppress(OSError, AssertionError, ModbusException):
                plc = ModbusPlc(self.port)
                try:
                    plc.begin()
                    while not self.stop.is_set():
                        if not plc.inputs()[In.STATE] & Bit.READY:
                            self.not_ready_seen += 1
                            time.sleep(0.005)
                            continue
                        number += 1
                        self._one(plc, number)
                finally:
                    plc.close()
            time.sleep(0.02)

    def _one(self, plc: ModbusPlc, number: int) -> None:
        part, ask = f"part-{number}", number % 100 + 1
        self.ends["asked"] += 1
        plc.ask(ask, part)
        until_s = time.monotonic() + 3.0
        while time.monotonic() < until_s:
            seen = plc.inputs()
            if seen[In.ASK] == ask and seen[In.STATUS] >= Status.VERDICT:
                assert m.text(seen[In.PART : In.PART + m.PART_WORDS]) == part
                if seen[In.STATUS] == Status.VERDICT:
                    self.told[part] = VERDICTS[seen[In.VERDICT]]
                self.ends[Status(seen[In.STATUS]).name] += 1
                plc.write(Hold.ACK, ask)
                return
        self.ends["own patience"] += 1

    def end(self) -> None:
        self.stop.set()
        self.thread.join(30)


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[tuple[Plant, int]]:
    made, port = Plant(tmp_path), free_port()
    with made.station.config.open("a") as config:
        config.write(f'[plc]\nkind = "modbus"\nport = {port}\nheartbeat_s = 2.0\n')
    yield made, port
    made.close()


@pytest.mark.long
def test_every_answer_is_its_own_parts_through_restarts_in_the_process(plant: tuple[Plant, int]) -> None:
    made, port = plant
    made.station.start()
    driver = Driver(port)
    try:
        wait_for(lambda: bool(made.collector.summaries))
        for n in (1, 2):
            made.order(f"[windows]\nframes = {60 + n}\n", f"c{n}")
            state = made.outcome(f"c{n}")
            assert state.config_state == "COMMITTED", state
        since = len(driver.told)
        wait_for(lambda: len(driver.told) > since + 50)
    finally:
        driver.end()
    assert made.station.process is not None and made.station.process.poll() is None
    assert made.station.end(signal.SIGTERM) == 0
    recorded = dict(made.station.query("SELECT part, verdict FROM results"))
    assert driver.told and all(recorded[part] == verdict for part, verdict in driver.told.items())
    assert driver.not_ready_seen > 0, "the controller saw that the station was away"
    wait_for(lambda: made.collector.decided == made.station.rows())
    sums = [each.accounting for each in made.collector.summaries.values()]
    assert all(each.closes() for each in sums)
    assert sum(each.captured for each in sums) == driver.ends["asked"] - driver.ends["REFUSED"]
    assert driver.ends["own patience"] == 0

"""A whole station, as its own process, with the line's controller on MQTT."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.agent.line_io.line_rig import TOPIC, MqttController
from tests.fixtures_broker import Broker
from tests.station_process import Station, wait_for


@pytest.mark.slow
def test_a_station_answers_every_trigger_and_is_known_to_be_gone_when_it_is(tmp_path: Path, broker: Broker) -> None:
    plc = MqttController(broker.port)
    extra = f'[plc]\nkind = "mqtt"\nport = {broker.port}\ntopic = "{TOPIC}"\nheartbeat_s = 5.0\n'
    station = Station(tmp_path, broker.port, extra=extra)
    try:
        station.start()
        plc.state(lambda state: bool(state["ready"]))
        for ask in range(40):
            plc.trigger(ask, f"part-{ask}")
            said = plc.next("verdict")
            assert (said["ask"], said["part"], said["lost"]) == (ask, f"part-{ask}", None)
            assert said["verdict"] in ("PASS", "REJECT", "REVIEW")
        wait_for(lambda: station.rows() == 40)
        parts = {part for (part,) in station.query("SELECT part FROM results")}
        assert parts == {f"part-{ask}" for ask in range(40)}
        station.end(signal.SIGKILL)
        assert not plc.state(lambda state: state["why"] == "the station is gone")["ready"]
        station.start()
        plc.state(lambda state: bool(state["ready"]))
        plc.trigger("again", "p")
        assert plc.next("verdict")["ask"] == "again"
        assert station.end(signal.SIGTERM) == 0
        assert plc.state(lambda state: state["why"] == "the station stops")
        while not plc.said["state"].empty():
            assert not plc.said["state"].get()["ready"]
    finally:
        station.close()
        plc.close()

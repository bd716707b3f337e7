"""A station process follows signed settings over a real broker: it keeps good ones, and goes back from bad ones by itself."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cloud.registry.keys import init_keys
from cloud.registry.release import Registry
from contract.codec import encode_control
from contract.config_states import settings_digest
from contract.messages import ConfigOrder, DesiredState, ReportedState
from contract.signature import sign_configuration
from contract.topics import Channel, topic
from tests.fixtures_broker import free_port, start_broker
from tests.station_process import STATION, Collector, Station, wait_for


class Plant:
    """Keys that a station trusts, a broker, and a collector that plays the cloud."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seq = folder, 0
        self.keys = init_keys(folder / "keys")
        tuf = Registry(folder / "registry").tuf(self.keys)
        tuf.create(time.time())
        (folder / "root.json").write_bytes(tuf.root())
        (folder / "order.pub").write_bytes(msgspec.json.encode(self.keys.order_key()))
        self.broker = start_broker(folder / "broker")
        self.collector = Collector(self.broker.port)
        trust = '[cloud]\nurl = "http://127.0.0.1:1"\n[trust]\nroot = "root.json"\norder_keys = ["order.pub"]\n'
        self.station = Station(folder, self.broker.port, extra=f"{trust}[api]\nport = 0\n")
        # A burst of work elsewhere on a test machine is no trouble of the settings.
        text = self.station.config.read_text().replace("deadline_ms", "queue = 200\ndeadline_ms")
        self.station.config.write_text(text)

    def signed(self, settings: str, deployment: str, probation_s: float = 2.0) -> ConfigOrder:
        self.seq += 1
        now = time.time()
        return ConfigOrder(STATION, settings, deployment, self.seq, now, now + 3600.0, probation_s)

    def order(self, settings: str, deployment: str, probation_s: float = 2.0) -> ConfigOrder:
        order = self.signed(settings, deployment, probation_s)
        envelope = sign_configuration(order, self.keys.signer("order"))
        desired = encode_control(DesiredState(STATION, "", configuration=envelope))
        self.collector.client.publish(topic(STATION, Channel.DESIRED), desired, qos=1, retain=True)
        return order

    def last(self, deployment: str) -> ReportedState | None:
        mine = [state for state in self.collector.reported if state.config_deployment == deployment]
        return mine[-1] if mine else None

    def outcome(self, deployment: str) -> ReportedState:
        def ended() -> bool:
            state = self.last(deployment)
            return state is not None and state.config_state in ("COMMITTED", "ROLLED_BACK", "REFUSED")

        wait_for(ended)
        state = self.last(deployment)
        assert state is not None
        return state

    def close(self) -> None:
        self.station.close()
        self.collector.close()
        self.broker.kill()


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path)
    yield made
    made.close()


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.slow
def test_good_settings_are_kept_and_bad_ones_taken_back_without_a_frame_unaccounted_for(plant: Plant) -> None:
    plant.station.start()
    wait_for(lambda: bool(plant.collector.summaries))
    good = plant.order("[windows]\nframes = 64\n", "c1", probation_s=6.0)
    state = plant.outcome("c1")
    assert (state.config_state, state.configuration) == ("COMMITTED", settings_digest(good.settings)), state
    assert state.config_seq == 1 and state.update_state == "IDLE"
    steps = list(dict.fromkeys(s.config_state for s in plant.collector.reported if s.config_deployment == "c1"))
    # Only the newest is reported, so that one may pass unheard; the station's own log has each.
    assert steps == [each for each in ("CHECKED", "TRIAL", "PROBATION", "COMMITTED") if each in steps]
    said = plant.station.said()
    logged = [said.find(f"settings 1 {step}") for step in ("go on trial", "on trial, start 1 of 3", "are kept")]
    assert -1 not in logged and logged == sorted(logged), said
    wait_for(lambda: any(s.accounting.captured == 64 for s in plant.collector.summaries.values()))
    # Once they are kept, what is asked for by hand is heard again.
    words = ("update", "rollback", "--config", str(plant.station.config), "--within", "30")
    asked = subprocess.run((sys.executable, "-m", "agent", *words), capture_output=True, text=True, check=False)
    assert asked.returncode == 1 and "no bundle that ran here before" in asked.stderr, asked.stderr

    assert plant.station.process is not None
    files = open_files(plant.station.process.pid)
    for settings, deployment, probation_s, why in (
        (f"[broker]\nport = {free_port()}\n", "closed", 2.0, "the broker is not reached"),
        ("[line]\ndeadline_ms = 0.001\n", "late", 6.0, "of frames are late"),
        ("[line]\nthreads = 1099511627776\n", "threads", 6.0, "does not run with them"),
    ):
        plant.order(settings, deployment, probation_s)
        state = plant.outcome(deployment)
        assert state.config_state == "ROLLED_BACK" and why in state.config_reason, state
        assert state.configuration == settings_digest(good.settings)

    assert plant.station.process is not None and plant.station.process.poll() is None, "it is the same process still"
    # No start leaves its files open; those of a connection or a commit just under way close by themselves.
    pid = plant.station.process.pid
    wait_for(lambda: open_files(pid) <= files + 4)
    plant.station.end_with_all_told()
    wait_for(lambda: plant.collector.decided == plant.station.rows())
    sums = [summary.accounting for summary in plant.collector.summaries.values()]
    assert all(each.closes() for each in sums)
    assert sum(each.undecided for each in sums) == 0


@pytest.mark.slow
def test_settings_under_which_the_process_is_killed_three_times_are_taken_back(plant: Plant) -> None:
    plant.station.start()
    wait_for(lambda: bool(plant.collector.summaries))
    # A probation that does not end by itself before the kill; half of it the station is looked at beforehand.
    plant.order("[windows]\nframes = 64\n", "fatal", probation_s=20.0)
    started_at = 0.0
    for _ in range(3):

        def on_probation(started_at: float = started_at) -> bool:
            """Whether this start says so: what the last one said may come late."""
            states = [state for state in plant.collector.reported if state.at >= started_at]
            return ("fatal", "PROBATION") in {(state.config_deployment, state.config_state) for state in states}

        wait_for(on_probation)
        plant.station.end(signal.SIGKILL)
        started_at = time.time()
        plant.station.start()
    state = plant.outcome("fatal")
    assert (state.config_state, state.configuration) == ("ROLLED_BACK", ""), state
    assert state.config_reason == "the station stopped 3 times during the trial"
    plant.station.end_with_all_told()
    wait_for(lambda: plant.collector.decided == plant.station.rows())
    assert all(summary.accounting.closes() for summary in plant.collector.summaries.values())

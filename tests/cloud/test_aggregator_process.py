"""The whole cloud as a process: broker, ingest, API and rollouts together, through kill -9."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cloud.registry.keys import load_keys
from contract.codec import decode_control, encode_control, encode_summary
from contract.messages import Ack, DesiredState, ReportedState, StationState
from contract.signature import verify_order
from contract.topics import Channel, topic
from tests.fakes.cloud_plant import CloudPlant
from tests.fakes.cloud_tables import open_tables, summary
from tests.fixtures_broker import Broker, start_broker


def wait_for(what: Callable[[], Any], within_s: float = 90.0) -> Any:
    until = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)
    return found


class Wire:
    """A station's connection: what it sends, and what it was told."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.name, self.acked, self.orders = name, set[int](), list[DesiredState]()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        self._client.on_message = self._take
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(topic(name, Channel.ACK), 0), (topic(name, Channel.DESIRED), 1)]
        )
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()

    def _take(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if message.topic == topic(self.name, Channel.ACK):
            for first, last in decode_control(message.payload, Ack).ranges:
                self.acked |= set(range(first, last + 1))
        elif message.payload:
            self.orders.append(decode_control(message.payload, DesiredState))

    def say(self, channel: Channel, payload: bytes) -> None:
        self._client.publish(topic(self.name, channel), payload, qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[tuple[CloudPlant, Broker]]:
    broker = start_broker(tmp_path / "broker")
    made = CloudPlant(tmp_path)
    config = made.home / "cloud.toml"
    text = config.read_text().split("[broker]")[0] + f"[broker]\nport = {broker.port}\n"
    config.write_text(text + "\n[rollout]\nwave_shares = []\n")
    made.live_a_little()
    made.start()
    yield made, broker
    if made.running:
        made.stop()
    broker.kill()


@pytest.mark.slow
def test_summaries_reports_and_orders_go_all_the_way_and_survive_kill_9(plant: tuple[CloudPlant, Broker]) -> None:
    cloud, broker = plant
    token = (cloud.home / "secrets" / "operator.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}

    def fleet() -> dict[str, dict[str, Any]]:
        answer = httpx.get(f"{cloud.url}/v1/fleet", headers=headers, timeout=60).raise_for_status().json()
        return {row["station"]: row for row in answer["stations"]}

    station = Wire(broker, "line3")
    station.say(Channel.STATE, encode_control(StationState("line3", "b9", True, time.time(), "0.2")))
    station.say(Channel.REPORTED, encode_control(ReportedState("line3", "b9", time.time(), "a" * 64, "IDLE")))
    station.say(Channel.SUMMARY, b"poison")
    for seq in range(1, 41):
        station.say(Channel.SUMMARY, encode_summary(summary("line3", seq, boot="b9")))
    wait_for(lambda: len(station.acked) == 40)
    assert (fleet()["line3"]["online"], fleet()["line3"]["bundle"]) == (True, "a" * 64)
    started = httpx.post(f"{cloud.url}/v1/rollouts", headers=headers, json={"version": "v2"}, timeout=60)
    assert started.status_code == 201
    cloud.kill()
    for seq in range(31, 61):
        station.say(Channel.SUMMARY, encode_summary(summary("line3", seq, boot="b9")))
    cloud.start()
    wait_for(lambda: len(station.acked) == 60)
    totals = fleet()["line3"]["totals"]
    assert (totals["summaries"], totals["passed"], totals["missing_seqs"]) == (60, 420, 0)
    # The canary is line1; only its order is out, signed, one above the last.
    canary = Wire(broker, "line1")
    # A server that starts first says what stood before: the order that the plant's history left, which nobody signed.
    wait_for(lambda: canary.orders and canary.orders[-1].envelope != "{}")
    order = verify_order(canary.orders[-1].envelope, [load_keys(cloud.home / "keys").order_key()])
    assert (order.station, order.desired_seq) == ("line1", 4)
    assert order.deployment.startswith("r3-") and order.deployment.endswith("-line1")
    assert station.orders == []
    for wire in (station, canary):
        wire.close()
    # A service manager's way. 0, not "killed by SIGTERM": it said goodbye to the broker and closed its database.
    assert cloud.stop(signal.SIGTERM) == 0
    tables = open_tables(cloud.home / "cloud.db")
    assert tables.summaries.dead_letter_count() == 1 and tables.audit.first_broken() is None
    tables.database.close()
    assert "Traceback" not in cloud.log.read_text()

"""An MQTT connection that dies of a fault of ours: what was asked is answered all the same, once, and every answer is counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
import pytest

from agent.line_io import mqtt, mqtt_triggers
from agent.line_io.mqtt import MqttLine
from tests.agent.line_io.line_rig import TOPIC, Line, MqttController, books_close, until
from tests.fixtures_broker import Broker


class Once:
    """Stands in for a function, and raises in place of its first call whose arguments are `meant`."""

    def __init__(self, real: Callable[..., Any], fault: BaseException, meant: Callable[..., bool]) -> None:
        self.real, self.fault, self.meant, self.left = real, fault, meant, 1

    def bound(self) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            if self.left and self.meant(*given):
                self.left = 0
                raise self.fault
            return self.real(*given, **more)

        return call


def line_on(port: int, **rules: Any) -> Line:
    return Line(
        lambda desk, log: MqttLine(
            desk, log, topic=TOPIC, client_id="l", host="127.0.0.1", port=port, heartbeat_s=20.0
        ),
        heartbeat_s=20.0,
        **rules,
    )


@pytest.mark.parametrize("fault", [ValueError("a fault of ours"), SystemExit("an exit of ours")])
def test_a_verdict_that_a_fault_of_ours_kept_from_the_broker_is_said_once_it_is_back(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    monkeypatch.setattr(mqtt, "_AGAIN_S", 0.05)
    publish = Once(paho.Client.publish, fault, lambda _client, topic, *_: topic.endswith("/verdict"))
    monkeypatch.setattr(paho.Client, "publish", publish.bound())
    line = line_on(broker.port).start()
    plc = MqttController(broker.port)
    try:
        plc.state(lambda state: bool(state["ready"]))
        plc.trigger(1, "a")
        assert plc.next("verdict")["ask"] == 1
        assert not publish.left
        plc.trigger(2, "b")
        assert plc.next("verdict")["ask"] == 2, "and only once"
        assert line.desk.counts().unshown == 0 and len(line.adapters) == 1
    finally:
        line.stop()
        plc.close()
    assert books_close(line.desk)


def test_a_part_that_was_asked_for_before_a_fault_of_ours_has_its_verdict_after_it(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "_AGAIN_S", 0.05)
    judged = threading.Event()
    line = line_on(broker.port, verdict_of=lambda part: "PASS" if judged.wait(60.0) else None).start()
    plc = MqttController(broker.port)
    try:
        birth = plc.state(lambda state: bool(state["ready"]))["birth"]
        plc.trigger(1, "a")
        until(lambda: line.desk.counts().waiting == 1)
        came = Once(mqtt_triggers.MqttTriggers.came, RuntimeError("a fault of ours"), lambda *_: True)
        monkeypatch.setattr(mqtt_triggers.MqttTriggers, "came", came.bound())
        plc.trigger(2, "lost with the connection")
        plc.state(lambda state: bool(state["birth"] > birth and state["ready"]))
        judged.set()
        assert plc.next("verdict")["ask"] == 1
        plc.trigger(1, "the next one of that number")
        assert plc.next("verdict")["part"] == "the next one of that number"
        assert line.desk.counts().triggers == 2
    finally:
        judged.set()
        line.stop()
        plc.close()
    assert books_close(line.desk)

"""A verdict over MQTT does not wait for the broker's delayed acknowledgement."""

from __future__ import annotations

import socket

from agent.line_io.mqtt import MqttLine
from tests.agent.line_io.line_rig import Line, until
from tests.fixtures_broker import Broker


def test_what_is_small_is_sent_at_once(broker: Broker) -> None:
    made: list[MqttLine] = []

    def adapter(desk: object, log: object) -> MqttLine:
        made.append(
            MqttLine(desk, log, topic="line/s1", client_id="s1-line", host="127.0.0.1", port=broker.port)  # type: ignore[arg-type]
        )
        return made[-1]

    line = Line(adapter).start()
    try:
        until(lambda: bool(made) and not made[0].trouble())
        client = made[0]._client
        assert client is not None
        assert client.socket().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0  # type: ignore[union-attr]
    finally:
        line.stop()

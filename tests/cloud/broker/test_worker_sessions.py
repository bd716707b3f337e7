"""Who leaves a session at the broker: it is given its share of what the stations send, whether anybody is there or not."""

from __future__ import annotations

import queue
import time

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cloud.broker.mqtt import MqttLink
from tests.chaos.process_plant import wait_until
from tests.fixtures_broker import Broker


@pytest.mark.parametrize(
    ("announce", "crashes", "stays"),
    [
        pytest.param(False, False, False, id="a worker that is stopped takes it along"),
        pytest.param(False, True, True, id="a worker that dies finds it when it is back"),
        pytest.param(True, False, True, id="serve finds it after a restart"),
    ],
)
def test_a_session_outlives_all_but_a_worker_that_is_stopped(
    broker: Broker, announce: bool, crashes: bool, stays: bool
) -> None:
    link = MqttLink("127.0.0.1", broker.port, "cloud", queue.Queue(9), time.time, announce=announce)
    link.start()
    wait_until(lambda: link.connections() == 1)
    (link.cut if crashes else link.stop)()
    # The broker reads one socket after the other, in whatever order: after somebody else's visit it has read that the link left.
    assert not _finds_session(broker, "somebody else")
    assert _finds_session(broker, "cloud") == stays


def _finds_session(broker: Broker, client_id: str) -> bool:
    found: list[bool] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
    client.on_connect = lambda _c, _d, flags, _r, _p: found.append(flags.session_present)
    client.connect("127.0.0.1", broker.port, clean_start=False)
    client.loop_start()
    wait_until(lambda: bool(found))
    client.disconnect()
    client.loop_stop()
    return found[0]

"""The cloud's link over mutual TLS: large messages, many at once, through a socket that has bytes of its own waiting."""

from __future__ import annotations

import queue
import ssl
import subprocess
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cloud.broker.mqtt import MqttLink
from cloud.ports.link import Arrival, take_arrivals
from contract.topics import Channel, topic
from tests.cloud.broker.test_ingest_over_broker import wait_for
from tests.fixtures_broker import Broker


def certify(folder: Path) -> None:
    """Write ca.pem, and a certificate for both ends signed by it."""
    run = (
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    )
    for name, subject, more in (
        ("ca", "/CN=test ca", ("-addext", "basicConstraints=critical,CA:TRUE")),
        ("end", "/CN=127.0.0.1", ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1")),
    ):
        words = (*run, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.pem", *more)
        subprocess.run(words, cwd=folder, check=True, capture_output=True)


def context(folder: Path) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=folder / "ca.pem")
    made.load_cert_chain(folder / "end.pem", folder / "end.key")
    return made


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    folder = tmp_path / "certificates"
    folder.mkdir()
    certify(folder)
    return folder


def test_everything_arrives_whole_is_acknowledged_and_answered(tmp_path: Path, certificates: Path) -> None:
    files = "".join(
        f"{key} {certificates}/{name}\n"
        for key, name in (("cafile", "ca.pem"), ("certfile", "end.pem"), ("keyfile", "end.key"))
    )
    broker = Broker(
        tmp_path / "broker",
        config=f"{files}require_certificate true\nmax_inflight_messages 0\n",
    )
    broker.start()
    arrivals: queue.Queue[Arrival] = queue.Queue(2000)
    link = MqttLink("127.0.0.1", broker.port, "cloud", arrivals, time.time, tls=context(certificates))
    stranger = MqttLink("127.0.0.1", broker.port, "stranger", arrivals, time.time)
    heard: list[bytes] = []
    station = paho.Client(CallbackAPIVersion.VERSION2, client_id="s1", protocol=paho.MQTTv5)
    station.tls_set_context(context(certificates))
    station.on_connect = lambda client, *_: client.subscribe("pl/v1/d/s1/dn/#", 1)
    station.on_message = lambda _c, _d, message: heard.append(message.payload)
    try:
        link.start()
        stranger.start()
        wait_for(link.connected)
        station.connect("127.0.0.1", broker.port)
        station.loop_start()
        sent = [b"%06d" % number * 5_000 for number in range(60)]
        for payload in sent:
            station.publish(topic("s1", Channel.SUMMARY), payload, qos=1)
        got: list[Arrival] = []
        while len(got) < len(sent):
            got += take_arrivals(arrivals, 200, 60.0)
        assert sorted(each.payload for each in got) == sent
        for each in got:
            each.done()
        big = b"x" * 900_000
        wait_for(lambda: link.publish(topic("s1", Channel.COMMAND), big, qos=1, retain=False))
        wait_for(lambda: heard == [big])
        assert not stranger.connected() and stranger.connections() == 0
        # What was acknowledged does not come again on a new connection.
        link.stop()
        link = MqttLink("127.0.0.1", broker.port, "cloud", arrivals, time.time, tls=context(certificates))
        link.start()
        wait_for(lambda: link.connections() == 1)
        station.publish(topic("s1", Channel.SUMMARY), b"last", qos=1)
        assert take_arrivals(arrivals, 200, 60.0)[0].payload == b"last"
    finally:
        station.disconnect()
        station.loop_stop()
        link.stop()
        stranger.stop()
        broker.kill()

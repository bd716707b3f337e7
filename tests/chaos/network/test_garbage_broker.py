"""What answers at the broker's address may be no broker, or a broken one: both sides say so and go on trying."""

from __future__ import annotations

import random
import socketserver
import threading
from collections.abc import Iterator

import pytest

from contract.codec import encode_control
from contract.messages import Ack
from contract.topics import Channel, topic
from tests.chaos.mqtt_framer import publish, varint
from tests.chaos.network.plant import Plant
from tests.chaos.waiting import wait_for

_CONNACK = b"\x20\x03\x00\x00\x00"
# Packet id 1, what paho gives its first SUBSCRIBE; three topics of the station.
_SUBACK = b"\x90\x06\x00\x01\x00\x01\x01\x00"
_NOISE = random.Random(6).randbytes(4096)


class Garbler(socketserver.ThreadingTCPServer):
    """Answers every connection with the same bytes, whatever it says."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, answer: bytes) -> None:
        self.answer, self.met, self.leaving = answer, 0, False
        super().__init__(("127.0.0.1", 0), _GarblerHandler)


class _GarblerHandler(socketserver.BaseRequestHandler):
    server: Garbler

    def handle(self) -> None:
        self.server.met += 1
        try:
            if self.request.recv(65536):
                self.request.sendall(self.server.answer)
            self.request.settimeout(0.1)
            while not self.server.leaving:
                try:
                    if not self.request.recv(65536):
                        break
                except TimeoutError:
                    continue
        except OSError:
            pass


@pytest.fixture
def garbler() -> Iterator[Garbler]:
    server = Garbler(b"")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.leaving = True
    server.shutdown()
    server.server_close()
    thread.join(30)


ANSWERS = {
    "noise": _NOISE,
    "http": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "zeros": bytes(100),
    "half_a_connack": _CONNACK[:3],
    "a_connack_without_properties": b"\x20\x02\x00\x00",
    "an_empty_connack": b"\x20\x00",
    "a_connack_with_properties_cut_off": b"\x20\x05\x00\x00\x7f\x21\x00",
    "a_connack_with_an_unknown_property": b"\x20\x05\x00\x00\x02\x7e\x00",
    "a_connack_with_an_unknown_reason": b"\x20\x03\x00\xee\x00",
    "a_refusal": b"\x20\x03\x00\x87\x00",
    "mqtt_3": b"\x20\x02\x00\x01",
    "an_endless_length": b"\x20\xff\xff\xff\xff\xff\xff",
    "a_giant_packet": b"\x30" + varint(200_000_000),
    "a_packet_of_no_kind": _CONNACK + b"\x00\x00",
    "noise_after_connack": _CONNACK + _NOISE,
    "a_refused_subscription": _CONNACK + b"\x90\x06\x00\x01\x00\x87\x87\x87",
    "an_empty_suback": _CONNACK + b"\x90\x00",
    "noise_once_connected": _CONNACK + _SUBACK + _NOISE,
    "a_publish_cut_off": _CONNACK + _SUBACK + b"\x32\x04\x00\x20ab",
    "an_empty_publish": _CONNACK + _SUBACK + b"\x30\x00",
    "a_topic_that_is_no_text": _CONNACK + _SUBACK + b"\x30\x05\x00\x02\xff\xfe\x00",
    "an_empty_puback": _CONNACK + _SUBACK + b"\x40\x00",
    "pubacks_of_nothing": _CONNACK + _SUBACK + b"\x40\x02\x12\x34\x40\x04\x00\x02\xee\x00",
    "a_goodbye": _CONNACK + _SUBACK + b"\xe0\x02\x8b\x00",
    "an_ack_that_is_noise": _CONNACK + _SUBACK + publish(topic("s1", Channel.ACK), _NOISE),
    "an_ack_for_another": _CONNACK
    + _SUBACK
    + publish(topic("s1", Channel.ACK), encode_control(Ack("s2", "b", ((1, 9),), 5))),
    "orders_that_are_noise": _CONNACK
    + _SUBACK
    + publish(topic("s1", Channel.DESIRED), b"{")
    + publish(topic("s1", Channel.COMMAND), b"[]"),
}


# What breaks at each step; the others are variations.
_SHORT = ("noise", "noise_after_connack", "noise_once_connected")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in _SHORT else [pytest.mark.long]) for name in ANSWERS]
)
def test_a_station_that_meets_garbage_delivers_once_a_broker_is_there(
    plant: Plant, garbler: Garbler, name: str
) -> None:
    station = plant.begin(resend_after_s=0.5)
    garbler.answer = ANSWERS[name]
    plant.to_stations.target_port = garbler.server_address[1]
    plant.to_stations.break_all()
    station.produce(3)
    wait_for(lambda: garbler.met)
    plant.to_stations.target_port = plant.broker.port
    # What it believes to be a broker it stays with until the keepalive says otherwise.
    plant.settle(within_s=90)
    assert station.uplink.faults == 0, station.log.lines[-5:]


@pytest.mark.long
@pytest.mark.parametrize("name", ANSWERS)
def test_a_worker_that_meets_garbage_takes_summaries_again_once_a_broker_is_there(
    plant: Plant, garbler: Garbler, name: str
) -> None:
    station = plant.begin(resend_after_s=0.5)
    garbler.answer = ANSWERS[name]
    plant.to_cloud.target_port = garbler.server_address[1]
    plant.to_cloud.break_all()
    wait_for(lambda: garbler.met)
    plant.to_cloud.target_port = plant.broker.port
    plant.to_cloud.break_all()
    station.produce(3)
    plant.settle(within_s=90)

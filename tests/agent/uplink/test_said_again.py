"""A birth, a report and an answer that nobody was there to hear are said again until a worker of the cloud hears them."""

from __future__ import annotations

import queue
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.clock import SystemClock
from agent.uplink.mqtt import MqttLink
from agent.uplink.unheard import Said, Unheard
from cloud.broker.mqtt import MqttLink as CloudLink
from cloud.ports.link import Arrival
from contract.codec import decode_control
from contract.messages import StationState
from contract.topics import Channel, parse_topic
from tests.cloud.broker.test_link_over_tls import certify, context
from tests.fixtures_broker import Broker


def make_link(port: int, birth: Callable[[bool], StationState], tls: ssl.SSLContext | None = None) -> MqttLink:
    return MqttLink("127.0.0.1", port, "s1", birth, SystemClock(), tls=tls)


def poll_until(link: MqttLink, what: Callable[[], bool]) -> None:
    until = time.monotonic() + 60.0
    while not what():
        assert time.monotonic() < until, "it never came to be"
        link.poll(0.02)


def test_a_worker_that_subscribes_late_hears_the_birth_as_it_is_now_the_last_report_and_the_answer(
    broker: Broker,
) -> None:
    next_seq = [7]
    link = make_link(broker.port, lambda online: StationState("s1", "b0", online, 1.0, next_seq=next_seq[0]))
    link.connect(30.0)
    link.publish(Channel.REPORTED, b"an old report", retain=True)
    link.publish(Channel.REPORTED, b"a report", retain=True)
    link.publish(Channel.RESULT, b"an answer")
    link.publish(Channel.SUMMARY, b"a summary: it waits for its acknowledgement, not for the link")
    poll_until(link, lambda: link.room().free == link.room().most)
    next_seq[0] = 9

    arrivals: queue.Queue[Arrival] = queue.Queue()
    worker = CloudLink("127.0.0.1", broker.port, "worker", arrivals, time.time)
    worker.start()
    heard: list[tuple[Channel, bytes]] = []
    wanted = (Channel.STATE, Channel.REPORTED, Channel.RESULT)

    def listen() -> bool:
        while not arrivals.empty():
            arrival = arrivals.get()
            heard.append((parse_topic(arrival.topic)[1], arrival.payload))
            arrival.done()
        # Mosquitto 2.0.11 gives a shared subscription what it retained, which MQTT 5.0 (4.8.2) says it must not: a birth of
        # now, and an answer, can only have been said again.
        return {channel for channel, _ in heard} == {*wanted} and b'"next_seq":9' in dict(heard)[Channel.STATE]

    try:
        poll_until(link, listen)
        poll_until(link, lambda: link.room().free == link.room().most)
        assert link._unheard.due(float("inf")) is None
    finally:
        worker.stop()
        link.close(5.0)
    by_channel = dict(heard)
    assert by_channel[Channel.REPORTED] == b"a report" and by_channel[Channel.RESULT] == b"an answer"
    assert decode_control(by_channel[Channel.STATE], StationState).online


def test_a_station_speaks_over_tls_connection_after_connection(tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    folder.mkdir(mode=0o755)
    certify(folder)
    parts = (("cafile", "ca.pem"), ("certfile", "end.pem"), ("keyfile", "end.key"))
    files = "".join(f"{key} {folder}/{name}\n" for key, name in parts)
    broker = Broker(tmp_path / "broker", config=f"{files}require_certificate true\n")
    broker.start()
    try:
        link = make_link(broker.port, lambda online: StationState("s1", "b0", online, 1.0), context(folder))
        for _ in range(2):
            link.connect(30.0)
            poll_until(link, lambda: link.room().free == link.room().most)
        link.close(5.0)
    finally:
        broker.kill()


@given(st.lists(st.tuples(st.sampled_from(["say", "heard", "unheard", "due"]), st.integers(0, 3)), max_size=60))
def test_nothing_that_was_said_last_is_forgotten_before_it_is_heard(steps: list[tuple[str, int]]) -> None:
    unheard, mid, now = Unheard(), 0, 0.0
    flying: dict[int, Said] = {}
    last: dict[Channel, bytes] = {}
    channels = (Channel.STATE, Channel.REPORTED)
    for what, number in steps:
        now += 1.0
        if what == "say":
            mid += 1
            said = Said(channels[number % 2], f"{mid}".encode(), True)
            flying[mid], last[said.channel] = said, said.payload
            unheard.said(mid, said)
        elif what == "due":
            while (again := unheard.due(now)) is not None:
                mid += 1
                flying[mid] = again
                unheard.said(mid, again)
        elif flying:
            which = sorted(flying)[number % len(flying)]
            said = flying.pop(which)
            unheard.answered(which, what == "heard", now)
            if what == "heard" and last.get(said.channel) == said.payload:
                del last[said.channel]
    waiting = {}
    for number in sorted(flying):
        unheard.answered(number, False, now)
    while (again := unheard.due(float("inf"))) is not None:
        assert again.channel not in waiting
        waiting[again.channel] = again.payload
    assert waiting == last

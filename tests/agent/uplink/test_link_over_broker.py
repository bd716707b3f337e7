"""The station's link against a real mosquitto: names taken over, refusals, silence, and what a broker says it takes."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from agent.chores import Chores
from agent.clock import SystemClock
from agent.delivery import Delivery
from agent.mailboxes import Inbox, ReportBox
from agent.ports.link import Incoming, Trouble
from agent.ports.policy import ImagesLeave
from agent.store.database import claim_boot, open_database, transaction
from agent.store.outbox import Outbox
from agent.store.samples import Samples
from agent.uplink.mqtt import MqttLink
from agent.uplink_loop import UplinkLoop, UplinkRules
from contract.codec import decode_summary, encode_control
from contract.errors import LinkDown
from contract.messages import Accounting, Ack, Header, SampleNote, StationState, Summary
from contract.topics import Channel
from tests.fakes.agent_line import DictMemory, ListLog
from tests.fixtures_broker import Broker


def birth(online: bool) -> StationState:
    return StationState("s1", "b0", online, 1.0)


def link_to(broker: Broker, *, keepalive_s: int = 15) -> MqttLink:
    return MqttLink("127.0.0.1", broker.port, "s1", birth, SystemClock(), keepalive_s=keepalive_s)


@contextmanager
def running(folder: Path, config: str = "") -> Iterator[Broker]:
    broker = Broker(folder / "broker", config=config)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


def lost(link: MqttLink) -> LinkDown:
    until = time.monotonic() + 60.0
    while time.monotonic() < until:
        try:
            link.poll(0.05)
        except LinkDown as error:
            return error
    raise AssertionError("the connection held")


def wait_until(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 60.0
    while not what():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.01)


def test_a_second_device_with_this_name_is_known_for_what_it_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def broker() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(bytes.fromhex("2003000000"))  # CONNACK
                subscribe = connection.recv(4096)
                connection.sendall(b"\x90\x06" + subscribe[2:4] + b"\x00\x01\x01\x00")  # SUBACK
                connection.recv(4096)  # the birth
                connection.sendall(bytes.fromhex("e0018e"))  # DISCONNECT, session taken over
                connection.recv(4096)

        thread = threading.Thread(target=broker, daemon=True)
        thread.start()
        link = MqttLink("127.0.0.1", server.getsockname()[1], "s1", birth, SystemClock())
        link.connect(30.0)
        assert link.trouble() is Trouble.NONE
        error = lost(link)
        assert link.trouble() is Trouble.TAKEN_OVER and "taken over" in error.message.lower() and error.hint
        thread.join(60.0)


def test_a_broker_that_does_not_let_it_in_is_no_broker_that_is_away(tmp_path: Path) -> None:
    with running(tmp_path, "allow_anonymous false\n") as broker:
        link = link_to(broker)
        with pytest.raises(LinkDown, match=r"(?i)not authorized"):
            link.connect(30.0)
        assert link.trouble() is Trouble.REFUSED
        broker.kill()
        with pytest.raises(LinkDown):
            link.connect(1.0)
        assert link.trouble() is Trouble.NONE


def test_a_broker_that_answers_nothing_is_left_though_the_connection_looks_up(broker: Broker) -> None:
    link = link_to(broker, keepalive_s=2)
    link.connect(30.0)
    process = broker._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        link.publish(Channel.SUMMARY, b"x")
        began = time.monotonic()
        assert "answers nothing" in lost(link).message or not link.connected()
        assert time.monotonic() - began < 50.0 and link.room().free == 0
    finally:
        process.send_signal(signal.SIGCONT)


class Plant:
    """A station's uplink over a real database, with a subscriber that acknowledges, or not."""

    def __init__(self, folder: Path, broker: Broker, stack: ExitStack, *, station: str = "s1") -> None:
        path = folder / "agent.sqlite"
        folder.mkdir(parents=True, exist_ok=True)
        self.connection, other = open_database(path), open_database(path)
        stack.callback(self.connection.close)
        stack.callback(other.close)
        boot = claim_boot(self.connection, path)
        self.outbox = Outbox(self.connection, boot=boot)
        self.log, self.remembered = ListLog(), ["never asked"]
        samples = Samples(other, folder / "samples")
        clock = SystemClock()
        sending = Outbox(other, boot=boot)

        def state(online: bool) -> StationState:
            return StationState("s1", sending.boot, online, clock.now(), next_seq=sending.next_seq())

        self.loop = UplinkLoop(
            MqttLink("127.0.0.1", broker.port, station, state, clock),
            Delivery(sending, resend_after_s=5.0),
            Chores("s1", DictMemory(), samples, None, ImagesLeave.NEVER, {}, self.log),
            Inbox(),
            ReportBox(),
            clock,
            self.log,
            UplinkRules("s1", connect_within_s=30.0, reconnect_max_s=0.5, shut_out_s=30.0),
            roll=lambda: 0.5,
            remember=self.remembered.append,
        )
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.loop.run, args=(self.stop,), daemon=True)
        stack.callback(self._end)

    def add(self, count: int, *, notes: int = 0) -> None:
        with transaction(self.connection):
            for _ in range(count):
                header = Header("s1", "", 0, 1.0, 2.0, 3.0, True, "")
                told = tuple(SampleNote(f"b-1-{n}", 1.0, "p", "good", 0.5, "PASS", "audit", 1.0) for n in range(notes))
                self.outbox.add(Summary(header, Accounting(captured=1, undecided=1), samples=told), 1)

    def lines(self, word: str) -> int:
        return sum(word in line for line in self.log.lines)

    def _end(self) -> None:
        self.stop.set()
        self.thread.join(60.0)


class Cloud:
    """Takes every summary off the broker once, and answers what `answer` says."""

    def __init__(self, broker: Broker, answer: Callable[[Summary], Ack | None], stack: ExitStack) -> None:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self.seen: list[Summary] = []
        self.births: list[StationState] = []
        self.sizes: list[int] = []
        self._answer = answer
        client = paho.Client(CallbackAPIVersion.VERSION2, "cloud", protocol=paho.MQTTv5)
        client.on_message = self._take
        client.connect("127.0.0.1", broker.port)
        client.subscribe("pl/v1/d/+/up/#", qos=1)
        client.loop_start()
        stack.callback(client.loop_stop)
        stack.callback(client.disconnect)

    def _take(self, client: object, _: object, message: object) -> None:
        from contract.codec import decode_control
        from contract.topics import parse_topic, topic

        payload: bytes = message.payload  # type: ignore[attr-defined]
        _, channel = parse_topic(message.topic)  # type: ignore[attr-defined]
        if channel is Channel.STATE and payload:
            self.births.append(decode_control(payload, StationState))
        if channel is Channel.SUMMARY:
            summary = decode_summary(payload)
            self.sizes.append(len(payload))
            self.seen.append(summary)
            ack = self._answer(summary)
            if ack is not None:
                client.publish(topic("s1", Channel.ACK), encode_control(ack))  # type: ignore[attr-defined]


def committed(summary: Summary) -> Ack:
    return Ack("s1", summary.header.boot, ((summary.header.seq, summary.header.seq),), 100)


def test_a_broker_that_takes_one_at_a_time_gets_everything(tmp_path: Path) -> None:
    with running(tmp_path, "max_inflight_messages 1\n") as broker, ExitStack() as stack:
        plant, cloud = Plant(tmp_path / "home", broker, stack), Cloud(broker, committed, stack)
        plant.add(40)
        plant.thread.start()
        wait_until(lambda: plant.outbox.depth() == 0)
        assert {s.header.seq for s in cloud.seen} == set(range(1, 41))
        assert plant.lines("lost the broker") == 0


def test_no_packet_is_larger_than_the_broker_takes_and_every_frame_is_told_of(tmp_path: Path) -> None:
    with running(tmp_path, "max_packet_size 2000\n") as broker, ExitStack() as stack:
        plant, cloud = Plant(tmp_path / "home", broker, stack), Cloud(broker, committed, stack)
        plant.add(3)
        plant.add(3, notes=60)
        plant.thread.start()
        wait_until(lambda: plant.outbox.depth() == 0)
        assert {s.header.seq for s in cloud.seen} == set(range(1, 7)) and max(cloud.sizes) < 2_000
        assert plant.lines("lost the broker") == 0 and plant.lines("larger than the broker takes") == 3


def test_a_boot_that_the_cloud_asks_for_begins_with_a_birth_of_its_own(broker: Broker, tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(summary: Summary) -> Ack:
        boot, seq = summary.header.boot, summary.header.seq
        if not asked or boot == asked[0]:
            asked.append(boot)
            return Ack("s1", boot, (), 100, conflicts=((seq, seq),))
        return committed(summary)

    with ExitStack() as stack:
        plant, cloud = Plant(tmp_path / "home", broker, stack), Cloud(broker, answer, stack)
        plant.add(3)
        plant.thread.start()
        wait_until(lambda: plant.outbox.depth() == 0)
        assert plant.outbox.boot != asked[0]
        wait_until(lambda: any(b.online and b.boot == plant.outbox.boot for b in cloud.births))
        assert next(b.next_seq for b in cloud.births if b.online) == 4
        assert plant.lines("a new boot begins") == 1


def test_two_devices_of_one_name_do_not_throw_each_other_off_for_ever(broker: Broker, tmp_path: Path) -> None:
    # This broker ends the older connection without a word (mosquitto 2.0.11).
    with ExitStack() as stack:
        plant = Plant(tmp_path / "home", broker, stack)
        plant.thread.start()
        for turn in range(1, 6):
            wait_until(plant.loop.connected)
            other = link_to(broker)
            other.connect(30.0)
            wait_until(lambda turn=turn: turn < 5 or Trouble.CUT_SHORT.value in plant.remembered)  # type: ignore[misc]
            if turn < 5:
                assert lost(other)
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            other.poll(0.05)  # it is left alone meanwhile
        assert plant.lines(Trouble.CUT_SHORT.value) == 1
        other.close(1.0)


@pytest.mark.slow
def test_an_outage_is_two_lines_of_the_journal(broker: Broker, tmp_path: Path) -> None:
    with ExitStack() as stack:
        plant, _ = Plant(tmp_path / "home", broker, stack), Cloud(broker, lambda _: None, stack)
        plant.thread.start()
        wait_until(lambda: plant.lines("connected to the broker") == 1)
        broker.kill()
        wait_until(lambda: plant.lines("kept until it is back") == 1)
        plant.add(2)
        time.sleep(1.0)  # several tries go by
        broker.start()
        wait_until(lambda: plant.lines("connected to the broker after") == 1)
        assert plant.lines("2 summaries wait") == 1 and plant.lines("was not reached") == 0


def test_incoming_is_only_what_is_for_this_station(broker: Broker) -> None:
    link = link_to(broker)
    link.connect(30.0)
    found: list[Incoming] = []
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        found += link.poll(0.05)
    assert found == [] and link.room().most == 20
    link.close(1.0)

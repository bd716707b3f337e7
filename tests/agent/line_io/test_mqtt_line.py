"""The line's controller over MQTT: a real broker, a real client, and every way in which either may misbehave."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from agent.line_io.desk import Desk
from agent.line_io.mqtt import MqttLine
from agent.line_io.mqtt_messages import read_trigger, verdict_bytes
from agent.ports.line import Answer, LineAdapter, LineState, Lost
from contract.errors import BadMessage, InvalidConfig
from tests.agent.line_io.line_rig import NOT_FOR_EVER_S, RUNNING, TOPIC, Line, MqttController, books_close, until
from tests.fakes.agent_line import ListLog
from tests.fixtures_broker import Broker, free_port


def adapter(desk: Desk, log: ListLog, port: int, **more: Any) -> LineAdapter:
    wanted = {"topic": TOPIC, "client_id": "press-3-line", "host": "127.0.0.1", "heartbeat_s": 0.2}
    wanted |= {"monotonic": RUNNING.monotonic}
    return MqttLine(desk, log, port=port, **(wanted | more))


def line_on(port: int, **rules: Any) -> Line:
    return Line(lambda desk, log: adapter(desk, log, port), **rules)


class Pair:
    """A station's line and its controller on one broker, both up."""

    def __init__(self, broker: Broker, **rules: Any) -> None:
        self.line = line_on(broker.port, **rules).start()
        self.plc = MqttController(broker.port)
        self.plc.state(lambda state: state["beat"] > 0)

    def close(self) -> None:
        self.line.stop()
        self.plc.close()


@pytest.fixture
def pair(broker: Broker) -> Iterator[Pair]:
    made = Pair(broker)
    yield made
    made.close()


def test_a_trigger_gets_its_verdict(pair: Pair) -> None:
    pair.plc.trigger(7, "part-7")
    said = pair.plc.next("verdict")
    assert (said["ask"], said["part"], said["verdict"], said["lost"]) == (7, "part-7", "PASS", None)
    assert 0 < said["latency_ms"] < 5000
    pair.plc.trigger("left/7", "part-7")
    assert pair.plc.next("verdict")["ask"] == "left/7"
    assert {kind for kind, _ in pair.plc.retained} <= {"state"}


@pytest.mark.slow
def test_hundreds_of_triggers_are_all_accounted_for(broker: Broker) -> None:
    verdicts = {"0": "PASS", "1": "REJECT", "2": "REVIEW"}
    pair = Pair(broker, waiting=4, verdict_of=lambda part: verdicts[part[-1]])
    try:
        for ask in range(400):
            pair.plc.trigger(ask, f"part-{ask}-{ask % 3}")
        until(lambda: pair.line.desk.counts().triggers == 400 and pair.line.desk.counts().waiting == 0)
        counts = pair.line.desk.counts()
        refused = sum(counts.refused.values())
        said = [pair.plc.next("verdict") for _ in range(counts.answered)]
        no = [pair.plc.next("refused") for _ in range(refused)]
        assert {each["ask"] for each in said} | {each["ask"] for each in no} == set(range(400))
        assert len(said) + len(no) == 400
        assert all(each["verdict"] == verdicts[str(each["ask"] % 3)] for each in said)
        assert books_close(pair.line.desk) and counts.unshown == 0
        state = pair.plc.state(lambda state: state["counts"].get("shown") == counts.answered)
        assert state["counts"]["taken"] == counts.answered
    finally:
        pair.close()


def test_a_verdict_does_not_wait_behind_its_triggers_acknowledgement(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker", config="set_tcp_nodelay true\n")
    broker.start()
    pair = Pair(broker)
    plc: Any = pair.plc.client.socket()
    plc.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        # Nagle's algorithm takes 40 ms of each; a busy machine not of all.
        at_once, until_s = 0, time.monotonic() + 60.0
        for ask in itertools.count():
            began_s = time.monotonic()
            pair.plc.trigger(ask, "p")
            pair.plc.next("verdict")
            at_once += time.monotonic() - began_s < 0.02
            if at_once == 6 or began_s > until_s:
                break
        assert at_once == 6
    finally:
        pair.close()
        broker.kill()


def test_a_trigger_without_a_frame_fails_safe(broker: Broker) -> None:
    pair = Pair(broker, verdict_of=lambda part: None, timeout_s=0.2)
    try:
        pair.plc.trigger(1, "a")
        said = pair.plc.next("verdict")
        assert (said["verdict"], said["lost"]) == ("REJECT", "timeout")
    finally:
        pair.close()


def test_the_controller_may_shorten_how_long_it_waits(broker: Broker) -> None:
    pair = Pair(broker, verdict_of=lambda part: None, timeout_s=60.0, waiting=3)
    try:
        pair.plc.trigger(1, "a", valid_ms=100)
        assert pair.plc.next("verdict")["latency_ms"] < 30_000
        pair.plc.trigger(2, "b", lives_s=1)  # the message's own expiry does too
        assert pair.plc.next("verdict")["lost"] == "timeout"
    finally:
        pair.close()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00",
        b"not json",
        b"[1, 2]",
        b"7",
        b"{}",
        b'{"ask": null}',
        b'{"ask": true}',
        b'{"ask": 1.5}',
        b'{"ask": ""}',
        b'{"ask": 99999999999999999999999}',
        b'{"ask": 1, "part": 5}',
        b'{"ask": 1, "part": "a\\u0000b"}',
        b'{"ask": 1, "part": "a\\u001b[2Jb"}',
        b'{"ask": 1, "part": "\\ud800"}',
        b'{"ask": "a\\nb"}',
        b'{"ask": 1, "valid_ms": -1}',
        b'{"ask": 1, "valid_ms": NaN}',
        b'{"ask": 1, "part": "' + b"x" * 65 + b'"}',
        b'{"ask": 1, "part": "\xff\xfe"}',
        b"[" * 1000,
        b'{"ask": 1, "x": "' + b"y" * 60_000 + b'"}',
    ],
)
def test_nonsense_is_no_trigger(payload: bytes) -> None:
    with pytest.raises(BadMessage) as refused:
        read_trigger(payload)
    assert refused.value.one_line().isprintable()


@given(
    st.binary(max_size=200)
    | st.text(max_size=100).map(str.encode)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["ask", "part", "valid_ms", "x"]), inner),
        max_leaves=10,
    ).map(lambda tree: json.dumps(tree).encode())
)
def test_no_bytes_raise_anything_but_that_they_are_no_trigger(payload: bytes) -> None:
    try:
        trigger = read_trigger(payload)
    except BadMessage:
        return
    assert trigger.part.isprintable() and (isinstance(trigger.ask, int) or trigger.ask.isprintable())


def test_nonsense_is_refused_counted_and_harmless(pair: Pair) -> None:
    for payload in (b"not json", b'{"ask": 1, "part": "\\u0007"}', b"x" * 50_000):
        pair.plc.send(payload)
        said = pair.plc.next("refused")
        assert (said["why"], said["ask"]) == ("malformed", None) and said["said"]
    pair.plc.send(b"y" * 200_000)  # the broker keeps that to itself
    pair.plc.trigger(1, "a")
    assert pair.plc.next("verdict")["verdict"] == "PASS"
    assert pair.plc.state(lambda state: state["counts"].get("malformed") == 3)
    assert pair.line.desk.counts().triggers == 1
    assert any("a trigger was refused" in line for line in pair.line.log.lines)


def test_refusals_say_why(broker: Broker) -> None:
    pair = Pair(broker, verdict_of=lambda part: None, waiting=1)
    try:
        pair.line.why = "no model is installed"
        pair.plc.trigger(1, "a")
        said = pair.plc.next("refused")
        assert (said["ask"], said["part"], said["why"], said["said"]) == (1, "a", "not_ready", "no model is installed")
        assert not pair.plc.state(lambda state: state["why"] == "no model is installed")["ready"]
        pair.line.why = ""
        pair.plc.state(lambda state: bool(state["ready"]))
        for ask in (2, 2, 3):
            pair.plc.trigger(ask, "a")
        assert [(said["ask"], said["why"]) for said in (pair.plc.next("refused"), pair.plc.next("refused"))] == [
            (2, "again"),
            (3, "full"),
        ]
        pair.plc.state(lambda state: state["waiting"] == 1)
    finally:
        pair.close()


def test_a_retained_trigger_is_none(broker: Broker) -> None:
    plc = MqttController(broker.port)
    plc.trigger(1, "old", retain=True)
    line = line_on(broker.port).start()
    try:
        plc.state(lambda state: state["beat"] > 0)
        plc.trigger(2, "kept", retain=True)
        assert (said := plc.next("refused"))["why"] == "retained" and said["ask"] == 2
        assert line.desk.counts().triggers == 0
    finally:
        line.stop()
        plc.close()


def test_triggers_sent_while_the_station_is_away_are_gone(broker: Broker) -> None:
    pair = Pair(broker)
    pair.line.stop()
    pair.plc.trigger(1, "while away")
    again = line_on(broker.port).start()
    try:
        pair.plc.state(lambda state: bool(state["ready"]))
        pair.plc.trigger(2, "now")
        assert pair.plc.next("verdict")["ask"] == 2
        assert again.desk.counts().triggers == 1
    finally:
        again.stop()
        pair.plc.close()


def test_birth_and_death_are_in_order(broker: Broker) -> None:
    pair = Pair(broker)
    assert pair.plc.state(lambda state: bool(state["ready"]))["birth"] == 1
    pair.plc.trigger(1, "a")
    assert pair.plc.next("verdict")["ask"] == 1
    took_s = pair.line.stop()
    last = pair.plc.state(lambda state: state["why"] == "the station stops")
    assert (last["ready"], last["birth"], took_s < NOT_FOR_EVER_S) == (False, 1, True)
    newcomer = MqttController(broker.port, "newcomer")
    assert newcomer.next("state")["why"] == "the station stops"
    assert [kind for kind, _ in newcomer.retained] == ["state"]
    newcomer.close()
    pair.plc.close()


def test_a_station_that_dies_is_said_to_be_gone_and_its_return_is_the_last_word(broker: Broker) -> None:
    pair = Pair(broker)
    try:
        assert pair.plc.state(lambda state: bool(state["ready"]))["birth"] == 1
        # A second client takes its name, as a station that came back over a connection that looks up: the broker says the Will.
        thief = paho.Client(CallbackAPIVersion.VERSION2, client_id="press-3-line", protocol=paho.MQTTv5)
        thief.connect("127.0.0.1", broker.port)
        thief.loop_start()
        death = pair.plc.state(lambda state: not state["ready"])
        assert (death["why"], death["birth"]) == ("the station is gone", 1)
        thief.disconnect()
        thief.loop_stop()
        birth = pair.plc.state(lambda state: bool(state["ready"]))
        assert birth["birth"] > 1
        pair.plc.trigger(5, "after")
        assert pair.plc.next("verdict")["ask"] == 5
    finally:
        pair.close()


def test_a_broker_that_comes_back_does_not_say_that_a_dead_station_is_ready(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker", config="autosave_interval 1\nautosave_on_changes true\n")
    broker.start()
    line, kept = line_on(broker.port).start(), tmp_path / "broker" / "mosquitto.db"
    try:
        until(lambda: kept.exists() and b'"ready":true' in kept.read_bytes())
    finally:
        broker.kill()  # before it can say the Will; the state is on its disk
        line.stop()
    time.sleep(2.5)  # an expiry of one second, in whole seconds
    broker.start()
    late = MqttController(broker.port, "late")
    try:
        late.client.publish(f"{TOPIC}/state", b'{"ready": false, "why": "end of the test"}', qos=1)
        assert late.next("state")["why"] == "end of the test"
    finally:
        late.close()
        broker.kill()


@pytest.mark.slow
def test_the_broker_may_be_away_at_the_start_and_go_in_between(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker")
    line = line_on(broker.port).start()
    try:
        until(lambda: "is away" in line.loop.trouble)
        broker.start()
        until(lambda: line.loop.trouble == "")
        plc = MqttController(broker.port)
        plc.trigger(1, "a")
        assert plc.next("verdict")["ask"] == 1
        broker.kill()
        until(lambda: "is away" in line.loop.trouble)
        assert line.desk.trigger(2, "nobody hears of it") is None
        until(lambda: line.desk.counts().unshown == 1)
        broker.start()
        until(lambda: line.loop.trouble == "")
        until(plc.client.is_connected)
        plc.state(lambda state: state["birth"] > 1)
        plc.trigger(3, "b")
        assert plc.next("verdict")["ask"] == 3
        assert len(line.adapters) == 1  # it kept trying itself
        assert line.stop() < NOT_FOR_EVER_S
        plc.close()
    finally:
        line.stop()
        broker.kill()


def test_a_verdict_that_nobody_hears_is_unshown(broker: Broker) -> None:
    pair = Pair(broker)
    try:
        pair.plc.client.unsubscribe(f"{TOPIC}/#")
        time.sleep(0.2)
        pair.plc.trigger(1, "a")
        until(lambda: pair.line.desk.counts().unshown == 1)
    finally:
        pair.close()


def test_verdicts_are_given_up_rather_than_piled_up() -> None:
    desk = Desk.__new__(Desk)
    shown: list[Answer] = []
    desk.unshown = shown.append  # type: ignore[method-assign]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        line = adapter(desk, ListLog(), silent.getsockname()[1])
        line.start()
        for ask in range(100):
            line.show(Answer(ask, "", "PASS"))
        assert [each.ask for each in shown] == list(range(64, 100))
        began_s = time.monotonic()
        line.stop()
        assert time.monotonic() - began_s < NOT_FOR_EVER_S
    until(lambda: len(shown) == 100)
    line.show(Answer(100, "", "PASS"))
    assert len(shown) == 101


class RawBroker(threading.Thread):
    """Speaks just enough MQTT 5 to say to the station what a polite broker would not; each `packets` after its birth."""

    def __init__(self, *packets: bytes) -> None:
        super().__init__(daemon=True)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._packets = packets
        self.heard = b""

    def run(self) -> None:
        connection, _ = self._server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(bytes.fromhex("2003000000"))  # CONNACK
            subscribe = connection.recv(4096)
            connection.sendall(b"\x90\x04" + subscribe[2:4] + b"\x00\x01")  # SUBACK
            for packet in self._packets:
                connection.sendall(packet)
            with contextlib.suppress(OSError):  # the station hung up
                while heard := connection.recv(4096):
                    self.heard += heard

    def close(self) -> None:
        self._server.close()


def published(payload: bytes, *, dup: bool = False, packet_id: int = 1, properties: bytes = b"") -> bytes:
    topic = f"{TOPIC}/trigger".encode()
    body = len(topic).to_bytes(2, "big") + topic + packet_id.to_bytes(2, "big")
    body += bytes([len(properties)]) + properties + payload
    assert len(body) < 128
    return bytes([0x32 | (8 if dup else 0), len(body)]) + body


def test_a_redelivered_trigger_is_one_trigger() -> None:
    raw = RawBroker(published(b'{"ask": 1}'), published(b'{"ask": 1}', dup=True), published(b'{"ask": 2}', dup=True))
    raw.start()
    line = line_on(raw.port, verdict_of=lambda part: None).start()
    try:
        until(lambda: line.desk.counts().triggers == 2)
        time.sleep(0.2)
        assert (line.desk.counts().triggers, line.desk.counts().refused) == (2, {})
        until(lambda: b'"repeated":1' in raw.heard)
    finally:
        line.stop()
        raw.close()


def test_a_trigger_whose_time_ran_out_on_the_way_is_stale() -> None:
    raw = RawBroker(published(b'{"ask": 1}', properties=b"\x02\x00\x00\x00\x00"), published(b'{"ask": 2}'))
    raw.start()
    line = line_on(raw.port, verdict_of=lambda part: None).start()
    try:
        until(lambda: line.desk.counts().triggers == 1)
        until(lambda: b'"why":"stale","ask":1' in raw.heard)
    finally:
        line.stop()
        raw.close()


@pytest.mark.slow
def test_a_broker_that_acknowledges_nothing_is_left() -> None:
    raw = RawBroker()
    raw.start()
    line = line_on(raw.port).start()
    try:
        until(lambda: "acknowledges nothing" in line.loop.trouble)
        until(lambda: raw.heard.count(b'"ready":true') >= 1)
    finally:
        line.stop()
        raw.close()


def test_a_process_that_slept_asks_the_broker_anew(broker: Broker) -> None:
    now_s = [0.0]
    line = Line(
        lambda desk, log: adapter(desk, log, broker.port, monotonic=lambda: RUNNING.monotonic() + now_s[0])
    ).start()
    plc = MqttController(broker.port)
    try:
        assert plc.state(lambda state: bool(state["ready"]))["birth"] == 1
        now_s[0] = 60.0
        assert plc.state(lambda state: state["birth"] == 2)
        plc.trigger(1, "a")
        assert plc.next("verdict")["ask"] == 1
    finally:
        line.stop()
        plc.close()


@pytest.mark.parametrize("topic", ["", "line/+", "#", "$SYS/x", "a\x00b", "x" * 201])
def test_a_topic_that_cannot_be_one_is_said(topic: str) -> None:
    line = adapter(Desk.__new__(Desk), ListLog(), free_port(), topic=topic)
    with pytest.raises(InvalidConfig, match=r"plc\.topic"):
        line.start()
    line.stop()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"ca_file": "missing.pem"}, r"missing\.pem"),
        ({"ca_file": "rotten.pem"}, r"rotten\.pem"),
        ({"cert_file": "rotten.pem", "key_file": "rotten.pem"}, "over TLS only"),
    ],
)
def test_certificates_that_cannot_be_used_are_said(tmp_path: Path, files: dict[str, str], said: str) -> None:
    (tmp_path / "rotten.pem").write_text("no certificate")
    line = adapter(Desk.__new__(Desk), ListLog(), 1, **{key: tmp_path / name for key, name in files.items()})
    with pytest.raises(InvalidConfig, match=said):
        line.start()
    line.stop()


def test_a_word_that_is_no_text_is_unshown_and_not_raised() -> None:
    with pytest.raises(BadMessage):
        verdict_bytes(Answer(1, "\ud800", "PASS"))
    desk = Desk.__new__(Desk)
    unshown: list[Answer] = []
    desk.unshown = unshown.append  # type: ignore[method-assign]
    line = adapter(desk, ListLog(), 1)
    line.show(Answer(1, "\ud800", "PASS"))
    line.beat(LineState(True, "", 0))
    line.stop()
    assert len(unshown) == 1


def test_a_verdict_says_all_of_the_answer() -> None:
    answer = Answer(7, "p", "REJECT", "late", "", 0.0, 12.5, 0.0, Lost.TIMEOUT)
    assert json.loads(verdict_bytes(answer)) == {
        "ask": 7,
        "part": "p",
        "verdict": "REJECT",
        "cause": "late",
        "label": "",
        "confidence": 0.0,
        "latency_ms": 12.5,
        "captured_at": 0.0,
        "lost": "timeout",
    }

"""Messages on their way: by a real HTTP server and a real mosquitto, through hangs, refusals, restarts and kill -9."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from cloud.alerts.delivery import Delivery
from cloud.alerts.message import Links
from cloud.alerts.mqtt import BrokerChannel
from cloud.alerts.webhook import Webhook
from cloud.broker.mqtt import MqttLink
from cloud.needs import Found
from cloud.notice_rules import NoticeRules
from cloud.notices import NoticesLoop
from cloud.ports.needs import Need, Severity
from cloud.store.notices import GAVE_UP, Notices
from contract.errors import LinkDown, RefusedError, TransientError
from contract.topics import NOTICE
from tests.fakes.cloud_tables import T0, Tables, open_tables
from tests.fakes.hook import Hook
from tests.fixtures_broker import ROOT, Broker, free_port

RULES = NoticeRules(cooldown_s=100.0, settle_s=0.0)


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.stop()


class Desk:
    """Notices told to some channels, with a clock that a test moves."""

    def __init__(self, tables: Tables, *channels: Any) -> None:
        self.now, self.notices, self.channels = T0, Notices(tables.database), channels
        self.loop = NoticesLoop(
            self.notices, lambda: self.found, [c.name for c in channels], Links("https://p", "https://r"), RULES,
            lambda: self.now,
        )  # fmt: skip
        self.deliveries = [Delivery(c, self.notices, lambda: self.now, lambda: 1.0) for c in channels]
        self.found = Found()

    def need(self, *keys: str) -> None:
        self.found = Found(tuple(Need(key, "kind", Severity.PAGE, f"{key} hall ä <b>", "/fleet", "x") for key in keys))
        self.loop.tick()

    def deliver(self, later: float = 0.0) -> None:
        self.now += later
        for delivery in self.deliveries:
            delivery.tick()

    def ends(self) -> list[str]:
        return sorted(f"{channel} {end} {n}" for (channel, end), n in self.notices.posts_by_end().items())


def wait_for(what: Callable[[], Any], within_s: float = 60.0) -> Any:
    until = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
    return found


def test_a_webhook_gets_json_with_an_id_and_a_signature(tables: Tables, hook: Hook) -> None:
    desk = Desk(tables, Webhook("chat", hook.url, lambda: T0 + 7, b"the secret"))
    desk.need("a")
    desk.deliver()
    (path, headers, message), (body,) = hook.taken[0], hook.bodies
    assert path == "/hooks/SECRET-TOKEN?key=SECRET-KEY" and headers["Content-Type"] == "application/json"
    wanted = hmac.new(b"the secret", b"1795200007." + body, hashlib.sha256).hexdigest()
    assert headers["Plumbline-Signature"] == f"t=1795200007,v1={wanted}"
    assert len(headers["Plumbline-Notice"]) == 32
    assert message == {
        "id": f"a@{T0:.3f}/1", "event": "opened", "severity": "page", "kind": "kind", "key": "a", "what": "a hall ä <b>",
        "link": "https://p/fleet", "runbook": "https://r#x", "opened_at": T0, "at": T0, "members": [], "member_count": 0,
        "parts": [], "part_count": 0, "v": 1,
    }  # fmt: skip
    desk.deliver(1000)
    assert len(hook.taken) == 1 and desk.ends() == ["chat sent 1"]


def test_a_server_that_fails_is_tried_again_with_longer_waits_and_in_order(tables: Tables, hook: Hook) -> None:
    desk = Desk(tables, Webhook("chat", hook.url, lambda: T0))
    hook.answers = [500, 503, 429, 408]
    desk.need("a")
    desk.need("a", "b")
    tried = []
    for _ in range(200):
        before = hook.asked
        desk.deliver(1.0)
        if hook.asked > before:
            tried.append(desk.now - T0)
    assert tried[:5] == [1.0, 6.0, 16.0, 36.0, 76.0]
    assert [m["key"] for m in hook.messages()] == ["a", "b"] and desk.ends() == ["chat sent 2"]


def test_what_a_server_refuses_is_given_up_with_a_note_and_holds_nothing_up(tables: Tables, hook: Hook) -> None:
    desk = Desk(tables, Webhook("chat", hook.url, lambda: T0))
    hook.answers = [400, 413]
    desk.need("a", "b", "c")
    desk.deliver()
    assert [m["key"] for m in hook.messages()] == ["c"]
    assert desk.ends() == [f"chat {GAVE_UP} 2", "chat sent 1"]
    notes = [post.error for post in desk.notices.waiting(9)]
    assert all(note.startswith("given up: http://127.0.0.1/...") for note in notes), notes


def test_a_server_that_hangs_holds_up_nobody_else(tables: Tables, hook: Hook) -> None:
    other = Hook()
    hook.hang_s = 60.0
    desk = Desk(tables, Webhook("slow", hook.url, lambda: T0, answer_s=0.3), Webhook("chat", other.url, lambda: T0))
    desk.need("a")
    slow, chat = desk.deliveries
    thread = threading.Thread(target=slow.tick)
    began = time.monotonic()
    thread.start()
    chat.tick()
    assert other.messages()[0]["key"] == "a"
    thread.join(60.0)
    assert time.monotonic() - began < 40.0 and desk.ends() == ["chat sent 1", "slow waiting 1"]
    hook.hang_s = 0.0
    desk.deliver(30)
    assert desk.ends() == ["chat sent 1", "slow sent 1"]
    other.stop()


def test_no_message_and_no_log_holds_the_address(tables: Tables, hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # as cloud.commands.output.log_to_stderr does
    hook.answers = [500, 404]
    desk = Desk(
        tables,
        Webhook("chat", hook.url, lambda: T0),
        Webhook("gone", f"http://127.0.0.1:{free_port()}/SECRET-X", lambda: T0),
    )
    desk.need("a")
    desk.deliver()
    desk.deliver(50)
    said = caplog.text + "".join(post.error for post in desk.notices.waiting(9))
    assert "chat" in said and "SECRET" not in said, said
    with pytest.raises(LinkDown, match=r"http://127\.0\.0\.1/\.\.\.: ConnectError"):
        Webhook("gone", f"http://127.0.0.1:{free_port()}/SECRET-X", lambda: T0).send("{}")
    hook.answers = [500, 401, 422]
    for _ in range(2):
        with pytest.raises(TransientError, match=r"answered (500|401)"):
            Webhook("chat", hook.url, lambda: T0).send("{}")
    with pytest.raises(RefusedError, match="answered 422"):
        Webhook("chat", hook.url, lambda: T0).send("{}")


@pytest.mark.parametrize("status", [302, 401, 403, 404, 410])
def test_what_a_wrong_address_or_token_did_not_take_waits_until_it_is_mended(
    tables: Tables, hook: Hook, status: int
) -> None:
    desk = Desk(tables, Webhook("chat", hook.url, lambda: T0))
    hook.answers = [status] * 3
    desk.need("a", "b")
    for later in (0.0, 900.0, 900.0):
        desk.deliver(later)
    assert hook.messages() == [] and desk.notices.undelivered(desk.now) == {"chat": 2}
    desk.deliver(900.0)
    assert [m["key"] for m in hook.messages()] == ["a", "b"] and desk.notices.undelivered(desk.now) == {}


def test_a_channel_that_refuses_what_it_is_sent_is_told_of_until_it_takes_something(tables: Tables, hook: Hook) -> None:
    desk = Desk(tables, Webhook("chat", hook.url, lambda: T0))
    hook.answers = [400, 400]
    desk.need("a", "b")
    desk.deliver()
    assert hook.messages() == [] and desk.notices.undelivered(desk.now - 3600.0) == {"chat": 2}
    desk.need("a", "b", "c")
    desk.deliver()
    assert [m["key"] for m in hook.messages()] == ["c"] and desk.notices.undelivered(desk.now - 3600.0) == {}


def test_what_waits_for_a_day_is_given_up_and_so_is_what_waits_for_nobody(tables: Tables, hook: Hook) -> None:
    desk = Desk(tables, Webhook("chat", hook.url, lambda: T0))
    desk.need("a")
    desk.deliver(90_000.0)
    assert hook.asked == 0 and desk.ends() == [f"chat {GAVE_UP} 1"]
    desk.need("b")
    assert desk.notices.forget_channels(["other"], desk.now) == 2, "a is repeated by then"
    assert desk.ends() == [f"chat {GAVE_UP} 3"]


def test_what_was_over_long_ago_is_forgotten_with_its_messages(tables: Tables, hook: Hook) -> None:
    desk = Desk(tables, Webhook("chat", hook.url, lambda: T0))
    desk.need("a", "b")
    desk.now += 1.0
    desk.need("b")
    desk.deliver()
    assert desk.notices.prune(desk.now + 1.0) == 1
    assert [n.need.key for n in desk.notices.newest(9)] == ["b"] and desk.ends() == ["chat sent 1"]


_SENDER = """
import sys, time
from cloud.alerts.delivery import Delivery
from cloud.alerts.webhook import Webhook
from cloud.store.database import Database
from cloud.store.notices import Notices
notices = Notices(Database("sqlite:///" + sys.argv[1]))
delivery = Delivery(Webhook("chat", sys.argv[2], time.time), notices, time.time, lambda: 0.0, first_wait_s=0.05)
print("ready", flush=True)
while True:
    delivery.tick()
    time.sleep(0.01)
"""


@pytest.mark.slow
def test_kill_9_again_and_again_loses_no_message_and_repeats_only_those_it_was_killed_in(
    tmp_path: Path, hook: Hook
) -> None:
    tables = open_tables(tmp_path / "cloud.db")
    desk = Desk(tables, Webhook("chat", hook.url, lambda: T0))
    # More than a storm makes one message of, so by their own.
    desk.loop._rules = NoticeRules(storm_most=1000)
    desk.now = time.time()
    desk.need(*(f"k{n:02}" for n in range(60)))
    hook.hang_s, kills = 0.05, 0
    while desk.notices.undelivered(time.time() + 1):
        command = (sys.executable, "-c", _SENDER, str(tmp_path / "cloud.db"), hook.url)
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        # In the middle of one of the next that it sends, later each time: a machine that stalls lets it send few more.
        most = hook.asked + 2 * (1 + kills)
        wait_for(lambda most=most: hook.asked >= most or not desk.notices.undelivered(time.time() + 1))  # type: ignore[misc]
        process.kill()
        process.wait()
        process.stdout.close()
        kills += 1
        assert kills < 60
    ids = [message["id"] for message in hook.messages()]
    assert len(set(ids)) == 60 and kills > 2
    assert len(ids) <= 60 + kills, "only what was under way when it ended goes out again"
    assert list(dict.fromkeys(ids)) == sorted(set(ids)), "in the order in which they came to be"
    tables.database.close()


@settings(max_examples=20)
@given(st.lists(st.sampled_from([204, 200, 500, 503, 404, 400]), max_size=30), st.integers(1, 8))
def test_each_message_is_taken_once_or_given_up_whatever_a_server_answers(
    tmp_path_factory: Any, answers: list[int], count: int
) -> None:
    tables = open_tables(tmp_path_factory.mktemp("answers") / "cloud.db")
    hook = Hook()
    hook.answers = list(answers)
    desk = Desk(tables, Webhook("chat", hook.url, lambda: T0))
    desk.need(*(f"k{n}" for n in range(count)))
    for _ in range(len(answers) + count):
        desk.deliver(900.0)
    ends = dict(part.rsplit(" ", 1) for part in desk.ends())
    taken = [message["key"] for message in hook.messages()]
    assert len(taken) == len(set(taken)) == int(ends.get("chat sent", 0))
    assert sum(map(int, ends.values())) == count and "chat waiting" not in ends
    refused = int(ends.get(f"chat {GAVE_UP}", 0))
    assert refused <= sum(answer == 400 for answer in answers)
    hook.stop()
    tables.database.close()


class Panel:
    """Somebody at the line who listens to the broker."""

    def __init__(self, broker: Broker) -> None:
        self.heard: queue.Queue[dict[str, Any]] = queue.Queue()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="panel", protocol=paho.MQTTv5)
        self._client.on_message = lambda _c, _d, message: self.heard.put(
            {**json.loads(message.payload), "retain": message.retain}
        )
        ready = threading.Event()
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        self._client.subscribe(NOTICE, 1)
        assert ready.wait(30)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def test_a_broker_carries_notices_to_who_listens_and_what_it_missed_comes_when_it_is_back(
    tables: Tables, broker: Broker
) -> None:
    link = MqttLink("127.0.0.1", broker.port, "agg", queue.Queue(), time.time, channels=False)
    link.start()
    wait_for(link.connected)
    desk = Desk(tables, BrokerChannel(link))
    panel = Panel(broker)
    desk.need("a")
    desk.deliver()
    heard = panel.heard.get(timeout=30)
    assert (heard["key"], heard["event"], heard["retain"]) == ("a", "opened", False)
    panel.close()
    broker.kill()
    wait_for(lambda: not link.connected())
    desk.need("a", "b")
    desk.deliver()
    assert desk.ends() == ["mqtt sent 1", "mqtt waiting 1"]
    broker.start()
    wait_for(link.connected)
    late = Panel(broker)
    assert late.heard.empty(), "the last one is not how things are, so nothing is retained"
    desk.deliver(60)
    assert late.heard.get(timeout=30)["key"] == "b" and desk.ends() == ["mqtt sent 2"]
    late.close()
    link.stop()

"""What browsers send while a page is open, against the real command: what is not a page's is refused, counted, and fills no log."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nicegui import json as page_json
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from cloud.api.page_socket import AT_ONCE, MAX_MESSAGE_BYTES, is_packet
from tests.fakes.cloud_plant import CloudPlant

_POLLING = "/_nicegui_ws/socket.io/?EIO=4&transport=polling"


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudPlant]:
    made = CloudPlant(tmp_path_factory.mktemp("plant"))
    with (made.home / "cloud.toml").open("a") as config:
        config.write("\n[auth]\nrequests_per_minute = 100000\n")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def since(plant: CloudPlant) -> Iterator[list[str]]:
    """Fill the list, at the end of a test, with the lines that the server logged meanwhile; there is no traceback among them."""
    before, lines = plant.log.stat().st_size, []
    yield lines
    time.sleep(1.0)
    with plant.log.open() as log:
        log.seek(before)
        text = log.read()
    assert "Traceback" not in text, text
    assert text.count("\n") <= 9, text


def refused(plant: CloudPlant) -> dict[str, float]:
    text = httpx.get(f"{plant.url}/metrics", timeout=60).text
    found = {}
    for family in text_string_to_metric_families(text):
        if family.name == "plumbline_cloud_page_messages_refused":
            found = {sample.labels["why"]: sample.value for sample in family.samples}
    return found


def client_of(plant: CloudPlant, path: str = "/") -> str:
    return client_in(httpx.get(plant.url + path, timeout=60).text)


def client_in(html: str) -> str:
    found = re.search(r"client_id.{1,8}([0-9a-f-]{36})", html)
    assert found is not None
    return found[1]


class PageLine:
    """A page's websocket."""

    def __init__(self, line: ClientConnection, client: str) -> None:
        self.line, self.client = line, client

    def event(self, name: object, *args: object) -> None:
        self.line.send(f"42{json.dumps([name, *args])}")

    def lives(self) -> bool:
        """Return whether a handshake that is none is still answered."""
        self.line.send('427["handshake",{"client_id":"nobody","tab_id":"t","document_id":"d"}]')
        while True:
            answer = str(self.line.recv(60))
            if answer == "2":  # a ping: who leaves it for two seconds is taken to be gone, as a page is
                self.line.send("3")
            if answer.startswith("437"):
                return answer == "437[false]"

    def closed(self) -> tuple[int, str]:
        """Return the code with which it was closed, and the reason."""
        try:
            while True:
                self.line.recv(60)
        except ConnectionClosed as error:
            assert error.rcvd is not None
            return error.rcvd.code, error.rcvd.reason


@contextmanager
def open_line(plant: CloudPlant, path: str = "/", client: str = "") -> Iterator[PageLine]:
    """Join a page's websocket as its script would."""
    client = client or client_of(plant, path)
    query = {
        "EIO": "4", "transport": "websocket", "client_id": client, "next_message_id": "0",
        "implicit_handshake": "true", "document_id": "d", "tab_id": "t",
    }  # fmt: skip
    url = f"{plant.url.replace('http', 'ws')}/_nicegui_ws/socket.io/?{urlencode(query)}"
    with connect(url, max_size=None, open_timeout=60) as line:
        assert str(line.recv(60)).startswith("0{")
        line.send("40")
        while not str(line.recv(60)).startswith("40"):
            pass
        yield PageLine(line, client)


@pytest.fixture
def page(plant: CloudPlant) -> Iterator[PageLine]:
    with open_line(plant) as opened:
        yield opened


def test_a_page_lives_on_what_pages_send(plant: CloudPlant, since: list[str], page: PageLine) -> None:
    before = refused(plant)
    page.event("ack", {"client_id": page.client, "next_message_id": 1})
    page.event("javascript_response", {"client_id": page.client, "request_id": "x", "result": None})
    event = {"id": 0, "client_id": page.client, "listener_id": "gone", "args": ["true"]}
    assert page.lives()
    assert refused(plant) == before
    page.event("event", event)
    assert page.lives()


def test_a_message_too_large_ends_its_connection_and_is_counted(
    plant: CloudPlant, since: list[str], page: PageLine
) -> None:
    before = refused(plant)["large"]
    page.event("log", {"client_id": page.client, "level": "error", "message": "x" * (MAX_MESSAGE_BYTES - 1000)})
    assert page.lives()
    page.event("log", {"client_id": page.client, "level": "error", "message": "x" * MAX_MESSAGE_BYTES})
    assert page.closed()[0] == 1009
    assert refused(plant)["large"] == before + 1


def test_who_sends_too_fast_is_let_go_with_a_word_and_comes_again(
    plant: CloudPlant, since: list[str], page: PageLine
) -> None:
    before = refused(plant)["fast"]
    with suppress(ConnectionClosed):
        for _ in range(20 * AT_ONCE):
            page.event("ack", {"client_id": page.client, "next_message_id": 0})
    assert page.closed() == (1008, "too many messages; connect again")
    assert refused(plant)["fast"] == before + 1
    with open_line(plant) as anew:
        assert anew.lives()


@pytest.mark.slow
def test_a_key_held_down_is_not_too_fast(plant: CloudPlant, since: list[str], page: PageLine) -> None:
    for number in range(150):
        page.event("ack", {"client_id": page.client, "next_message_id": 0})
        time.sleep(1 / 40)
        assert number % 15 or page.lives()  # which answers its pings, however long all of this takes
    assert page.lives()


NO_PACKETS = [
    "", "x", "9", "٣", "b!!!", "2", "4", "45-[]", "451-[\"event\",{\"_placeholder\":true,\"num\":0}]", "44", "4٢[]",
    "42", "42[", "42[]", "42{}", "42null", "42[{}]", "42[[]]", "42[1]", "42[NaN]", "42" + "[" * 5000,
    '42/other,["event",{}]', "40/other,", "40[", '40{"a":1}', "40{\"a\":", "43[]", "4399[]", "42" + "9" * 200 + "[]",
    '421["event"', "42[\"event\"]x", "\x00", "4\x00",
]  # fmt: skip
ODD_EVENTS = [
    ["event"], ["event", None], ["event", {}], ["event", []], ["event", "x", "y", "z"], ["event", {"client_id": {}}],
    ["event", {"client_id": None}], ["handshake"], ["handshake", {}], ["handshake", {"client_id": []}], ["ack"],
    ["ack", {}], ["ack", 7], ["javascript_response", {}], ["javascript_response", {"client_id": []}],
    ["log"], ["log", {}], ["log", {"client_id": 1}],
]  # fmt: skip


def test_what_is_malformed_is_left_out_counted_and_told_in_a_line(
    plant: CloudPlant, since: list[str], page: PageLine
) -> None:
    before = refused(plant)
    for packet in NO_PACKETS:
        page.line.send(packet)
    page.line.send(b"\x00\x01")
    for name, *more in ODD_EVENTS:
        page.event(name, *more)
    here = {"client_id": page.client}
    for more in (
        {"id": 0}, {"id": [], "args": []}, {"id": 0, "args": ["{"]}, {"id": 0, "args": 7}, {"id": 0, "args": ["1"]},
        {"id": 0, "args": ["1"], "listener_id": {}}, {"id": 0, "args": ["[" * 3000]}, {"id": "0", "listener_id": "x"},
    ):  # fmt: skip
        page.event("event", {**here, **more})
    page.event("ack", {**here, "next_message_id": "many"})
    page.event("javascript_response", {**here, "request_id": {}})
    page.event("log", {**here, "level": "loud", "message": "x\nTraceback (most recent call last)"})
    time.sleep(2.5)
    assert page.lives()
    after = refused(plant)
    assert after["malformed"] - before["malformed"] >= len(NO_PACKETS) + 12
    assert after["log"] > before["log"]


def test_text_that_is_none_ends_its_connection_and_is_counted(
    plant: CloudPlant, since: list[str], page: PageLine
) -> None:
    before = refused(plant)["malformed"]
    page.line.send(b"42\xff", text=True)
    assert page.closed()[0] == 1007
    assert refused(plant)["malformed"] == before + 1


def test_an_event_that_no_page_sends_is_counted(plant: CloudPlant, since: list[str], page: PageLine) -> None:
    before = refused(plant)["unknown"]
    for name in ("shutdown", "message", "__class__", "*", "connect_error"):
        page.event(name, {"client_id": page.client})
    assert page.lives()
    assert refused(plant)["unknown"] - before >= 4


@pytest.mark.slow
def test_values_that_an_element_has_not_are_no_fault_of_the_servers(plant: CloudPlant, since: list[str]) -> None:
    before, sent = refused(plant)["malformed"], 0
    with ExitStack() as stack:
        for path in ("/", "/fleet", "/audit", "/drift", "/models"):
            html = httpx.get(plant.url + path, timeout=60).text
            (drawn,) = re.findall(r"parseElements\(String\.raw`(.*?)`\)", html, re.DOTALL)
            elements = json.loads(
                drawn.replace("&lt;", "<").replace("&gt;", ">").replace("&#96;", "`").replace("&amp;", "&")
            )
            line = stack.enter_context(open_line(plant, client=client_in(html)))
            at_once = AT_ONCE - 20
            for number, element in elements.items():
                for listener in (each["listener_id"] for each in element.get("events", [])):
                    for args in (['{"value":[{}]}', "null"], ["7"], ['{"label":"x"}'], []):
                        event = {"client_id": line.client, "id": int(number), "listener_id": listener, "args": args}
                        line.event("event", event)
                        sent, at_once = sent + 1, at_once - 1
                        time.sleep(0.0 if at_once > 0 else 1 / 45)
            assert line.lives()
        time.sleep(2.5)  # in which each page reads its data once more, by what was sent
    assert sent > 200 and refused(plant)["malformed"] > before


@pytest.mark.parametrize("query", ["next_message_id=x", "client_id=HERE", "client_id=HERE&tab_id=t", "tab_id=t"])
def test_a_connection_that_says_nothing_of_use_is_refused(plant: CloudPlant, since: list[str], query: str) -> None:
    query = query.replace("HERE", client_of(plant))
    base = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket&implicit_handshake=true&"
    if "next_message_id" in query:
        query += f"&client_id={client_of(plant)}&tab_id=t&document_id=d"
    with connect(plant.url.replace("http", "ws") + base + query, open_timeout=60) as line:
        line.send("40")
        said = []
        while not any(each.startswith("44") for each in said):
            said.append(str(line.recv(60)))
    assert "refused" in said[-1]


def test_by_post_it_is_no_different(plant: CloudPlant, since: list[str]) -> None:
    before = refused(plant)
    with httpx.Client(base_url=plant.url, timeout=60) as client:
        session = json.loads(client.get(_POLLING).text[1:])
        assert session["maxPayload"] == MAX_MESSAGE_BYTES
        way = f"{_POLLING}&sid={session['sid']}"
        assert client.post(way, content="40").text == "OK"
        for packet in NO_PACKETS:
            assert client.post(way, content=packet).status_code == 400, packet
        assert client.post(way, content=b"\xff\xfe").status_code == 400
        assert client.post(way, content="d=40").status_code == 400
        assert client.post(way, content="\x1e".join(['42["ack",{}]'] * 17)).status_code == 400
        large = client.post(way, content="4" + "x" * MAX_MESSAGE_BYTES)
        assert (large.status_code, list(large.json())) == (413, ["detail"])
        for _ in range(60):
            fast = client.post(way, content="\x1e".join(['42["ack",{}]'] * 16))
            if fast.status_code == 429:
                break
        assert (
            fast.status_code == 429 and int(fast.headers["retry-after"]) >= 1 and "come again" in fast.json()["detail"]
        )
        assert client.get(_POLLING.replace("4", "9")).status_code == 400
    after = refused(plant)
    assert all(after[why] > before[why] for why in ("large", "fast", "malformed"))


@given(st.text())
def test_whatever_comes_it_is_a_packet_or_it_is_not(text: str) -> None:
    assert is_packet(text) in (True, False)
    assert not is_packet(f"4{text}") or text[:1] in ("0", "1", "2")


@given(st.lists(st.one_of(st.text(), st.floats(), st.integers(), st.none(), st.lists(st.integers()))), st.text())
def test_an_event_that_is_let_through_is_one_to_nicegui(given_: list[object], rest: str) -> None:
    for event in (json.dumps(["event", *given_]), f'["event",{rest}]', f'["{rest}"]', rest):
        if is_packet(f"42{event}"):
            name, *_ = page_json.loads(event)
            assert isinstance(name, str)

"""Orders and reports over HTTP: the real routes at one end, a station's own client at the other."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import msgspec
import pytest

from agent.mailboxes import Inbox, ReportBox
from agent.orders_loop import OrdersLoop
from agent.uplink.orders_http import HttpOrders
from cloud.api.devices import MAX_REPORT_BYTES
from cloud.ports.rollouts import StandingOrder
from cloud.rollout.rollout_states import MemberEvent
from contract.codec import decode_control
from contract.errors import BadMessage, LinkDown, RefusedError
from contract.messages import DesiredState, ReportedState
from tests.cloud.api.conftest import Api
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_tables import T0

S1 = "token of s1"
REPORT = ReportedState("s1", "b1", T0, "e" * 64, "COMMITTED", "r1-s1", "e" * 64, desired_seq=1)


def order(api: Api, envelope: str, seq: int = 1) -> None:
    """Make `envelope` the standing order of s1."""
    rollout = api.tables.rollouts.create(f"v{seq}", "d" * 64, [["s1"]], (), "operator", T0) if seq == 1 else 1
    member = api.tables.rollouts.members(rollout)[0]
    event = MemberEvent.ORDER if seq == 1 else MemberEvent.RECALL
    api.tables.rollouts.order(member, event, StandingOrder("s1", seq, "d" * 64, envelope, False), "", T0)


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60.0, trust_env=False) as client:
        yield client


@pytest.fixture
def station(api: Api, http: httpx.Client) -> HttpOrders:
    http.headers["Authorization"] = f"Bearer {S1}"
    return HttpOrders(http, api.url, "s1", HandClock())


def test_a_station_gets_its_standing_order_once_and_the_next_one_when_there_is_one(
    api: Api, station: HttpOrders
) -> None:
    orders = station
    assert orders.poll() == DesiredState("s1", "")
    assert orders.poll() is None
    order(api, "an envelope")
    assert orders.poll() == DesiredState("s1", "an envelope")
    assert orders.poll() is None
    order(api, "its recall", 2)
    assert orders.poll() == DesiredState("s1", "its recall")


def test_an_unchanged_order_is_304_without_a_body(api: Api) -> None:
    first = api.get("/v1/orders/s1", S1)
    assert decode_control(first.content, DesiredState) == DesiredState("s1", "")
    again = api.get("/v1/orders/s1", S1, headers={"If-None-Match": f'"other", {first.headers["ETag"]}'})
    assert (again.status_code, again.content) == (304, b"")


def test_nobody_else_gets_a_stations_orders_or_reports_for_it(api: Api, http: httpx.Client) -> None:
    for token in (None, "token of s2", "the operator's token"):
        assert api.get("/v1/orders/s1", token).status_code == 401
        assert api.post("/v1/reports/s1", token, content=msgspec.json.encode(REPORT)).status_code == 401
    assert api.post("/v1/reports/s2", "token of s2", content=msgspec.json.encode(REPORT)).status_code == 403
    with pytest.raises(RefusedError, match="401"):
        HttpOrders(http, api.url, "s1", HandClock()).poll()


def test_a_report_arrives_where_the_brokers_reports_do(api: Api, station: HttpOrders) -> None:
    station.report(REPORT)
    said = {each.station: each for each in api.tables.stations.status()}["s1"]
    assert (said.update_state, said.deployment, said.bundle) == ("COMMITTED", "r1-s1", "e" * 64)


def test_what_is_no_report_is_422_and_too_much_is_413(api: Api) -> None:
    for body in (b"", b"{}", b"[" * 5_000, b"\xff", msgspec.json.encode(REPORT).replace(b'"at":', b'"at":-')):
        assert api.post("/v1/reports/s1", S1, content=body).status_code == 422
    assert api.post("/v1/reports/s1", S1, content=bytes(MAX_REPORT_BYTES + 1)).status_code == 413


def test_a_server_that_is_away_or_another_program_is_a_link_that_is_down(api: Api, http: httpx.Client) -> None:
    away = HttpOrders(http, "http://127.0.0.1:9", "s1", HandClock())
    with pytest.raises(LinkDown):
        away.poll()
    with pytest.raises(LinkDown):
        away.report(REPORT)
    with pytest.raises(RefusedError, match="404"):
        HttpOrders(http, f"{api.url}/elsewhere", "s1", HandClock()).poll()


def answering(**answer) -> HttpOrders:
    transport = httpx.MockTransport(lambda _request: httpx.Response(**answer))
    return HttpOrders(httpx.Client(transport=transport), "http://cloud", "s1", HandClock())


def test_answers_of_any_length_and_of_other_stations_are_not_taken() -> None:
    for body in (b"x" * 2_000_000, b"", b"{}", msgspec.json.encode(DesiredState("s2", "theirs"))):
        with pytest.raises(BadMessage):
            answering(status_code=200, content=body).poll()


@pytest.mark.parametrize("status", [301, 302, 304, 429, 500, 503])
def test_trouble_and_captive_portals_are_tried_again(status: int) -> None:
    with pytest.raises(LinkDown, match=str(status)):
        answering(status_code=status, headers={"Location": "http://portal"}).poll()


def test_a_server_that_asks_to_be_left_alone_is() -> None:
    clock, asked = HandClock(), []

    def busy(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(503, headers={"Retry-After": "60"})

    orders = HttpOrders(httpx.Client(transport=httpx.MockTransport(busy)), "http://cloud", "s1", clock)
    for _ in range(3):
        with pytest.raises(LinkDown):
            orders.poll()
    assert len(asked) == 1
    clock.forward(61)
    with pytest.raises(LinkDown, match="503"):
        orders.poll()


def test_the_loop_asks_every_few_minutes_and_reports_at_once(api: Api, station: HttpOrders) -> None:
    clock, inbox, box = HandClock(), Inbox(), ReportBox()
    loop = OrdersLoop(station, inbox, box, clock, needed=lambda: True, roll=lambda: 1.0)
    order(api, "an envelope")
    loop.tick()
    clock.forward(30)
    loop.tick()
    assert inbox.take(0.0) == DesiredState("s1", "an envelope")
    order(api, "its recall", 2)
    box.publish(REPORT)
    clock.forward(299)
    loop.tick()
    assert inbox.take(0.0) is None
    assert {each.station: each for each in api.tables.stations.status()}["s1"].update_state == "COMMITTED"
    clock.forward(1)
    loop.tick()
    assert inbox.take(0.0) == DesiredState("s1", "its recall")


def test_it_asks_nothing_while_a_broker_is_there_and_not_at_once_when_it_is_lost(api: Api, station: HttpOrders) -> None:
    clock, inbox, needed = HandClock(), Inbox(), [False]
    loop = OrdersLoop(station, inbox, ReportBox(), clock, needed=lambda: needed[0], roll=lambda: 0.5)
    order(api, "an envelope")
    clock.forward(1_000)
    loop.tick()
    needed[0] = True
    for waited_s, asked in ((0, False), (14, False), (1, True)):
        clock.forward(waited_s)
        loop.tick()
        assert (inbox.take(0.0) is not None) is asked, waited_s


def test_a_report_that_did_not_get_through_is_sent_later(api: Api, station: HttpOrders) -> None:
    clock, box = HandClock(), ReportBox()

    class Flaky:
        down = True

        def poll(self) -> DesiredState | None:
            return None

        def report(self, state: ReportedState) -> None:
            if self.down:
                raise LinkDown("away")
            station.report(state)

    flaky = Flaky()
    loop = OrdersLoop(flaky, Inbox(), box, clock, needed=lambda: True, roll=lambda: 0.0)
    box.publish(REPORT)
    loop.tick()
    flaky.down = False
    loop.tick()
    assert {each.station: each for each in api.tables.stations.status()}["s1"].update_state == ""  # it waits first
    clock.forward(1.0)
    loop.tick()
    assert {each.station: each for each in api.tables.stations.status()}["s1"].update_state == "COMMITTED"

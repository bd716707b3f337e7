"""Settings ordered for stations: numbered, signed, on record, and sent in one retained message with the order (DESIGN 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cloud.config_orders import ConfigOrders
from cloud.ports.rollouts import StandingOrder
from cloud.registry.keys import Keys, init_keys
from cloud.registry.orders import CurrentOrderSigner
from cloud.rollout_loop import RolloutLoop, RolloutSettings
from cloud.store.configurations import Configurations
from cloud.store.tables import desired
from contract.config_states import settings_digest
from contract.errors import InvalidConfig, NotFound, RefusedError
from contract.messages import DesiredState, ReportedState
from contract.signature import verify_configuration
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_fleet import FakeReleases
from tests.fakes.cloud_tables import Tables
from tests.fakes.link import RecordingLink

SHORT = "[windows]\nframes = 64\n"


@dataclass
class Plant:
    """Two stations, their settings, and the loop that sends them."""

    tables: Tables
    keys: Keys
    clock: HandClock
    link: RecordingLink
    order_keys: str = ""

    def __post_init__(self) -> None:
        self.book = Configurations(self.tables.database)
        self.orders = ConfigOrders(
            configurations=self.book,
            stations=self.tables.stations,
            signer=CurrentOrderSigner(self.keys.folder),
            now=self.clock.now,
        )
        self.loop = RolloutLoop(
            rollouts=self.tables.rollouts,
            stations=self.tables.stations,
            releases=FakeReleases(),
            signer=CurrentOrderSigner(self.keys.folder),
            link=self.link,
            settings=RolloutSettings(),
            now=self.clock.now,
            configurations=self.book,
            order_keys=lambda: self.order_keys,
        )

    def give(self, station: str, envelope: str) -> None:
        """Let an order stand for a station, as a rollout does."""
        order = StandingOrder(station, 1, "a" * 64, envelope, published=False)
        with self.tables.database.write() as connection:
            values = {"station": station, "desired_seq": 1, "bundle": order.bundle, "envelope": envelope}
            connection.execute(desired.insert().values(**values, published=False))

    def sent(self) -> list[DesiredState]:
        """Take a turn and return the desired states that it sent."""
        before = len(self.link.published)
        self.loop.tick()
        self.clock.forward(1.0)
        return self.link.desired()[before:]


@pytest.fixture
def plant(tables: Tables, tmp_path: Path) -> Plant:
    clock = HandClock()
    tables.add_online("s1", "s2", now=clock.now())
    return Plant(tables, init_keys(tmp_path / "keys"), clock, RecordingLink())


def test_settings_are_signed_for_each_station_and_sent_once(plant: Plant) -> None:
    ordered = plant.orders.order(["s1", "s2", "s1"], SHORT, 30.0, "shorter", "operator")
    assert [(each["station"], each["config_seq"]) for each in ordered] == [("s1", 1), ("s2", 1)]
    sent = plant.sent()
    assert [state.station for state in sent] == ["s1", "s2"] and plant.sent() == []
    order = verify_configuration(sent[0].configuration, [plant.keys.order_key()])
    assert (order.station, order.settings, order.config_seq, order.probation_s) == ("s1", SHORT, 1, 30.0)
    assert order.deployment == ordered[0]["deployment"] and order.expires_at > order.issued_at
    assert all(retain and qos == 1 for _, _, qos, retain in plant.link.published)


def test_the_number_only_grows_and_taking_settings_back_is_an_order_too(plant: Plant) -> None:
    plant.orders.order(["s1"], SHORT, 30.0, "", "operator")
    plant.orders.order(["s1"], "", 30.0, "enough", "operator")
    (state,) = plant.sent()
    order = verify_configuration(state.configuration, [plant.keys.order_key()])
    assert (order.settings, order.config_seq) == ("", 2)
    entries = plant.tables.audit.entries()
    assert [(e.actor, e.act) for e in entries] == [("operator", "configure")] * 2
    assert "no remote settings, config_seq 2: enough" in entries[1].detail
    assert plant.tables.audit.first_broken() is None


def test_one_retained_message_carries_the_order_the_settings_and_the_order_keys(plant: Plant) -> None:
    plant.give("s1", "an order")
    assert plant.sent() == [DesiredState("s1", "an order")]
    plant.orders.order(["s1"], SHORT, 30.0, "", "operator")
    (both,) = plant.sent()
    assert both.envelope == "an order" and both.configuration
    plant.order_keys = "new keys"
    sent = {state.station: state for state in plant.sent()}
    assert sent["s1"] == DesiredState("s1", "an order", configuration=both.configuration, order_keys="new keys")
    assert sent["s2"] == DesiredState("s2", "", order_keys="new keys")
    assert plant.sent() == []
    plant.tables.add_online("s3", now=plant.clock.now())
    assert [state.station for state in plant.sent()] == ["s3"], "a new station learns the keys too"


@pytest.mark.parametrize("down", ["the link", "the broker's memory"])
def test_what_the_broker_did_not_take_or_forgot_is_sent_again(plant: Plant, down: str) -> None:
    plant.order_keys = "keys"
    plant.orders.order(["s1"], SHORT, 30.0, "", "operator")
    if down == "the link":
        plant.link.up = False
        assert plant.sent() == []
        plant.link.up = True
    else:
        plant.sent()
        plant.link.reconnect()
    sent = plant.sent()
    assert [bool(state.configuration) for state in sent] == [True, False] and {s.order_keys for s in sent} == {"keys"}


def test_a_stale_mark_does_not_hide_newer_settings(plant: Plant) -> None:
    plant.orders.order(["s1"], SHORT, 30.0, "", "operator")
    old = plant.book.standing("s1")
    plant.orders.order(["s1"], "", 30.0, "", "operator")
    assert old is not None
    plant.book.mark_published(old)
    assert [each.config_seq for each in plant.book.unpublished()] == [2]
    with pytest.raises(RefusedError, match="somebody else"):
        plant.book.put(old, "operator")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p: p.orders.order(["s1", "s9"], SHORT, 30.0, "", "operator"), NotFound, "no station 's9'"),
        (lambda p: p.orders.order(["s1"], "[line\n", 30.0, "", "operator"), InvalidConfig, "no TOML"),
        (lambda p: p.orders.order(["s1"], "a = " + "[" * 9999, 30.0, "", "operator"), InvalidConfig, "no TOML"),
        (lambda p: p.orders.order(["s1"], "#" * 20_000, 30.0, "", "operator"), InvalidConfig, "20000 bytes"),
        (lambda p: p.orders.order(["s1"], SHORT, 0.0, "", "operator"), InvalidConfig, "probation"),
        (lambda p: p.orders.show("s9"), NotFound, "no station 's9'"),
    ],
)
def test_what_cannot_be_ordered_is_refused_and_nothing_is(
    plant: Plant, call: Callable[[Plant], object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(plant)
    assert plant.book.standing("s1") is None and plant.tables.audit.entries() == []


def test_what_was_ordered_and_what_is_reported_stand_side_by_side(plant: Plant) -> None:
    assert plant.orders.show("s1")["ordered"] is None
    (ordered,) = plant.orders.order(["s1"], SHORT, 30.0, "shorter", "operator")
    report = ReportedState(
        "s1", "b1", 1.0, "", "IDLE", configuration=settings_digest(SHORT), config_state="COMMITTED",
        config_deployment=ordered["deployment"], config_seq=1,
    )  # fmt: skip
    plant.tables.stations.commit([], [report], plant.clock.now())
    shown = plant.orders.show("s1")
    assert shown["ordered"]["configuration"] == shown["reported"]["configuration"] == settings_digest(SHORT)
    assert (shown["reported"]["state"], shown["reported"]["config_seq"]) == ("COMMITTED", 1)
    (status, _) = plant.tables.stations.status()
    assert (status.config_state, status.config_deployment) == ("COMMITTED", ordered["deployment"])


def test_settings_that_were_not_followed_are_signed_anew_before_they_expire(plant: Plant) -> None:
    (ordered, _) = plant.orders.order(["s1", "s2"], SHORT, 30.0, "shorter", "operator")
    followed = ReportedState(
        "s2", "b1", 1.0, "", "IDLE", config_state="COMMITTED", config_deployment=ordered["deployment"], config_seq=1
    )
    plant.tables.stations.commit([], [followed], plant.clock.now())
    plant.sent()
    plant.clock.forward(14 * 86_400.0)
    plant.orders.renew()
    assert plant.sent() == []
    plant.clock.forward(17 * 86_400.0)
    # Refused because it had expired meanwhile: that is no end.
    refused = ReportedState(
        "s1", "b1", 1.0, "", "IDLE", config_state="REFUSED", config_deployment=ordered["deployment"], config_seq=0
    )
    plant.tables.stations.commit([], [refused], plant.clock.now())
    plant.orders.renew()
    (state,) = plant.sent()
    order = verify_configuration(state.configuration, [plant.keys.order_key()])
    assert (order.station, order.settings, order.config_seq, order.probation_s) == ("s1", SHORT, 2, 30.0)
    assert order.deployment == ordered["deployment"] and order.expires_at > plant.clock.now()
    assert [e.detail for e in plant.tables.audit.entries() if e.act == "renew"] == ["s1: settings 1 signed anew as 2"]
    plant.orders.renew()
    assert plant.sent() == []


def test_settings_that_somebody_orders_meanwhile_are_not_renewed_over(plant: Plant) -> None:
    plant.orders.order(["s1"], SHORT, 30.0, "", "operator")
    old = plant.book.standing("s1")
    plant.orders.order(["s1"], "", 30.0, "", "operator")
    assert old is not None
    with pytest.raises(RefusedError, match="somebody else"):
        plant.book.renew(old, replace(old, config_seq=3))
    assert [each.settings for each in plant.book.all_standing()] == [""]


def test_the_number_goes_on_after_what_a_station_says_it_followed(plant: Plant) -> None:
    """The database is a restored one: settings that count from its own number would all be refused as old."""
    report = ReportedState("s1", "b1", 1.0, "", "IDLE", config_state="COMMITTED", config_seq=50)
    plant.tables.stations.commit([], [report], plant.clock.now())
    (ordered,) = plant.orders.order(["s1"], SHORT, 30.0, "", "operator")
    assert ordered["config_seq"] == 51

"""Connections that break inside a packet, at its first byte, in its header, in its middle and before its last byte."""

from __future__ import annotations

import pytest

from tests.chaos.faults import Do, Fault
from tests.chaos.mqtt_framer import Kind
from tests.chaos.network.plant import Plant
from tests.chaos.waiting import wait_for

# Of a PUBLISH of some hundred bytes to some thousand: fixed header, topic, packet id and properties, payload.
_OF_PUBLISH = (0, 1, 2, 4, 15, 26, 27, 28, 300)
# Of a PUBACK of four bytes (2 of them the id), or of five or six where it has a reason.
_OF_PUBACK = (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("side", "kind", "offsets"),
    [
        ("to_stations", Kind.PUBLISH, (2, 28)),
        ("to_stations", Kind.PUBACK, (1, 3)),
        pytest.param("to_stations", Kind.PUBLISH, _OF_PUBLISH, marks=pytest.mark.long),
        pytest.param("to_stations", Kind.PUBACK, _OF_PUBACK, marks=pytest.mark.long),
        # A worker's link waits a second before it connects again.
        pytest.param("to_cloud", Kind.PUBLISH, _OF_PUBLISH, marks=pytest.mark.long),
        pytest.param("to_cloud", Kind.PUBACK, _OF_PUBACK, marks=pytest.mark.long),
    ],
)
def test_a_cut_inside_a_packet_loses_and_doubles_nothing(
    plant: Plant, side: str, kind: Kind, offsets: tuple[int, ...]
) -> None:
    station = plant.begin()
    proxy = getattr(plant, side)
    # Summaries and their acknowledgements run up on the station's side, and down and up on the worker's.
    away = proxy.up if (side == "to_stations") is (kind is Kind.PUBLISH) else proxy.down
    for at_byte in offsets:
        topic = "up/sum" if kind is Kind.PUBLISH else ""
        fault = away.add(Fault(kind, Do.CUT, first=2, at_byte=at_byte, topic_ends=topic))
        until_cut = proxy.accepted
        station.produce(3)
        wait_for(lambda fault=fault, before=until_cut: fault.done == 1 and proxy.accepted > before)
        away.clear()
        plant.settle()
    assert len(plant.produced) == 3 * len(offsets)


@pytest.mark.long
def test_a_cut_inside_an_acknowledgement_of_the_cloud_only_costs_resending(plant: Plant) -> None:
    station = plant.begin()
    for at_byte in (1, 20, 60):
        fault = plant.to_stations.down.add(Fault(Kind.PUBLISH, Do.CUT, at_byte=at_byte, topic_ends="dn/ack"))
        station.produce(3)
        wait_for(lambda fault=fault: fault.done == 1)
        plant.to_stations.down.clear()
        plant.settle()


@pytest.mark.long
@pytest.mark.parametrize("kind", [Kind.CONNECT, Kind.SUBSCRIBE])
def test_a_connection_that_breaks_while_it_is_made_is_made_again(plant: Plant, kind: Kind) -> None:
    station = plant.begin()
    for at_byte in (1, 7):
        fault = plant.to_stations.up.add(Fault(kind, Do.CUT, at_byte=at_byte))
        plant.to_stations.break_all()
        wait_for(lambda fault=fault: fault.done == 1)
        station.produce(2)
    plant.settle()
    for at_byte in (1, 5):
        fault = plant.to_cloud.up.add(Fault(kind, Do.CUT, at_byte=at_byte))
        plant.to_cloud.break_all()
        wait_for(lambda fault=fault: fault.done == 1)
        station.produce(2)
    plant.settle()


def test_resets_in_the_middle_of_everything_lose_and_double_nothing(plant: Plant) -> None:
    plant.begin(stations=2)
    for _ in range(4):
        for station in plant.stations:
            station.produce(5)
        plant.to_stations.break_all()
        for station in plant.stations:
            station.produce(5)
        plant.to_cloud.break_all()
    plant.settle()

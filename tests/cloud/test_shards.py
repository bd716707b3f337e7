"""Each station is with one broker, and a broker that is added moves few."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.ports.shards import shard_of, split_shard
from contract.errors import InvalidConfig

SHARDS = st.lists(st.integers(1, 65535).map(lambda port: f"broker:{port}"), min_size=1, max_size=8, unique=True)
STATIONS = [f"line{number}-cam1" for number in range(300)]


@settings(max_examples=25)
@given(shards=SHARDS, data=st.data())
def test_the_order_in_which_they_are_written_does_not_matter(shards: list[str], data: st.DataObject) -> None:
    other = data.draw(st.permutations(shards))
    assert all(shard_of(station, shards) == shard_of(station, other) for station in STATIONS[:50])


@settings(max_examples=25)
@given(shards=SHARDS)
def test_one_that_is_added_takes_its_share_and_moves_nobody_else(shards: list[str]) -> None:
    more = [*shards, "new:1883"]
    before = {station: shard_of(station, shards) for station in STATIONS}
    after = {station: shard_of(station, more) for station in STATIONS}
    moved = [station for station in STATIONS if before[station] != after[station]]
    assert all(after[station] == "new:1883" for station in moved)
    expected = len(STATIONS) / len(more)
    # Binomial: five standard deviations.
    assert abs(len(moved) - expected) <= 5 * (expected * (1 - 1 / len(more))) ** 0.5


def test_they_are_spread_evenly() -> None:
    counts = Counter(shard_of(f"s{number}", ["a:1", "b:1", "c:1", "d:1"]) for number in range(4000))
    assert len(counts) == 4 and all(850 < count < 1150 for count in counts.values())


def test_where_a_station_is_does_not_change_with_the_version() -> None:
    """Pinned: another hash would send every station's orders to a broker that it is not with."""
    shards = ["10.0.0.7:1883", "10.0.0.8:1883", "10.0.0.9:1883"]
    assert [shard_of(f"line{n}-cam1", shards)[7] for n in range(8)] == list("98799898")


@pytest.mark.parametrize(
    ("text", "parts"),
    [("broker:1883", ("broker", 1883)), ("10.0.0.7:1", ("10.0.0.7", 1)), ("[::1]:65535", ("::1", 65535))],
)
def test_a_broker_is_a_host_and_a_port(text: str, parts: tuple[str, int]) -> None:
    assert split_shard(text) == parts


@pytest.mark.parametrize("text", ["", "broker", "broker:", ":1883", "broker:0", "broker:65536", "broker:x", "b:\u0661"])
def test_what_is_no_broker_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidConfig, match="is no broker") as error:
        split_shard(text)
    assert "HOST:PORT" in error.value.hint

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import BadMessage, InvalidConfig
from contract.topics import AGGREGATOR_STATE, UP_CHANNELS, Channel, parse_topic, shared_filter, topic

stations = st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,62}\Z")


def test_topics_are_those_written_down() -> None:
    # Frozen: deployed stations and brokers' access rules name them. A change is a new prefix.
    assert {topic("s1", channel) for channel in Channel} == {
        "pl/v1/d/s1/up/sum",
        "pl/v1/d/s1/up/state",
        "pl/v1/d/s1/up/rep",
        "pl/v1/d/s1/up/res",
        "pl/v1/d/s1/dn/des",
        "pl/v1/d/s1/dn/cmd",
        "pl/v1/d/s1/dn/ack",
    }
    assert AGGREGATOR_STATE == "pl/v1/agg/state"
    assert shared_filter(Channel.SUMMARY) == "$share/agg/pl/v1/d/+/up/sum"


def test_up_channels_are_those_a_station_publishes() -> None:
    assert set(UP_CHANNELS) == {channel for channel in Channel if channel.value.startswith("up/")}


@given(stations, st.sampled_from(list(Channel)))
def test_a_topic_parses_to_what_made_it(station: str, channel: Channel) -> None:
    assert parse_topic(topic(station, channel)) == (station, channel)


@given(
    st.text(max_size=80)
    | st.lists(st.sampled_from(["pl", "v1", "d", "s1", "up", "sum", "+", "#", "", ".."])).map("/".join)
)
def test_any_topic_that_parses_is_one_we_make(text: str) -> None:
    try:
        station, channel = parse_topic(text)
    except BadMessage as error:
        assert error.one_line()
        return
    assert topic(station, channel) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "pl/v1/d/s1/up",
        "pl/v1/d/s1/up/sum/",
        "/pl/v1/d/s1/up/sum",
        "pl/v1/d/s1/up/sum/more",
        "pl/v1/d//up/sum",
        "pl/v1/d/+/up/sum",
        "pl/v1/d/#",
        "pl/v1/d/../up/sum",
        "pl/v1/d/S1/up/sum",
        "pl/v1/d/s1\n/up/sum",
        "pl/v1/d/s1/up/SUM",
        "pl/v1/d/s1/up/des",
        "pl/v1/d/s1/dn/sum",
        "pl/v2/d/s1/up/sum",
        "pl/v1/agg/state",
        "$share/agg/pl/v1/d/s1/up/sum",
        "$SYS/broker/uptime",
        "pl/v1/d/" + "s" * 64 + "/up/sum",
        "pl/v1/d/s1/up/sum\0",
        "x" * 65_535,
    ],
)
def test_a_hostile_topic_is_a_bad_message(text: str) -> None:
    with pytest.raises(BadMessage) as caught:
        parse_topic(text)
    assert len(caught.value.one_line()) < 300


@pytest.mark.parametrize("station", ["", "+", "#", "a/b", "A", "../x", "s1\n"])
def test_no_topic_is_made_of_what_is_no_station(station: str) -> None:
    with pytest.raises(InvalidConfig):
        topic(station, Channel.SUMMARY)

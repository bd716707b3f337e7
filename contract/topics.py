"""The MQTT topic schema (DESIGN 5); frozen: a change is a new version prefix.

pl/v1/d/{station}/up/sum    QoS 1           summaries; no expiry, ever
pl/v1/d/{station}/up/state  QoS 1 retained  birth and Will
pl/v1/d/{station}/up/rep    QoS 1 retained  reported state
pl/v1/d/{station}/up/res    QoS 1           command results
pl/v1/d/{station}/dn/des    QoS 1 retained  desired state
pl/v1/d/{station}/dn/cmd    QoS 1           commands
pl/v1/d/{station}/dn/ack    QoS 0           committed sequence ranges and credit
pl/v1/agg/state             QoS 1 retained  aggregator liveness
pl/v1/agg/notice            QoS 1           what people are told (JSON, docs/metrics.md); stations do not listen to it
"""

from __future__ import annotations

from enum import Enum

from contract.errors import BadMessage, InvalidConfig
from contract.ids import check_station_id

_PREFIX = "pl/v1/d"
AGGREGATOR_STATE = "pl/v1/agg/state"
NOTICE = "pl/v1/agg/notice"
SHARED_GROUP = "agg"


class Channel(str, Enum):
    """What a station's topic carries; the value is the topic's last two levels."""

    SUMMARY = "up/sum"
    STATE = "up/state"
    REPORTED = "up/rep"
    RESULT = "up/res"
    DESIRED = "dn/des"
    COMMAND = "dn/cmd"
    ACK = "dn/ack"


UP_CHANNELS = (Channel.SUMMARY, Channel.STATE, Channel.REPORTED, Channel.RESULT)


def topic(station: str, channel: Channel) -> str:
    """Return the topic on which `station` carries `channel`."""
    return f"{_PREFIX}/{check_station_id(station)}/{channel.value}"


def shared_filter(channel: Channel) -> str:
    """Return the shared subscription by which cloud workers split every station's `channel` among themselves."""
    return f"$share/{SHARED_GROUP}/{_PREFIX}/+/{channel.value}"


def parse_topic(text: str) -> tuple[str, Channel]:
    """Return (station, channel) of a station's topic.

    Raises:
        BadMessage: it is none of the topics above.
    """
    levels = text.split("/")
    if len(levels) != 6 or "/".join(levels[:3]) != _PREFIX:
        raise BadMessage(f"'{text[:120]}' is no topic of ours", hint=f"stations publish under {_PREFIX}/STATION/up/")
    try:
        return check_station_id(levels[3]), Channel("/".join(levels[4:]))
    except (InvalidConfig, ValueError) as error:
        raise BadMessage(f"'{text[:120]}' names no station and channel of ours") from error

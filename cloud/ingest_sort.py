"""What arrivals say: messages of ours by kind, and dead letters with the reason. Nothing a sender does raises here."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache

from cloud.ports.batch import Batch, Named, named
from cloud.ports.link import Arrival
from cloud.window_check import window_faults
from contract.codec import decode_control, decode_summary, decode_summary_key
from contract.errors import BadMessage
from contract.messages import CommandResult, ReportedState, StationState, Summary
from contract.topics import Channel, parse_topic, topic

# A summary has some 11 KB; with the most labels a model may have and every sample noted, some 200.
MAX_PAYLOAD_BYTES = 1 << 20
# 2020-01-01, before the first station: a clock that says less and claims to be synced is wrong.
_OLDEST = 1_577_836_800.0
_AHEAD_S = 10 * 365.25 * 86_400.0

# Ten thousand stations have forty thousand topics, and each comes again every minute.
_topic_of = lru_cache(maxsize=65_536)(parse_topic)


def sort_arrivals(arrivals: Sequence[Arrival], now: float) -> Batch:
    """Return what the arrivals say. What is no message of ours, or speaks for another station, is dead, with the reason.

    Args:
        arrivals: in the order they came.
        now: the cloud's clock, Unix seconds: a synced station's cannot be decades away from it.
    """
    batch = Batch()
    for arrival in arrivals:
        try:
            _sort_one(arrival, batch, now)
        except BadMessage as error:
            batch.dead.append((arrival.topic, error.one_line(), arrival.payload))
    _bury_bad_windows(batch)
    return batch


def _sort_one(arrival: Arrival, batch: Batch, now: float) -> None:
    station, channel = _topic_of(arrival.topic)
    if channel is Channel.SUMMARY:
        try:
            summary = _summary(arrival.payload, now)
        except BadMessage:
            if (key := decode_summary_key(arrival.payload)) is not None and key.station == station:
                batch.refused.append(Named(key.station, key.boot, key.seq, zlib.crc32(arrival.payload)))
            raise
        _check_sender(station, summary.header.station)
        batch.summaries.append((summary, arrival.payload))
        return
    if len(arrival.payload) > MAX_PAYLOAD_BYTES:
        raise BadMessage(f"a message of {len(arrival.payload)} bytes", hint=f"at most {MAX_PAYLOAD_BYTES} are read")
    if channel is Channel.STATE:
        state = decode_control(arrival.payload, StationState)
        _check_sender(station, state.station)
        batch.states.append(state)
    elif channel is Channel.REPORTED:
        report = decode_control(arrival.payload, ReportedState)
        _check_sender(station, report.station)
        batch.reports.append(report)
    elif channel is Channel.RESULT:
        result = decode_control(arrival.payload, CommandResult)
        _check_sender(station, result.station)
        batch.results.append(result)
    else:
        raise BadMessage(f"'{channel.value}' is for stations, not for the cloud")


def _summary(payload: bytes, now: float) -> Summary:
    """Return the summary in `payload`, its window aside, as one that later steps can rely on.

    Raises:
        BadMessage: they could not: what is stored must never make them stumble.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise BadMessage(f"a summary of {len(payload)} bytes", hint=f"at most {MAX_PAYLOAD_BYTES} are read")
    summary = decode_summary(payload)
    header = summary.header
    if not summary.accounting.closes():
        raise BadMessage(f"summary {header.seq} of '{header.station}' does not account for every frame")
    if header.clock_synced:
        # A clock that was never set says so and is believed; the order of its windows is in the sequence.
        if header.started_at < _OLDEST or header.ended_at < _OLDEST:
            raise BadMessage(f"summary {header.seq} of '{header.station}' is from before 2020 by a clock called synced")
        # The cloud's own clock may be the one that is wrong.
        if now >= _OLDEST and max(header.started_at, header.ended_at) > now + _AHEAD_S:
            raise BadMessage(f"summary {header.seq} of '{header.station}' is from years ahead by a clock called synced")
    return summary


def _check_sender(station: str, said_by: str) -> None:
    if said_by != station:
        raise BadMessage(f"a message on '{station}'s topic says it is from '{said_by[:63]}'")


def _bury_bad_windows(batch: Batch) -> None:
    """Move summaries whose window later steps could not rely on to the dead; their stations are told that they are settled."""
    faults = window_faults([summary.window for summary, _ in batch.summaries])
    if not faults:
        return
    for index, fault in faults.items():
        summary, payload = batch.summaries[index]
        batch.dead.append((topic(summary.header.station, Channel.SUMMARY), fault, payload))
        batch.refused.append(named(summary, payload))
    batch.summaries = [each for index, each in enumerate(batch.summaries) if index not in faults]

"""Asking stations for the pixels that people should look at: many when an alarm is open, a few a day when none is."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from cloud.drift_notices import COMMAND_VALID_S, camera_argument
from cloud.ports.alarms import Alarm
from cloud.ports.link import Link
from cloud.ports.records import CommandLog
from cloud.ports.samples import Sample, SampleBook
from cloud.ports.series import series_name, split_series
from cloud.ports.stations import StationBook
from cloud.review.choose import Candidate, choose_for_review, random_places
from contract.codec import encode_control
from contract.messages import Command
from contract.topics import Channel, topic

_DAY_S = 86_400.0
_ROUTINE_LOOK_S = 600.0
# A sixth of a day after the last of six is a whole one.
_ROUNDING = 1e-6
# Of those that share an alarm so many are asked: what they share is seen on a few, and a retrain learns one lesson.
_MOST_MEMBERS = 3


@dataclass(frozen=True, slots=True)
class RequestRules:
    """How many frames people look at: `per_alarm` for an alarm, `routine_per_day` of each camera without one; `audit_share` of them
    drawn at random. What an alarm wants and has not come after `ask_again_s` is replaced, or asked for again."""

    per_alarm: int
    audit_share: float
    ask_again_s: float
    routine_per_day: int = 0


class ReviewRequests:
    """One thread's."""

    def __init__(
        self,
        stations: StationBook,
        samples: SampleBook,
        commands: CommandLog,
        link: Link,
        rules: RequestRules,
        now: Callable[[], float],
    ) -> None:
        self._stations = stations
        self._samples, self._commands, self._link = samples, commands, link
        self._rules, self._now = rules, now
        self._looked_at: float | None = None

    def for_alarm(self, alarm: Alarm, whose: Callable[[str], Sequence[str]]) -> None:
        """Ask for pixels until as many parts as the budget allows are before people.

        `whose` returns which series the alarm of a name is of, strongest evidence first. Of many that share it a few are asked,
        those first that were asked before, and the budget is split between them; what one cannot fill the others do at the next
        call.
        """
        now, rules = self._now(), self._rules
        asked = self._samples.of_alarm(alarm.id)
        coming = [s for s in asked if s.received_at is not None or (s.requested_at or 0) > now - rules.ask_again_s]
        lost = [s for s in asked if s not in coming]
        wanted = rules.per_alarm - len(coming)
        members = self._asked_members(whose(alarm.series), asked, lost) if wanted > 0 else []
        for number, series in enumerate(members):
            share = -(-wanted // (len(members) - number))
            shown = [s for s in coming if _series_of(s) == series]
            wanted -= self._ask_for(alarm, series, shown, [s for s in lost if _series_of(s) == series], share)

    def _asked_members(self, whose: Sequence[str], asked: Sequence[Sample], lost: Sequence[Sample]) -> list[str]:
        """Return which of those that have the alarm are asked; who keeps its frames to itself comes last."""
        if len(whose) <= 1:
            return list(whose)
        online = {status.station for status in self._stations.status() if status.online}
        known = {_series_of(sample) for sample in asked}
        reached = [series for series in whose if split_series(series)[0] in online]
        chosen = sorted(reached, key=lambda series: series not in known)[:_MOST_MEMBERS]
        return sorted(chosen, key=lambda series: sum(_series_of(sample) == series for sample in lost))

    def _ask_for(self, alarm: Alarm, series: str, shown: Sequence[Sample], lost: Sequence[Sample], wanted: int) -> int:
        """Ask one series for at most `wanted` frames and return for how many."""
        station, camera = split_series(series)
        found = self._samples.unasked(station, camera, alarm.seen_at)
        chosen = self._choose(found, shown, {s.part for s in lost}, wanted)
        # A command can be lost with a station's process, so its frames are asked for again; but after the new ones, for a
        # station that no longer keeps them would otherwise be asked for nothing else.
        chosen += [s.sample for s in lost][: wanted - len(chosen)]
        self._ask(station, camera, chosen, alarm.id)
        return len(chosen)

    def routinely(self, series: Collection[str]) -> None:
        """Ask each of these series, which have no alarm, for its next frames of the day: labels that tell how right its model is.

        They are spread over the day, or they would all be of one shift. A day is by the cloud's clock; a frame is of the last day
        by its station's. A station that is away is not asked: it would not hear, and the day's frames were used up.
        """
        now, per_day = self._now(), self._rules.routine_per_day
        looked = self._looked_at is not None and 0.0 <= now - self._looked_at < _ROUTINE_LOOK_S
        if per_day <= 0 or looked or not self._link.connected():
            return
        self._looked_at = now
        online = {status.station for status in self._stations.status() if status.online}
        for each in sorted(series):
            station, camera = split_series(each)
            if station not in online:
                continue
            asked = self._samples.routinely_asked(station, camera, now - _DAY_S)
            # A clock that was ahead for a while must not end this until then.
            asked = [sample for sample in asked if (sample.requested_at or 0.0) <= now]
            wanted = min(per_day - len(asked), _due(asked, per_day, now))
            if wanted > 0:
                # The newest first: a station keeps frames only as long as it has room.
                found = self._samples.unasked(station, camera, now - _DAY_S)[::-1]
                chosen = self._choose(found, asked, (), wanted)
                self._ask(station, camera, self._with_random_ones(chosen, found, asked, wanted), None)

    def _with_random_ones(
        self, chosen: Sequence[str], found: Sequence[Sample], asked: Sequence[Sample], wanted: int
    ) -> list[str]:
        """Return those of `chosen` that leave frames drawn at random their places: where there are none yet, they stay free."""
        audit = {sample.sample for sample in found if sample.reason == "audit"}
        places = len(asked) + wanted
        others = places - random_places(places, self._rules.audit_share) - sum(s.reason != "audit" for s in asked)
        kept = []
        for name in chosen:
            if name in audit:
                kept.append(name)
            elif others > 0:
                others -= 1
                kept.append(name)
        return kept

    def _choose(
        self, found: Sequence[Sample], shown: Sequence[Sample], known_parts: Collection[str], wanted: int
    ) -> list[str]:
        candidates = [_candidate(s) for s in found]
        share = self._rules.audit_share
        return choose_for_review(candidates, known_parts, wanted, share, [_candidate(s) for s in shown])

    def _ask(self, station: str, camera: str, chosen: Sequence[str], alarm: int | None) -> None:
        if not chosen or not self._link.connected():
            return
        now = self._now()
        command = Command(
            id=secrets.token_hex(16),
            station=station,
            name="upload_samples",
            expires_at=now + COMMAND_VALID_S,
            arguments={"samples": list(chosen), **camera_argument(camera)},
        )
        self._commands.sent(command, now)
        self._samples.mark_requested(chosen, alarm, now)
        self._link.publish(topic(station, Channel.COMMAND), encode_control(command), qos=1, retain=False)


def _due(asked: Sequence[Sample], per_day: int, now: float) -> int:
    """Return how many frames are due by now, when `asked` were asked for in the last day."""
    if not asked:
        return 1
    last = max(sample.requested_at or 0.0 for sample in asked)
    return int((now - last) * per_day / _DAY_S + _ROUNDING)


def _series_of(sample: Sample) -> str:
    return series_name(sample.station, sample.camera)


def _candidate(sample: Sample) -> Candidate:
    return Candidate(
        sample.sample,
        sample.part,
        sample.confidence,
        sample.reason == "audit",
        sample.reason == "novel",
        sample.novelty,
        sample.camera,
        sample.label,
        sample.captured_at,
    )

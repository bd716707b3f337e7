"""Which needs people are told of, when, and when again. Pure: open notices and needs in, changes out.

One notice a key. It is told when it opens, when it becomes more urgent, when stations join it, every `repeat_s` while it lasts,
and when it is over. What comes and goes is told once in `cooldown_s`; only that it became more urgent is told at once. When more
is to be told at a time than `storm_most`, one message says it all.

A need counts as over when it was absent for `settle_s`; what something else hides is neither told nor over.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from cloud.ports.needs import Need, Severity
from cloud.ports.notices import LastTold, Notice

STORM = "storm"
_RANK = {Severity.INFO: 0, Severity.TICKET: 1, Severity.PAGE: 2}


class Event(str, Enum):
    """What a message says of a need; the value stands in the payload."""

    OPENED = "opened"
    WORSE = "worse"
    MORE = "more"
    REPEATED = "repeated"
    RESOLVED = "resolved"
    STORM = "storm"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class NoticeRules:
    """`storm_most` messages within `storm_s`; beyond, one for all of them, once in `group_s` and, where it goes on, ever more
    seldom down to once in `storm_s`. INFO is for who looks anyway."""

    cooldown_s: float = 900.0
    repeat_s: float = 86_400.0
    settle_s: float = 90.0
    storm_most: int = 10
    storm_s: float = 300.0
    group_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Telling:
    """Something to be told of a notice, as it stands once it is told."""

    event: Event
    notice: Notice


@dataclass(slots=True)
class Decision:
    """What one look decided. `told` go out one by one, `grouped` in one message of `storm` (a notice of its own).

    `opened` and `kept` are notices as they stand now, told ones included; `closed` those that are over.
    """

    opened: list[Notice] = field(default_factory=list)
    kept: list[Notice] = field(default_factory=list)
    closed: list[Notice] = field(default_factory=list)
    told: list[Telling] = field(default_factory=list)
    grouped: list[Telling] = field(default_factory=list)
    storm: Notice | None = None


def decide(
    open_notices: Sequence[Notice],
    needs: Sequence[Need],
    hidden: Collection[str],
    told: Mapping[str, LastTold],
    now: float,
    rules: NoticeRules,
) -> Decision:
    """Return what becomes of the open notices now that `needs` are so.

    Args:
        open_notices: one a key at most; `seen_at` says when each was last so.
        hidden: keys of needs of which nothing can be said just now.
        told: what was told, or said to be over, within the longer of `cooldown_s` and `storm_s`, by key.
    """
    wanted = {need.key: need for need in needs if need.severity is not Severity.INFO}
    by_key = {notice.need.key: notice for notice in open_notices if notice.need.key != STORM}
    found, waiting = Decision(), list[Telling]()
    for key, need in wanted.items():
        notice = by_key.get(key)
        if notice is None:
            last = _recent(told.get(key), now, rules.cooldown_s)
            at, said = (last.at, last.severity) if last is not None else (None, None)
            notice = Notice(0, need, now, now, at, told_severity=said)
        notice = replace(notice, need=need, seen_at=now)
        event = _event(notice, now, rules)
        if event is not None:
            waiting.append(Telling(event, _as_told(notice, now)))
        _keep(found, notice)
    for key, notice in by_key.items():
        if key in wanted:
            continue
        if key in hidden:
            _keep(found, replace(notice, seen_at=now))
        elif 0.0 <= now - notice.seen_at < rules.settle_s:
            _keep(found, notice)
        elif notice.times_told:
            # Over, once it can be told: it stays as it is until then.
            waiting.append(Telling(Event.RESOLVED, replace(notice, closed_at=now)))
            _keep(found, notice)
        else:
            found.closed.append(replace(notice, closed_at=now))
    _tell(found, waiting, told, now, rules)
    return found


def _keep(found: Decision, notice: Notice) -> None:
    (found.kept if notice.id else found.opened).append(notice)


def _event(notice: Notice, now: float, rules: NoticeRules) -> Event | None:
    """Return what is to be told of a notice whose need is so, None for nothing."""
    at, said = notice.told_at, notice.told_severity
    cool = at is not None and 0.0 <= now - at < rules.cooldown_s
    worse = said is None or _RANK[notice.need.severity] > _RANK[said]
    if not notice.times_told:
        return Event.OPENED if worse or not cool else None
    if worse:
        return Event.WORSE
    # A clock that was set back must not keep it quiet for years.
    if at is None or not 0.0 <= now - at < rules.repeat_s:
        return Event.REPEATED
    joined = set(notice.need.members) - notice.members
    return Event.MORE if joined and not cool else None


def _as_told(notice: Notice, now: float) -> Notice:
    said = notice.told_severity if notice.times_told else None
    severity = max(filter(None, (said, notice.need.severity)), key=_RANK.__getitem__)
    # Within a notice's life the stations told of are only added to: one that comes and goes is not told each time.
    members = frozenset(notice.need.members) | (notice.members if notice.times_told else frozenset())
    return replace(notice, told_at=now, times_told=notice.times_told + 1, told_severity=severity, members=members)


def _tell(
    found: Decision, waiting: list[Telling], told: Mapping[str, LastTold], now: float, rules: NoticeRules
) -> None:
    """Tell what waits: one by one while there is room, in one message when there is not, later when that went out just now."""
    if not waiting:
        return
    waiting.sort(key=lambda each: -_RANK[each.notice.need.severity])
    recent = sum(_said_lately(last, now, rules.storm_s) for key, last in told.items() if key != STORM)
    room = max(rules.storm_most - recent, 0)
    if len(waiting) <= room:
        found.told.extend(waiting)
    else:
        if _recent(told.get(STORM), now, rules.group_s) is not None:
            return
        found.grouped.extend(waiting)
        found.storm = _storm(waiting, now)
    said = {each.notice.need.key: each.notice for each in waiting}
    for notices in (found.opened, found.kept):
        notices[:] = [said.get(n.need.key, n) for n in notices if said.get(n.need.key, n).closed_at is None]
    found.closed.extend(notice for notice in said.values() if notice.closed_at is not None)


def _storm(waiting: Sequence[Telling], now: float) -> Notice:
    over = [each for each in waiting if each.event is Event.RESOLVED]
    news = len(waiting) - len(over)
    kinds: dict[str, int] = {}
    for each in waiting:
        if each.event is not Event.RESOLVED:
            kinds[each.notice.need.kind] = kinds.get(each.notice.need.kind, 0) + 1
    listed = ", ".join(
        f"{number} {kind}" for kind, number in sorted(kinds.items(), key=lambda each: (-each[1], each[0]))
    )
    parts = [f"{news} things need somebody: {listed}." if news else "", f"{len(over)} are over." if over else ""]
    severity = max(
        (each.notice.need.severity for each in waiting if each not in over),
        default=Severity.TICKET,
        key=_RANK.__getitem__,
    )
    need = Need(STORM, STORM, severity, " ".join(filter(None, parts)), "/")
    return Notice(0, need, now, now, now, 1, now, severity)


def _said_lately(last: LastTold, now: float, within_s: float) -> bool:
    return any(at is not None and 0.0 <= now - at < within_s for at in (last.at, last.over_at))


def _recent(last: LastTold | None, now: float, within_s: float) -> LastTold | None:
    return last if last is not None and 0.0 <= now - last.at < within_s else None

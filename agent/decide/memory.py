"""When the machine is short of memory: before the kernel's OOM killer would end a process, most likely this one."""

from __future__ import annotations

from dataclasses import dataclass, replace

_SOON_S = 3600.0
_MOST_DOUBLINGS = 4


@dataclass(frozen=True, slots=True)
class MemoryRoom:
    """What this process may still take, in MiB: the machine's MemAvailable, or less where a cgroup limits it.

    `stalled`: share of the last ten seconds, 0 to 1, in which every process waited for memory (PSI's "full"; 0 where it is not
    told).
    """

    total_mib: float
    available_mib: float
    stalled: float = 0.0


@dataclass(frozen=True, slots=True)
class MemoryRules:
    """Where little memory becomes pressure.

    Low is under `low_share` of all, but within [`least_mib`, `most_mib`] and never over a quarter of all: a smaller artefact, which
    is loaded beside the larger one, must still fit; earlyoom begins to kill at 10 % as it comes. There is relief from `relief`
    times that; critical is under `critical` times. `stalled_share` is half of where systemd-oomd kills (60 %).
    """

    low_share: float = 0.06
    least_mib: float = 128.0
    most_mib: float = 512.0
    relief: float = 1.5
    critical: float = 0.5
    back: float = 3.0
    stalled_share: float = 0.3
    stalled_relief_share: float = 0.1


def low_mib(room: MemoryRoom, rules: MemoryRules) -> float:
    """Return under how many available MiB memory is low."""
    return min(max(room.total_mib * rules.low_share, rules.least_mib), rules.most_mib, room.total_mib / 4)


def why_low(room: MemoryRoom | None, rules: MemoryRules) -> str:
    """Return what presses, for a person; "" for nothing, and for what cannot be read."""
    if room is None:
        return ""
    if room.available_mib < low_mib(room, rules):
        return f"{room.available_mib:.0f} of {room.total_mib:.0f} MiB are left"
    if room.stalled >= rules.stalled_share:
        return f"everything waits for memory {room.stalled:.0%} of the time"
    return ""


def is_relieved(room: MemoryRoom | None, rules: MemoryRules) -> bool:
    """Return whether memory is no reason to keep anything given up."""
    if room is None:
        return True
    little = room.available_mib < low_mib(room, rules) * rules.relief
    return not (little or room.stalled > rules.stalled_relief_share)


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Whether the models beside the one in charge are given up. It has been `turning` to the other since `since_s`.

    `again`: how often they were given up soon after they had come back. `back_s`: when they came back last.
    """

    given_up: bool = False
    turning: bool = False
    since_s: float = 0.0
    again: int = 0
    back_s: float | None = None


def next_given_up(
    state: GivenUp,
    room: MemoryRoom | None,
    rules: MemoryRules,
    *,
    nothing_else: bool,
    turn_after_s: float,
    now_s: float,
) -> GivenUp:
    """Return the state after a look at `now_s`.

    Nothing passes while those models are away, so they go last: once memory is critical for `turn_after_s` though `nothing_else`
    is left to give up. They come back when `back` times what is low has been free for as long, for they will take some of it again.
    Meanwhile nothing else takes it (`degrade`). How much they need is not known: where there was too little, they are soon given up
    again, and each such time is waited twice as long for the next, at most 16 times: a station too small for its models is not for
    ever loading them.
    """
    if state.given_up:
        wants = room is None or room.available_mib >= low_mib(room, rules) * rules.back
        turn_after_s *= 1 << min(state.again, _MOST_DOUBLINGS)
    else:
        wants = nothing_else and room is not None and room.available_mib < low_mib(room, rules) * rules.critical
    since_s = state.since_s if wants and state.turning and state.since_s <= now_s else now_s
    if not wants or now_s - since_s < turn_after_s:
        return replace(state, turning=wants, since_s=since_s)
    if state.given_up:
        return replace(state, given_up=False, turning=False, since_s=now_s, back_s=now_s)
    soon = state.back_s is not None and 0.0 <= now_s - state.back_s < _SOON_S
    return GivenUp(True, False, now_s, state.again + 1 if soon else 0, state.back_s)

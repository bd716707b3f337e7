"""Is a station well with the settings it has on probation? Pure: counts before and now in, a reason out."""

from __future__ import annotations

import msgspec

TROUBLES = frozenset(
    {
        "late",
        "degraded",
        "broken_model",
        "no_model",
        "camera_fault",
        "bad_image",
        "blank_frame",
        "frozen_frame",
        "unfamiliar",
        "broken_disk",
        "internal",
    }
)
"""Causes of REVIEW that say something of the station; `unsure` and `drifted` say something of the parts.

`unfamiliar` is among them: of parts it says the same before and after, and settings that change the picture show in it first.
"""

UNDECIDED = "undecided"
"""Verdicts that could not be recorded, and frames dropped because the model was busy: counted beside the causes."""

_MORE = 0.05
_FAR_MORE = 0.5
_ENOUGH = 30


class Vitals(msgspec.Struct, frozen=True):
    """How a station is. Counts since it was started, or between two moments: see `between`.

    `frames` had a verdict or should have had one; `troubles` counts them by what was wrong; `restarts` of a hanging camera or
    model; `broker` says whether it is connected.
    """

    frames: int = 0
    troubles: dict[str, int] = {}
    restarts: int = 0
    broker: bool = False


def between(earlier: Vitals, later: Vitals) -> Vitals:
    """Return what happened between two looks at a running station."""
    troubles = {name: count - earlier.troubles.get(name, 0) for name, count in later.troubles.items()}
    return Vitals(later.frames - earlier.frames, troubles, later.restarts - earlier.restarts, later.broker)


def why_unwell_already(before: Vitals, since: Vitals, settled: Vitals) -> str:
    """Return why waiting for the end of the probation makes nothing better, "" when that is not so.

    Args:
        before: how it was with the settings in force.
        since: since the station was started.
        settled: since it had time to settle: a model's first frames are late with any settings.
    """
    if since.restarts:
        return f"a camera or the model hung, {since.restarts} restart(s)"
    return _why_more(before, settled, _FAR_MORE) if settled.frames >= _ENOUGH else ""


def why_unwell(before: Vitals, since: Vitals, settled: Vitals, *, reached: bool, must_reach: bool, heard: bool) -> str:
    """Return why the settings are not kept at the end of their probation, "" when they are.

    Args:
        reached: the broker was connected lately, if not at this very moment.
        must_reach: the settings name another broker: it must be reached, and have this order for us (`heard`).
    """
    if why := why_unwell_already(before, since, settled):
        return why
    if (before.broker or must_reach) and not reached:
        return "the broker is not reached"
    if must_reach and not heard:
        return "the broker that was reached has no orders for this station"
    if before.frames and not settled.frames:
        return "no verdict came"
    return _why_more(before, settled, _MORE)


def _why_more(before: Vitals, now: Vitals, margin: float) -> str:
    for name, count in sorted(now.troubles.items(), key=lambda each: -each[1]):
        was, share = before.troubles.get(name, 0) / max(before.frames, 1), count / max(now.frames, 1)
        if share > was + margin:
            return f"{share:.0%} of frames are {name}, {was:.0%} were before"
    return ""

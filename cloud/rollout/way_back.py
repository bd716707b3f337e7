"""Whether and how a station goes back when its rollout is stopped: pure, so that every case is a test."""

from __future__ import annotations

import re
from enum import Enum

from cloud.rollout.rollout_states import MemberState

MOST_RECALLS = 3
"""How often the way back is ordered, each time under a new name, before a person must look."""

_RECALL = re.compile(r"-back(\d*)$")


class WayBack(Enum):
    """What to order for a station that was ordered a bad bundle."""

    FORMER = "its former bundle"
    NOTHING = "run nothing: every frame is REVIEW"
    WITHDRAW = "no order any more: it stays as it is"


def way_back(
    *,
    state: MemberState,
    version: str,
    bundle: str,
    counter: int | None,
    former: str,
    former_counter: int | None,
    runs_it: bool,
    heard: bool,
) -> tuple[WayBack, str]:
    """Return what to order, and why where it is not the former bundle.

    A station that may have the bad bundle in charge or on trial, and has nothing to go back to, must run nothing: the order
    gone from the broker would not end its trial. One that rolled back by itself, or cannot have heard the order, stays as it is.

    Args:
        state: of the station within the rollout.
        version: the bad release.
        bundle: its digest.
        counter: its release counter, None when it is in the catalog no more.
        former: digest of what ran before, "" for nothing.
        former_counter: its release counter, None when it is in no release.
        runs_it: whether the station reports to run the bad bundle.
        heard: whether it can have heard the order for it.
    """
    committed = state is MemberState.COMMITTED or runs_it
    if former == bundle:
        return WayBack.WITHDRAW, "it ran this bundle before the rollout, and what ran before that is not known"
    if former and former_counter is not None:
        if committed and counter is not None and former_counter < counter:
            why = f"{version} raised the release counter to {counter}: what ran before must never run again"
            return WayBack.WITHDRAW, why
        return WayBack.FORMER, ""
    # It came by a USB kit, or is gone from the catalog.
    why = f"former bundle '{former[:12]}' is in no release" if former else "there is no former bundle"
    if committed or (state is MemberState.ORDERED and heard):
        return WayBack.NOTHING, f"{why}: ordered to run nothing"
    return WayBack.WITHDRAW, f"{why}: nothing to order back"


def recall_name(deployment: str) -> str:
    """Return the name of the next way back of a station whose newest order in the rollout was called `deployment`."""
    tries = recalls(deployment)
    return f"{_RECALL.sub('', deployment)}-back{tries + 1 if tries else ''}"


def recalls(deployment: str) -> int:
    """Return how many ways back were ordered by then."""
    found = _RECALL.search(deployment)
    return 0 if found is None else int(found[1] or 1)


def shadow_name(deployment: str) -> str:
    """Return the name of the order to decide unseen only of a station whose real order is called `deployment`."""
    return f"s{deployment[1:]}"


def real_name(deployment: str) -> str:
    """Return the name of a station's real order, whichever of the two `deployment` is."""
    return f"r{deployment[1:]}"

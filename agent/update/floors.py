"""Floors: the least values a station will ever again accept (OTA-1, OTA-2). They only rise."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from contract.errors import BadBundle
from contract.messages import Order

# No station ran this release before this moment, so no clock that says so is right (2026-01-01, UTC).
BUILT_AT = 1_767_225_600.0


class Floors(msgspec.Struct, frozen=True):
    """`time` is the last authenticated time, `desired_seq` and `release_counter` the last committed order's.

    The four versions are the image repository's; `online_keys` names the keys that signed its snapshot and timestamp.
    """

    time: float = BUILT_AT
    desired_seq: int = 0
    release_counter: int = 0
    root: int = 0
    timestamp: int = 0
    snapshot: int = 0
    targets: int = 0
    online_keys: str = ""


@dataclass(frozen=True, slots=True)
class RepositoryVersions:
    """What an authenticated refresh of the image repository saw."""

    root: int
    timestamp: int
    snapshot: int
    targets: int
    online_keys: str


def effective_now(floors: Floors, now: float) -> float:
    """Return `now`, but never a time that is known to have passed: a clock at 1970 revives nothing (OTA-1)."""
    return max(now, floors.time)


def raise_time(floors: Floors, authenticated_at: float) -> Floors:
    """Return `floors` after a signed message said it was `authenticated_at`."""
    return msgspec.structs.replace(floors, time=max(floors.time, authenticated_at))


def raise_order(floors: Floors, order: Order) -> Floors:
    """Return `floors` after `order` was committed."""
    return msgspec.structs.replace(
        raise_time(floors, order.issued_at),
        desired_seq=max(floors.desired_seq, order.desired_seq),
        release_counter=max(floors.release_counter, order.release_counter),
    )


def raise_repository(floors: Floors, seen: RepositoryVersions) -> Floors:
    """Return `floors` after an authenticated refresh.

    When a newer root replaced the online keys, their versions start anew: that is how a repository recovers from keys that
    were stolen and used to run the versions far ahead (TUF specification 5.3.11).

    Raises:
        BadBundle: a version went backwards: an old repository is being served.
    """
    if seen.root < floors.root:
        raise _backwards("root", seen.root, floors.root)
    if seen.online_keys == floors.online_keys:
        for name in ("timestamp", "snapshot", "targets"):
            if getattr(seen, name) < getattr(floors, name):
                raise _backwards(name, getattr(seen, name), getattr(floors, name))
    return msgspec.structs.replace(
        floors,
        root=seen.root,
        timestamp=seen.timestamp,
        snapshot=seen.snapshot,
        targets=seen.targets,
        online_keys=seen.online_keys,
    )


def _backwards(name: str, seen: int, floor: int) -> BadBundle:
    return BadBundle(
        f"the image repository went backwards: {name} version {seen} after {floor}",
        hint="an old copy is being served; point the station at the current repository",
    )

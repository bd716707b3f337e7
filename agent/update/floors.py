"""Floors: the least values a station will ever again accept (OTA-1, OTA-2).

They only rise, but where a new root revoked the keys that raised them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from contract.errors import BadBundle

if TYPE_CHECKING:
    from contract.messages import Order  # not for running: it brings NumPy, and the image side's import is budgeted

# No station ran this release before this moment, so no clock that says so is right (2026-01-01, UTC).
BUILT_AT = 1_767_225_600.0
MAX_AHEAD_S = 2 * 86_400.0
"""How far beyond the station's own clock both sides together may move the time floor, seconds: a time zone, and some drift."""


class Floors(msgspec.Struct, frozen=True):
    """`time` is the last time both sides agreed on, `desired_seq` and `release_counter` the last committed order's.

    The four versions are the image repository's; `online_keys` names the keys of its snapshot and timestamp (`name_keys`).
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
    """What an authenticated refresh of the image repository saw; `online_keys` as `name_keys` writes them.

    `expires_at` is when its timestamp expires, Unix seconds; 0 where none was verified.
    """

    root: int
    timestamp: int
    snapshot: int
    targets: int
    online_keys: str
    expires_at: float = 0.0


def effective_now(floors: Floors, now: float) -> float:
    """Return `now`, but never a time that is known to have passed: a clock at 1970 revives nothing (OTA-1)."""
    return max(now, floors.time)


def raise_time(floors: Floors, issued_at: float, expires_at: float, now: float) -> Floors:
    """Return `floors` after an order was issued at `issued_at` and the image repository is valid until `expires_at`.

    Both sides must agree here too: an order key alone that says "the year 9999" would make everything expired for good. And
    since one server may hold both an order key and the timestamp's, or have its clock a year ahead, the station's own clock
    `now` has a say: the floor comes `MAX_AHEAD_S` before it at most. A clock that stands before `BUILT_AT` is wrong for sure
    and cannot be asked: the floor then creeps forward by that much an order.
    """
    cap = (now if now >= BUILT_AT else floors.time) + MAX_AHEAD_S
    return msgspec.structs.replace(floors, time=max(floors.time, min(issued_at, expires_at, cap)))


def raise_seq(floors: Floors, order: Order) -> Floors:
    """Return `floors` after the update by `order` ended, however it did."""
    return msgspec.structs.replace(floors, desired_seq=max(floors.desired_seq, order.desired_seq))


def raise_order(floors: Floors, order: Order) -> Floors:
    """Return `floors` after `order` was committed. One to run nothing asked no image key, and raises no release counter."""
    counter = order.release_counter if order.bundle else 0
    return msgspec.structs.replace(
        floors,
        desired_seq=max(floors.desired_seq, order.desired_seq),
        release_counter=max(floors.release_counter, counter),
    )


def raise_repository(floors: Floors, seen: RepositoryVersions) -> Floors:
    """Return `floors` after an authenticated refresh.

    A version starts anew only when the root revoked the keys that signed the ones before: when so few of the old keys are
    left that they no longer reach the threshold. That is how a repository recovers from keys that were stolen and used to run
    the versions far ahead. A key that was merely added revokes nothing, or an old repository would pass with it
    (TUF specification 5.3.11). Without its timestamp or its snapshot's keys no old snapshot can be served, so the versions
    of snapshot and targets start anew with either; those of the timestamp with its own.

    With the timestamp's the time floor starts anew too, at `BUILT_AT`: what a stolen timestamp key and an order key agreed on
    may be the year 9999, and nothing else says how much of it is true. The station's own clock goes on counting
    (`effective_now`), and the order that is being looked up raises the floor again at once.

    Raises:
        BadBundle: a version went backwards: an old repository is being served.
    """
    if seen.root < floors.root:
        raise _backwards("root", seen.root, floors.root)
    anew = {role: _revoked(role, floors.online_keys, seen.online_keys) for role in ("timestamp", "snapshot")}
    either = anew["timestamp"] or anew["snapshot"]
    for name, starts_anew in (("timestamp", anew["timestamp"]), ("snapshot", either), ("targets", either)):
        if not starts_anew and getattr(seen, name) < getattr(floors, name):
            raise _backwards(name, getattr(seen, name), getattr(floors, name))
    return msgspec.structs.replace(
        floors,
        root=seen.root,
        timestamp=seen.timestamp,
        snapshot=seen.snapshot,
        targets=seen.targets,
        online_keys=seen.online_keys,
        time=_time_under(floors, seen.online_keys),
    )


def raise_root(floors: Floors, version: int, online_keys: str = "") -> Floors:
    """Return `floors` after a chain of roots up to `version` was authenticated, whatever became of the rest.

    Where its `online_keys` are told, and revoke the timestamp's, the time floor starts anew as in `raise_repository`: judged
    by the old one, everything that the new keys sign might be expired, and the rest of a refresh never come.
    """
    if version <= floors.root:
        return floors
    time = _time_under(floors, online_keys) if online_keys else floors.time
    return msgspec.structs.replace(floors, root=version, time=time)


def name_keys(role: str, threshold: int, keyids: Iterable[str]) -> str:
    """Return the keys of one online role in the form that `online_keys` holds: "ROLE/THRESHOLD/KEYID ...", sorted."""
    # An id may be any text, though in practice it is hex.
    plain = (each if each.isalnum() else "x" + each.encode("utf-8", "surrogatepass").hex() for each in keyids)
    return " ".join(sorted(f"{role}/{threshold}/{keyid}" for keyid in plain))


def _time_under(floors: Floors, online_keys: str) -> float:
    known = bool(floors.online_keys)  # else nobody's keys are revoked: it is the first repository that is seen
    return (
        min(floors.time, BUILT_AT) if known and _revoked("timestamp", floors.online_keys, online_keys) else floors.time
    )


def _revoked(role: str, before: str, after: str) -> bool:
    old, _ = _keys(role, before)
    new, threshold = _keys(role, after)
    return len(old & new) < threshold


def _keys(role: str, online_keys: str) -> tuple[set[str], int]:
    """Return (key ids, threshold) of `role`. An id alone, as the first floors had them, is a key of both roles, threshold 1."""
    keys, threshold = set(), 1
    for word in online_keys.split():
        owner, _, rest = word.rpartition("/")[0].partition("/")
        if owner in ("", role):
            keys.add(word.rpartition("/")[2])
            threshold = max(threshold, int(rest)) if rest.isdecimal() else threshold
    return keys, threshold


def _backwards(name: str, seen: int, floor: int) -> BadBundle:
    return BadBundle(
        f"the image repository went backwards: {name} version {seen} after {floor}",
        hint="an old copy is being served; point the station at the current repository",
    )

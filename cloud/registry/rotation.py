"""Rotations: new keys for roles, and the root that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

# python-tuf exports this without __all__, which mypy --strict does not follow.
from tuf.api.metadata import Root  # type: ignore[attr-defined]

from cloud.registry.keys import HeldKey, Keys, RoleKeys, as_role, check_count, new_keys
from cloud.registry.release import Registry
from contract.errors import InvalidConfig, NotFound


@dataclass(frozen=True, slots=True)
class Rotated:
    """The keys that were made, and whether the new root is in force; else it waits for signatures."""

    made: tuple[HeldKey, ...]
    published: bool
    keys: Keys


def rotate_roles(
    registry: Registry,
    keys: Keys,
    roles: Mapping[str, tuple[int, int] | None],
    now: float,
    *,
    out: Sequence[Path] = (),
    lost_keys: bool = False,
    restart_versions: bool = False,
) -> Rotated:
    """Replace all keys of TUF roles by new ones, in one new root.

    Killed at any moment, it can be repeated: keys that came to nothing are taken again.

    Args:
        roles: role -> (keys, how many must sign), None for as many as now.
        now: Unix seconds.
        out: folders for the new keys, in turn; default: the first keys folder.
        lost_keys: the old keys of `roles` are gone and cannot sign. Root keys cannot be replaced without themselves.
        restart_versions: let the versions of snapshot and timestamp begin anew, both of which must be among `roles`: somebody
            stole the keys, wrote into the repository and ran the versions far ahead.
    Raises:
        InvalidConfig: so many keys cannot be, or the flags do not fit the roles.
        RefusedError, NotFound: as `TufRepository.change_root`.
    """
    if restart_versions and not {"snapshot", "timestamp"} <= set(roles):
        raise InvalidConfig(
            "versions begin anew only where both online keys are replaced",
            hint="plumbline-cloud keys rotate snapshot timestamp --restart-versions",
        )
    if lost_keys and "root" in roles:
        raise InvalidConfig(
            "lost root keys cannot be replaced: stations trust what they sign and nothing else",
            hint="with fewer than the threshold left, provision every station again with the root of a new repository",
        )
    repository = registry.tuf(keys)
    repository.check_no_root_waits()
    chain = repository.roots()
    if not chain:
        raise NotFound("there is no repository yet", hint="plumbline-cloud init, or keys publish")
    used = {keyid for each in chain for keyid in each.keys}
    made: list[HeldKey] = []
    changes: dict[str, RoleKeys] = {}
    for role, size in roles.items():
        count, threshold = size or _size(chain[-1], role)
        check_count(role, count, threshold)
        fresh: list[HeldKey] = []
        places = out or (None,)
        for index in range(count):
            taken = used | {key.keyid for key in fresh}
            fresh += new_keys(_with(keys, fresh), role, 1, taken, places[index % len(places)])
        changes[role] = as_role(fresh, threshold)
        made += fresh
    after = _with(keys, made)
    published = registry.tuf(after).change_root(changes, now, lost_keys=lost_keys, restart_versions=restart_versions)
    return Rotated(tuple(made), published, after)


def _with(keys: Keys, made: Sequence[HeldKey]) -> Keys:
    held = {key.keyid: key for key in (*keys.held, *made)}
    return replace(keys, held=tuple(held.values()))


def _size(root: Root, role: str) -> tuple[int, int]:
    listed = root.roles[role]
    return len(listed.keyids), listed.threshold

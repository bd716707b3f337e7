"""The metadata that comes next: a root with other keys, targets with one more bundle. Nothing is signed or written here."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

# python-tuf exports some of these without __all__, which mypy --strict does not follow.
from tuf.api.metadata import Metadata, Root, TargetFile, Targets  # type: ignore[attr-defined]

from cloud.registry.keys import TUF_ROLES, RoleKeys
from cloud.registry.signing_request import SigningRequest, same_role
from cloud.registry.tuf_files import Published, expiry
from contract.delta import delta_ends
from contract.ids import bundle_target


def first_root(roles: Mapping[str, RoleKeys], now: float) -> Metadata[Root]:
    """Return root 1, which lists `roles`."""
    root = Root(version=1, expires=expiry("root", now), consistent_snapshot=True)
    for role in TUF_ROLES:
        _set_role(root, role, roles[role])
    return Metadata(root)


def next_root(newest: Root, changes: Mapping[str, RoleKeys], now: float) -> Metadata[Root]:
    """Return the root after `newest`, in which `changes` are who signs for a role."""
    root = copy.deepcopy(newest)
    root.version += 1
    root.expires = expiry("root", now)
    for role, keys in changes.items():
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        _set_role(root, role, keys)
    return Metadata(root)


def next_targets(
    published: Published,
    waiting: SigningRequest | None,
    now: float,
    *,
    added: Iterable[TargetFile] = (),
    keep_deltas_to: AbstractSet[str] | None = None,
    removed: AbstractSet[str] = frozenset(),
    new_root: SigningRequest | None = None,
) -> SigningRequest:
    """Return a request for the targets after those in force and those that wait for signatures already.

    What waits and has signatures keeps its version to itself: two different things never get signed under one number.
    `keep_deltas_to`: the bundles to which deltas stay listed; None keeps all. `removed`: bundles that are listed no more, nor any
    delta from or to them.
    """
    base = waiting.metadata.signed if waiting else published.targets.signed if published.targets else None
    targets = Targets(version=1) if base is None else copy.deepcopy(base)
    if base is not None and (waiting is None or waiting.metadata.signatures):
        targets.version += 1
    targets.targets.update({each.path: each for each in added})
    if keep_deltas_to is not None:
        # What leads to a bundle that nobody is ordered to run any more is not carried along for ever.
        ends = {name: delta_ends(name) for name in targets.targets}
        for name, end in ends.items():
            if end is not None and end[1] not in keep_deltas_to:
                del targets.targets[name]
    for name in [name for name in targets.targets if is_of(name, removed)]:
        del targets.targets[name]
    targets.expires = expiry("targets", now)
    return beside_root(SigningRequest("targets", Metadata(targets), published.roots), published, new_root)


def is_of(target: str, digests: AbstractSet[str]) -> bool:
    """Return whether a target path is that of one of these bundles, or of a delta from or to one."""
    ends = delta_ends(target)
    return not digests.isdisjoint(ends) if ends is not None else target in {bundle_target(each) for each in digests}


def lists_any(digests: AbstractSet[str], *found: Metadata[Targets] | SigningRequest | None) -> bool:
    """Return whether any of `found` lists one of these bundles, or a delta from or to one."""
    every = [each.metadata if isinstance(each, SigningRequest) else each for each in found]
    return any(is_of(name, digests) for each in every if each is not None for name in each.signed.targets)


def lists(targets: Metadata[Targets] | None, name: str, digest: str) -> bool:
    """Return whether `targets` list a file under this name with this SHA-256."""
    found = targets.signed.targets.get(name) if targets is not None else None
    return found is not None and found.hashes.get("sha256") == digest


def beside_root(targets: SigningRequest, published: Published, root: SigningRequest | None) -> SigningRequest:
    """Return a request for targets as it stands beside what is in force and the root that waits, if that changes their keys."""
    changes = root is not None and (
        published.root is None or not same_role(published.root, root.metadata.signed, "targets")
    )
    # A copy without signatures: whether it has enough of them is asked of the root's own request.
    return replace(
        targets,
        roots=published.roots,
        current=published.targets,
        next_root=Metadata(root.metadata.signed) if root is not None and changes else None,
        lost_keys=root is not None and changes and root.lost_keys,
    )


def _set_role(root: Root, role: str, keys: RoleKeys) -> None:
    for key in keys.tuf_keys():
        root.add_key(key, role)
    root.roles[role].threshold = keys.threshold

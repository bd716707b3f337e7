"""What a publication writes, in which order, so that clients accept what is there after every single write.

Everything is signed before the first write. Then: targets, snapshot, timestamp, root; only timestamp.json replaces a file.
What a rotation signs anew is signed by the old keys and the new ones, so it holds for a client at the old root, which is what
all are until the last write, and at the new one (TUF 5.3.4, 6.1). Where the old keys are lost, clients refuse what they are
given between the last two writes and take it after them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

# python-tuf exports some of these without __all__, which mypy --strict does not follow.
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp  # type: ignore[attr-defined]
from tuf.api.serialization.json import JSONSerializer

from cloud.registry.keys import Keys
from cloud.registry.resign_status import half_over
from cloud.registry.signing_request import SigningRequest, key_name
from cloud.registry.tuf_files import TIMESTAMP_FILE, Published, expiry, holds, read_newest_targets, versions
from contract.errors import BadBundle, NotFound

Write = tuple[str, bytes]


def publication(
    folder: Path,
    published: Published,
    keys: Keys,
    now: float,
    *,
    root: SigningRequest | None = None,
    targets: SigningRequest | None = None,
) -> list[Write]:
    """Return the (file name, content) to be written into `folder` (metadata/), in this order; none where nothing changes.

    `root` and `targets` have their signatures. What of them was published already, by somebody who was killed before saying
    so, is left out.

    Raises:
        NotFound: a key that must sign snapshot or timestamp is not here.
        BadBundle: the targets in force do not hold under the new root.
    """
    before = published.root
    after = root.metadata.signed if root is not None else before
    if after is None:
        raise NotFound("there is no root yet", hint="plumbline-cloud keys pending shows what it waits for")
    restart = bool(root and root.restart_versions) and not _holds(after, published.timestamp)
    if restart and before is not None:
        # Snapshot and timestamp may be a thief's work, so nothing of them is built on.
        published = replace(published, targets=read_newest_targets(folder, before), snapshot=None, timestamp=None)
    judges = _judges(before, after, lost=bool(root and root.lost_keys))
    writes: list[Write] = []

    vouched = published.targets
    if targets is not None and (vouched is None or targets.version > vouched.signed.version):
        vouched = targets.metadata
        writes.append((f"{targets.version}.targets.json", _bytes(vouched)))
    if vouched is None or not _holds(after, vouched):
        raise BadBundle(
            f"root {after.version} does not vouch for the targets that would be in force",
            hint="plumbline-cloud keys pending --drop, then begin the rotation again",
        )
    snapshot = published.snapshot
    if (
        snapshot is None
        or snapshot.signed.meta["targets.json"].version != vouched.signed.version
        or not _holds(after, snapshot)
    ):
        snapshot = _next_snapshot(folder, snapshot, vouched, keys, judges, now)
        writes.append((f"{snapshot.signed.version}.snapshot.json", _bytes(snapshot)))
    timestamp = published.timestamp
    if (
        timestamp is None
        or timestamp.signed.snapshot_meta.version != snapshot.signed.version
        or not _holds(after, timestamp)
    ):
        version = timestamp.signed.version + 1 if timestamp else 1
        writes.append((TIMESTAMP_FILE, _bytes(_timestamp(version, snapshot, keys, judges, now))))
    if root is not None and (before is None or root.version > before.version):
        writes.append((f"{root.version}.root.json", _bytes(root.metadata)))
    return writes


def resigned(folder: Path, published: Published, keys: Keys, now: float) -> list[Write]:
    """Return what to write so that snapshot and timestamp live on: none while each has half its life before it.

    Raises:
        NotFound: a key is not here.
    """
    root, targets, snapshot, timestamp = published.root, published.targets, published.snapshot, published.timestamp
    if root is None or targets is None or snapshot is None or timestamp is None:
        raise NotFound("nothing is published yet", hint="plumbline-cloud keys publish")
    judges, writes = _judges(None, root, lost=False), []
    if half_over("snapshot", snapshot.signed.expires.timestamp(), now):
        snapshot = _next_snapshot(folder, snapshot, targets, keys, judges, now)
        writes.append((f"{snapshot.signed.version}.snapshot.json", _bytes(snapshot)))
    if writes or half_over("timestamp", timestamp.signed.expires.timestamp(), now):
        renewed = _timestamp(timestamp.signed.version + 1, snapshot, keys, judges, now)
        writes.append((TIMESTAMP_FILE, _bytes(renewed)))
    return writes


def _next_snapshot(
    folder: Path,
    last: Metadata[Snapshot] | None,
    targets: Metadata[Targets],
    keys: Keys,
    judges: list[Root],
    now: float,
) -> Metadata[Snapshot]:
    if last is not None:
        version = last.signed.version + 1
    else:
        # The first ever, or the first after a thief ran the versions ahead: one that no client was ever shown.
        used = versions(folder, Snapshot.type)
        version = next(number for number in range(1, len(used) + 2) if number not in used)
    meta = {"targets.json": MetaFile(targets.signed.version)}
    return _signed(Metadata(Snapshot(version=version, expires=expiry("snapshot", now), meta=meta)), keys, judges)


def _timestamp(
    version: int, snapshot: Metadata[Snapshot], keys: Keys, judges: list[Root], now: float
) -> Metadata[Timestamp]:
    meta = MetaFile(snapshot.signed.version)
    return _signed(
        Metadata(Timestamp(version=version, expires=expiry("timestamp", now), snapshot_meta=meta)), keys, judges
    )


def _signed(metadata: Metadata[Any], keys: Keys, judges: list[Root]) -> Metadata[Any]:
    role = metadata.signed.type
    for root in judges:
        for key in keys.listed(root.roles[role].keyids):
            metadata.sign(key.signer, append=True)
    for root in judges:
        if not holds(root, metadata):
            wanted = " or ".join(key_name(root, keyid) for keyid in root.roles[role].keyids)
            where = ", ".join(f"'{folder}'" for folder in keys.folders)
            raise NotFound(
                f"the {role} key {wanted} of root {root.version} is not in {where}",
                hint=f"restore its .pem file there; if it is gone for good: plumbline-cloud keys rotate {role} --lost",
            )
    return metadata


def _judges(before: Root | None, after: Root, *, lost: bool) -> list[Root]:
    if before is None or lost or before.version == after.version:
        return [after]
    return [before, after]


def _holds(root: Root, metadata: Metadata[Any] | None) -> bool:
    return metadata is not None and holds(root, metadata)


def _bytes(metadata: Metadata[Any]) -> bytes:
    return metadata.to_bytes(JSONSerializer())

"""The TUF repository's files as they are on the disk: read, and checked against the roots that vouch for them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

from tuf.api.exceptions import RepositoryError

# python-tuf exports some of these without __all__, which mypy --strict does not follow.
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp  # type: ignore[attr-defined]

from cloud.registry.blobs import sha256_of
from cloud.registry.durable_file import fsync_folder, write_durably
from cloud.registry.resign_status import LIFETIMES_DAYS
from cloud.registry.signing_request import check_chain
from contract.delta import delta_ends
from contract.errors import BadBundle, InvalidConfig, NotFound
from contract.order_keys_target import is_order_keys_target

TIMESTAMP_FILE = "timestamp.json"
_VERSIONED = re.compile(r"([1-9][0-9]*)\.(targets|snapshot)\.json")

T = TypeVar("T", Root, Targets, Snapshot, Timestamp)


@dataclass(frozen=True, slots=True)
class Published:
    """What clients are given now; `roots` oldest first. Before the first publication there is nothing."""

    roots: tuple[Metadata[Root], ...] = ()
    targets: Metadata[Targets] | None = None
    snapshot: Metadata[Snapshot] | None = None
    timestamp: Metadata[Timestamp] | None = None

    @property
    def root(self) -> Root | None:
        """The newest root."""
        return self.roots[-1].signed if self.roots else None

    def version(self, role: str) -> int:
        """Return the version of root or targets; 0 where there is none."""
        if role == Root.type:
            return self.root.version if self.root else 0
        return self.targets.signed.version if self.targets else 0

    def digests(self) -> tuple[str, ...]:
        """Return the bundles that are vouched for, sorted."""
        listed = self.targets.signed.targets if self.targets else {}
        bundles = (name for name in listed if delta_ends(name) is None and not is_order_keys_target(name))
        return tuple(sorted(listed[name].hashes["sha256"] for name in bundles))

    def expires_at(self) -> dict[str, float]:
        """Return when the metadata of each role expires, Unix seconds."""
        roles = (*self.roots[-1:], self.targets, self.snapshot, self.timestamp)
        return {each.signed.type: float(each.signed.expires.timestamp()) for each in roles if each is not None}


def read_roots(folder: Path) -> tuple[Metadata[Root], ...]:
    """Return every root in `folder` (metadata/), oldest first, each vouched for by the one before.

    Raises:
        BadBundle: one is damaged.
    """
    roots: list[Metadata[Root]] = []
    while (folder / (name := f"{len(roots) + 1}.root.json")).exists():
        roots.append(_load(folder / name, Root))
    try:
        check_chain(tuple(roots))
    except (RepositoryError, ValueError) as error:
        raise BadBundle(f"the roots in '{folder}' are damaged: {error}", hint="restore them from a backup") from error
    return tuple(roots)


def read_published(folder: Path) -> Published:
    """Return what `folder` (metadata/) publishes.

    Raises:
        NotFound: nothing was ever published there, or a file is gone.
        BadBundle: a file is damaged.
    """
    timestamp = _load(folder / TIMESTAMP_FILE, Timestamp)
    snapshot = _load(folder / f"{timestamp.signed.snapshot_meta.version}.snapshot.json", Snapshot)
    targets = _load(folder / f"{snapshot.signed.meta['targets.json'].version}.targets.json", Targets)
    return Published(read_roots(folder), targets, snapshot, timestamp)


def read_newest_targets(folder: Path, root: Root) -> Metadata[Targets]:
    """Return the newest targets that `root` vouches for, whatever snapshot and timestamp say: these may be a thief's.

    Raises:
        NotFound: there are none.
    """
    for version in sorted(versions(folder, Targets.type), reverse=True):
        try:
            found = _load(folder / f"{version}.targets.json", Targets)
        except BadBundle:
            continue
        if holds(root, found) and found.signed.version == version:
            return found
    raise NotFound(f"no targets in '{folder}' that its root vouches for", hint="restore them from a backup")


def versions(folder: Path, role: str) -> set[int]:
    """Return the versions of a role that `folder` has files of."""
    found = (_VERSIONED.fullmatch(path.name) for path in folder.glob(f"*.{role}.json"))
    return {int(each[1]) for each in found if each is not None}


def holds(root: Root, metadata: Metadata[Any]) -> bool:
    """Return whether enough of the keys that `root` lists signed `metadata`."""
    try:
        result = root.get_verification_result(metadata.signed.type, metadata.signed_bytes, metadata.signatures)
    except ValueError:
        return False
    return bool(result)


def expiry(role: str, now: float) -> datetime:
    """Return when metadata of `role` that is signed `now` expires. TUF keeps whole seconds."""
    return datetime.fromtimestamp(int(now), tz=timezone.utc) + timedelta(days=LIFETIMES_DAYS[role])


def place_file(source: Path, target: Path, digest: str) -> None:
    """Have a copy of `source`, whose SHA-256 is `digest`, at `target`.

    Raises:
        InvalidConfig: `source` is the damaged copy itself.
        StorageFull: it cannot be written.
    """
    if target.is_file() and sha256_of(target) == digest:
        return
    if source.resolve() == target.resolve():
        raise InvalidConfig(f"'{source}' is damaged", hint="publish the bundle from its source")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)  # one copy on the disk when the source is the blob store
    except OSError:
        with source.open("rb") as file:
            write_durably(target, iter(lambda: file.read(1 << 20), b""))
    fsync_folder(target.parent)


def _load(path: Path, kind: type[T]) -> Metadata[T]:
    try:
        metadata = Metadata[kind].from_bytes(path.read_bytes())  # type: ignore[valid-type]
    except FileNotFoundError as error:
        raise NotFound(f"no TUF repository at '{path.parent.parent}'", hint="release a bundle first") from error
    except RepositoryError as error:
        raise BadBundle(f"'{path}' is damaged: {error}", hint="restore it from a backup") from error
    if not isinstance(metadata.signed, kind):
        raise BadBundle(f"'{path}' is not of type {kind.__name__}", hint="restore it from a backup")
    return metadata

"""The TUF repository: which bundles the release keys vouch for (DESIGN 6, the image side).

    FOLDER/metadata/   1.root.json, N.targets.json, N.snapshot.json, timestamp.json
    FOLDER/targets/    bundles/DIGEST.plb

Both folders are served as they are. Metadata versions are never overwritten (consistent snapshots), and timestamp.json is
replaced last, so a client sees the old state or the new one. Bundles are named by their hash, which gives targets the same
property without the hash prefix, so clients take them at their plain path.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

from tuf.api.exceptions import RepositoryError

# python-tuf exports some of these without __all__, which mypy --strict does not follow.
from tuf.api.metadata import (  # type: ignore[attr-defined]
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from cloud.registry.blobs import sha256_of
from cloud.registry.bundle import open_bundle
from cloud.registry.durable_file import fsync_folder, write_durably
from cloud.registry.keys import TUF_ROLES, Keys
from contract.errors import BadBundle, InvalidConfig, NotFound
from contract.ids import bundle_target

LIFETIMES_DAYS: Mapping[str, float] = {"root": 730, "targets": 365, "snapshot": 14, "timestamp": 3}

T = TypeVar("T", Root, Targets, Snapshot, Timestamp)


class TufRepository:
    """The repository in `folder`, signed with `keys`. Several processes may use it: writes are serialised by a lock file."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        self._metadata, self._targets, self._keys = folder / "metadata", folder / "targets", keys

    def create(self, now: float) -> bytes:
        """Make the first metadata when there is none; return the root, which every station pins.

        Args:
            now: Unix seconds.
        Raises:
            NotFound: a key is missing.
        """
        with self._lock():
            path = self._metadata / "1.root.json"
            if not (self._metadata / "timestamp.json").exists():
                if not path.exists():
                    root = Root(version=1, expires=_expiry("root", now), consistent_snapshot=True)
                    for role in TUF_ROLES:
                        root.add_key(self._keys.signer(role).public_key, role)
                    self._write(Metadata(root), "1.root.json")
                self._write_state(Targets(version=1), Snapshot(version=1), Timestamp(version=1), now)
            return path.read_bytes()

    def publish(self, archive: Path, custom: Mapping[str, Any], now: float) -> str:
        """Vouch for the bundle at `archive`; return its digest. One that is listed already is listed once.

        Args:
            custom: facts about it that a client may show; JSON.
            now: Unix seconds.
        Raises:
            BadBundle: it is no whole bundle.
            NotFound: the file, the repository or a key is missing.
        """
        _, digest = open_bundle(archive)
        target = bundle_target(digest)
        with self._lock():
            place = self._targets / target
            if not place.is_file() or sha256_of(place) != digest:
                _copy(archive, place)
            targets, snapshot, timestamp = self._latest()
            if target not in targets.signed.targets:
                info = TargetFile(place.stat().st_size, {"sha256": digest}, target, {"custom": dict(custom)})
                targets.signed.targets[target] = info
                targets.signed.version += 1
                snapshot.signed.version += 1
                timestamp.signed.version += 1
                self._write_state(targets.signed, snapshot.signed, timestamp.signed, now)
        return digest

    def refresh_online(self, now: float) -> bool:
        """Sign snapshot and timestamp anew when half their lifetime is over; return whether it did. Run it every hour.

        Raises:
            NotFound: the repository or a key is missing.
        """
        with self._lock():
            _, snapshot, timestamp = self._latest()
            old = _half_over("snapshot", snapshot.signed.expires, now)
            if not old and not _half_over("timestamp", timestamp.signed.expires, now):
                return False
            if old:
                snapshot.signed.version += 1
                self._write_snapshot(snapshot.signed, now)
            timestamp.signed.version += 1
            self._write_timestamp(timestamp.signed, snapshot.signed.version, now)
            return True

    def root(self) -> bytes:
        """Return the first root, which every station pins.

        Raises:
            NotFound: the repository was never created.
        """
        return _read(self._metadata / "1.root.json")

    def digests(self) -> tuple[str, ...]:
        """Return the bundles that are vouched for, sorted."""
        targets, _, _ = self._latest()
        return tuple(sorted(info.hashes["sha256"] for info in targets.signed.targets.values()))

    def expires_at(self) -> float:
        """Return when clients stop accepting this repository unless `refresh_online` runs, Unix seconds."""
        targets, snapshot, timestamp = self._latest()
        return float(min(each.signed.expires.timestamp() for each in (targets, snapshot, timestamp)))

    def _latest(self) -> tuple[Metadata[Targets], Metadata[Snapshot], Metadata[Timestamp]]:
        timestamp = self._load("timestamp.json", Timestamp)
        snapshot = self._load(f"{timestamp.signed.snapshot_meta.version}.snapshot.json", Snapshot)
        targets = self._load(f"{snapshot.signed.meta['targets.json'].version}.targets.json", Targets)
        return targets, snapshot, timestamp

    def _load(self, name: str, kind: type[T]) -> Metadata[T]:
        data = _read(self._metadata / name)
        try:
            metadata = Metadata[kind].from_bytes(data)  # type: ignore[valid-type]
        except RepositoryError as error:
            raise BadBundle(
                f"'{self._metadata / name}' is damaged: {error}", hint="restore it from a backup"
            ) from error
        if not isinstance(metadata.signed, kind):
            raise BadBundle(
                f"'{self._metadata / name}' is not of type {kind.__name__}", hint="restore it from a backup"
            )
        return metadata

    def _write_state(self, targets: Targets, snapshot: Snapshot, timestamp: Timestamp, now: float) -> None:
        targets.expires = _expiry("targets", now)
        self._write(Metadata(targets), f"{targets.version}.targets.json")
        snapshot.meta["targets.json"] = MetaFile(targets.version)
        self._write_snapshot(snapshot, now)
        self._write_timestamp(timestamp, snapshot.version, now)

    def _write_snapshot(self, snapshot: Snapshot, now: float) -> None:
        snapshot.expires = _expiry("snapshot", now)
        self._write(Metadata(snapshot), f"{snapshot.version}.snapshot.json")

    def _write_timestamp(self, timestamp: Timestamp, snapshot_version: int, now: float) -> None:
        timestamp.expires = _expiry("timestamp", now)
        timestamp.snapshot_meta = MetaFile(snapshot_version)
        self._write(Metadata(timestamp), "timestamp.json")

    def _write(self, metadata: Metadata[Any], name: str) -> None:
        metadata.sign(self._keys.signer(metadata.signed.type))
        write_durably(self._metadata / name, (metadata.to_bytes(JSONSerializer()),))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self._metadata.mkdir(parents=True, exist_ok=True)
        self._targets.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._metadata.parent / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _expiry(role: str, now: float) -> datetime:
    # TUF keeps whole seconds.
    return datetime.fromtimestamp(int(now), tz=timezone.utc) + timedelta(days=LIFETIMES_DAYS[role])


def _half_over(role: str, expires: datetime, now: float) -> bool:
    return expires.timestamp() - now < LIFETIMES_DAYS[role] * 86400 / 2


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"no TUF repository at '{path.parent.parent}'", hint="release a bundle first") from error


def _copy(source: Path, target: Path) -> None:
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

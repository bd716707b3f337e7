"""Kits: update metadata, a bundle and signed orders in one folder or one file, for stations without a network (OTA-6).

    KIT/metadata/                   N.root.json ..., timestamp.json, N.snapshot.json, N.targets.json
    KIT/targets/bundles/DIGEST.plb  the bundle
    KIT/orders/STATION.json         what the broker would tell the station: a DesiredState with its signed order
    KIT/kit.json                    what it is, for people; nothing is trusted for it

A `.plk` file is the same as a plain ustar, in the form of `contract.archive`. The published timestamp lives for days, a courier
takes weeks: a kit has a snapshot and a timestamp of its own, of the published versions and contents, that live as long as
the kit. They are signed with the online keys and never published; the station's floors refuse them where it has seen newer.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from tuf.api.exceptions import RepositoryError

# python-tuf exports some of these without __all__, which mypy --strict does not follow.
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp  # type: ignore[attr-defined]
from tuf.api.serialization.json import JSONSerializer

from cloud.registry.durable_file import fsync_folder, write_durably
from cloud.registry.keys import Keys
from contract.archive import TRAILER, entry_header, padding
from contract.codec import encode_control
from contract.errors import BadBundle, InvalidConfig, NotFound
from contract.ids import bundle_target
from contract.messages import DesiredState

ARCHIVE_SUFFIX = ".plk"

T = TypeVar("T", Root, Targets, Snapshot, Timestamp)
Content = bytes | Path


@dataclass(frozen=True, slots=True)
class KitMetadata:
    """The metadata files of a kit, by name; `expires_at` is when the first of them ends, Unix seconds."""

    files: Mapping[str, bytes]
    expires_at: float


def kit_metadata(repository: Path, keys: Keys, bundle: str, now: float, lifetime_s: float) -> KitMetadata:
    """Return the metadata for a kit of `bundle` that is accepted for `lifetime_s` from `now`.

    Args:
        repository: the TUF repository's folder, with metadata/ in it.
    Raises:
        NotFound: there is no repository, it does not list the bundle, or an online key is not here.
        InvalidConfig: the root or the targets end sooner than the kit would, or the keys here are not the repository's.
        BadBundle: its metadata is damaged.
    """
    folder = repository / "metadata"
    roots = sorted(folder.glob("*.root.json"), key=lambda path: int(path.name.split(".")[0]))
    if not roots:
        raise NotFound(f"no TUF repository at '{repository}'", hint="release a bundle first")
    root = _load(roots[-1], Root)
    timestamp = _load(folder / "timestamp.json", Timestamp)
    snapshot = _load(folder / f"{timestamp.signed.snapshot_meta.version}.snapshot.json", Snapshot)
    signed_targets = {
        name: folder / f"{meta.version}.{name}" for name, meta in sorted(snapshot.signed.meta.items())
    }  # and whatever the targets delegate to
    targets = _load(signed_targets["targets.json"], Targets)
    if bundle_target(bundle) not in targets.signed.targets:
        raise NotFound(f"the update repository lists no bundle {bundle[:12]}", hint="release the version again")
    # TUF keeps whole seconds.
    ends = datetime.fromtimestamp(int(now), tz=timezone.utc) + timedelta(seconds=int(lifetime_s))
    for name, signed in (("root", root.signed), ("targets", targets.signed)):
        if signed.expires < ends:
            days = (signed.expires.timestamp() - now) / 86_400
            raise InvalidConfig(
                f"the {name} metadata ends in {days:.1f} days, before the kit would",
                hint=f"make a kit for fewer days, or sign new {name} metadata first",
            )
    snapshot.signed.expires = timestamp.signed.expires = ends
    snapshot_bytes = _sign(snapshot, root.signed, keys)
    timestamp.signed.snapshot_meta = MetaFile(
        snapshot.signed.version
    )  # the published one's length and hash, if any, went
    files = {path.name: path.read_bytes() for path in (*roots, *signed_targets.values())}
    files[f"{snapshot.signed.version}.snapshot.json"] = snapshot_bytes
    files["timestamp.json"] = _sign(timestamp, root.signed, keys)
    return KitMetadata(files, ends.timestamp())


def kit_files(
    metadata: KitMetadata,
    targets: Mapping[str, Path],
    orders: Mapping[str, str],
    facts: Mapping[str, Any],
    *,
    order_keys: str = "",
) -> dict[str, Content]:
    """Return everything in a kit, by name.

    Args:
        targets: files by their names below targets/.
        orders: envelopes of signed orders by station.
        facts: what kit.json says, for people.
        order_keys: the envelope that replaces the order keys, for stations that know only earlier ones; "" for none.
    """
    said = msgspec.json.format(msgspec.json.encode({"kit": 1, **facts, "stations": sorted(orders)}), indent=2)
    files: dict[str, Content] = {"kit.json": said + b"\n"}
    files |= {f"metadata/{name}": data for name, data in sorted(metadata.files.items())}
    for station, envelope in sorted(orders.items()):
        files[f"orders/{station}.json"] = encode_control(DesiredState(station, envelope, order_keys=order_keys))
    # Last, so that a file cut short lacks bytes of a bundle, which says so.
    return files | {f"targets/{name}": path for name, path in sorted(targets.items())}


def check_free(out: Path) -> None:
    """Raise InvalidConfig when something is at `out` already."""
    if out.exists() or out.is_symlink():
        raise InvalidConfig(f"'{out}' is there already", hint="kits are never written over: delete it, or name another")


def write_kit(files: Mapping[str, Content], out: Path) -> int:
    """Write a kit to `out`, one file when its name ends in .plk, else a folder, and return its bytes; whole or not at all.

    Raises:
        InvalidConfig: something is there already.
        OSError: the disk's own words.
    """
    check_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        if out.suffix == ARCHIVE_SUFFIX:
            write_durably(temporary, _archived(files))
        else:
            for name, content in files.items():
                write_durably(temporary / name, _chunks(content))
        temporary.rename(out)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
    fsync_folder(out.parent)
    return sum(_size(content) for content in files.values())


def _archived(files: Mapping[str, Content]) -> Iterator[bytes]:
    for name, content in files.items():
        size = _size(content)
        yield entry_header(name, size)
        yield from _chunks(content)
        yield padding(size)
    yield TRAILER


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _chunks(content: Content) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk


def _load(path: Path, kind: type[T]) -> Metadata[T]:
    try:
        metadata = Metadata[kind].from_bytes(path.read_bytes())  # type: ignore[valid-type]
    except FileNotFoundError as error:
        raise NotFound(f"the update repository has no '{path.name}'", hint="restore it from a backup") from error
    except RepositoryError as error:
        raise BadBundle(f"'{path}' is damaged: {error}", hint="restore it from a backup") from error
    if not isinstance(metadata.signed, kind):
        raise BadBundle(f"'{path}' is not of type {kind.__name__}", hint="restore it from a backup")
    return metadata


def _sign(metadata: Metadata[Any], root: Root, keys: Keys) -> bytes:
    role = metadata.signed.type
    fresh = Metadata(metadata.signed)
    # Of a role's keys those that the newest root names: older ones stay in the folder after a rotation.
    held = keys.listed(root.roles[role].keyids)
    for key in held:
        fresh.sign(key.signer, append=True)
    try:
        root.verify_delegate(role, fresh.signed_bytes, fresh.signatures)
    except (RepositoryError, ValueError) as error:
        raise InvalidConfig(
            f"the {role} key that the newest root names is not here",
            hint="make the kit where the server's online keys are, all of them",
        ) from error
    return fresh.to_bytes(JSONSerializer())

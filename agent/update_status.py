"""How a station's updates stand, from its files: the station may be running or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from agent.health.home_lock import is_locked
from agent.slots.ab_slots import Slots
from agent.slots.commit_marks import CommitMarks
from agent.slots.disk import Disk
from agent.slots.download_note import read_note
from agent.slots.floors_file import FloorsFile
from agent.slots.kit_inbox import KitInbox
from agent.slots.order_keys_file import OrderKeysFile
from agent.slots.reported_file import ReportedFile
from agent.update.slot_state import CommitMark
from contract.errors import BadBundle
from contract.ids import is_digest
from contract.manifest import MANIFEST_NAME, decode_manifest
from contract.messages import Order

_ROLES = ("root", "timestamp", "snapshot", "targets")


class _Signed(msgspec.Struct):
    version: int
    expires: str


class _Metadata(msgspec.Struct):
    signed: _Signed


def update_status(home: Path, station: str, keys: OrderKeysFile | None) -> dict[str, Any]:
    """Return the status of the updates of the station whose files are in `home`, as plain values.

    The bundles that could boot are read and hashed, which takes a while for large ones.

    Args:
        keys: the order keys; None where the station trusts none.
    """
    slots, folder = Slots(home / "bundles"), home / "bundles"
    boots, trial, last = slots.boot_bundle(), slots.trial(), slots.last()
    ring = keys.read() if keys is not None else None
    reported = ReportedFile(home).read()
    return {
        "station": station,
        "running": is_locked(home),
        "boots": boots.digest if boots else "",
        "slots": _slots(folder, boots.digest if boots else ""),
        "trial": {**_order(trial.order), "tries": trial.tries} if trial else None,
        "banned": [list(pair) for pair in sorted(slots.banned())],
        "last": {**_order(last.order), "kept": last.kept, "shadowed": last.shadowed, "reason": last.reason}
        if last
        else None,
        "floors": msgspec.to_builtins(FloorsFile(home / "floors").read()),
        "download": _download(home / "downloads"),
        "order_keys": {"version": ring.version, "keyids": [key.keyid for key in ring.keys]} if ring else None,
        "metadata": _metadata(home / "tuf"),
        "kit": _kit(KitInbox(home)),
        "reported": msgspec.to_builtins(reported) if reported else None,
    }


def _order(order: Order) -> dict[str, Any]:
    return {"bundle": order.bundle, "deployment": order.deployment, "desired_seq": order.desired_seq}


def _slots(folder: Path, boots: str) -> list[dict[str, Any]]:
    marks = {mark.digest: mark for mark in CommitMarks(folder / "committed", Disk()).all(tolerant=True)}
    paths = sorted((folder / "slots").iterdir()) if (folder / "slots").is_dir() else []
    found = [_slot(path, marks.get(path.name), path.name == boots) for path in paths if is_digest(path.name)]
    return sorted(found, key=lambda slot: -slot["commit"])


def _slot(path: Path, mark: CommitMark | None, boots: bool) -> dict[str, Any]:
    try:
        manifest = decode_manifest((path / MANIFEST_NAME).read_bytes())
        name, version = manifest.name, manifest.version
    except (OSError, BadBundle):
        name, version = "", "damaged"
    return {
        "bundle": path.name,
        "name": name,
        "version": version,
        "boots": boots,
        "commit": mark.number if mark else 0,
        "deployment": mark.order.deployment if mark and mark.order else "",
        "desired_seq": mark.order.desired_seq if mark and mark.order else 0,
    }


def _download(folder: Path) -> dict[str, Any] | None:
    try:
        parts = [path for path in folder.iterdir() if path.suffix == ".part"]
        for part in parts:
            note = read_note(part.with_suffix(".note"))
            return {
                "file": part.stem,
                "bytes": part.stat().st_size,
                "of": note.size_bytes if note else None,
                "spent": note.spent if note else None,
            }
    except OSError:
        pass  # it was finished while we looked
    return None


def _metadata(folder: Path) -> dict[str, Any]:
    known = {}
    for role in _ROLES:
        try:
            signed = msgspec.json.decode((folder / f"{role}.json").read_bytes(), type=_Metadata).signed
        except (OSError, msgspec.DecodeError, ValueError):
            continue
        known[role] = {"version": signed.version, "expires": signed.expires}
    return known


def _kit(kits: KitInbox) -> dict[str, Any]:
    outcome = kits.outcome()
    return {"waiting": kits.stamp() is not None, "last": msgspec.to_builtins(outcome) if outcome else None}

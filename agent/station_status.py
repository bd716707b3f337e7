"""How a station stands, from its files: what `plumbline-agent status` prints and /v1/status answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from agent.decide.unfamiliar import Learnt, frames_needed
from agent.health.home_lock import is_locked
from agent.line_io.line_teller import line_of
from agent.ports.slots import InstalledBundle
from agent.slots.ab_slots import Slots
from agent.store.database import FILE_NAME, open_read_only
from agent.store.status import read_status
from contract.errors import BadMessage
from contract.sketches.reference import decode_reference


def station_status(
    home: Path,
    station: str,
    source_kind: str,
    slots: Slots | None = None,
    boot_bundle: Callable[[], InstalledBundle | None] | None = None,
    *,
    refuses: bool = True,
) -> dict[str, Any]:
    """Return the status of the station whose files are in `home`, as plain values.

    Args:
        boot_bundle: how to find the bundle that boots; None reads and hashes it, which takes a while for a large one.
        refuses: whether it refuses unfamiliar frames ([line] unfamiliar).
    Raises:
        NotFound: the station never ran.
    """
    with closing(open_read_only(home / FILE_NAME)) as connection:
        store = read_status(connection)
    slots = slots or Slots(home / "bundles")
    bundle, last, trial = (boot_bundle or slots.boot_bundle)(), slots.last(), slots.trial()
    mark = slots.committed()
    stopped = "none, as was ordered" if mark is not None and not mark.digest else ""
    cameras = sorted({*store.windows, *store.references})
    enrolled = {camera: _frames_of(store.references.get(camera, "")) for camera in cameras}
    several = {
        camera: {"windows": store.windows.get(camera, 0), "enrolled_frames": enrolled[camera]} for camera in cameras
    }
    return {
        "station": station,
        "running": is_locked(home),
        "source": source_kind,
        "simulated": source_kind == "simulated",
        "bundle": bundle.digest if bundle else "",
        "bundle_name": f"{bundle.manifest.name} {bundle.manifest.version}" if bundle else stopped,
        "models": _models(store.models),
        "trial": trial.order.bundle if trial else "",
        "last_update": ("kept" if last.kept else f"rolled back: {last.reason}") if last else "",
        "boot": store.boot,
        "captured": store.captured,
        "passed": store.passed,
        "rejected": store.rejected,
        "review": store.review,
        "review_causes": store.review_causes,
        "second_opinions": store.opinions,
        "windows": sum(store.windows.values()),
        "outbox": store.outbox,
        "outbox_bytes": store.outbox_bytes,
        "acked_at": store.acked_at,
        "uplink": store.uplink,
        **line_of(store.line),
        "samples": store.samples,
        "samples_bytes": store.samples_bytes,
        # Of several cameras the least: one that enrols is not hidden behind the others.
        "enrolled_frames": min(enrolled.values(), default=0),
        "refusal": _refusals({camera: store.limits.get(camera, "") for camera in cameras or [""]})
        if refuses
        else "off",
        **({"cameras": several} if any(cameras) else {}),
    }


def _refusals(limits: Mapping[str, str]) -> str:
    """Return how far each camera is with learning from where on a frame is refused as unfamiliar, in words."""
    words = {camera: _refusal(kept) for camera, kept in limits.items()}
    if not any(words):
        return words[""]
    return "; ".join(f"{camera or '(first)'} {each}" for camera, each in words.items())


def _refusal(kept: str) -> str:
    try:
        learnt = msgspec.json.decode(kept, type=Learnt) if kept else None
    except (msgspec.DecodeError, RecursionError):
        learnt = None
    if learnt is None or not learnt.is_sound():
        return "not learnt: nothing is enrolled for it yet"
    if learnt.limit is None:
        return f"learning, {learnt.seen} of {frames_needed(learnt.rate)} frames"
    return "in force"


def _models(kept: str) -> dict[str, str]:
    """Return how the models beside the one in charge stood when the station last said so, by name."""
    try:
        return msgspec.json.decode(kept, type=dict[str, str]) if kept else {}
    except msgspec.DecodeError:
        return {}


def _frames_of(reference: str) -> int:
    try:
        return decode_reference(reference.encode()).frames if reference else 0
    except BadMessage:
        return 0

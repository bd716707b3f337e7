"""Which released versions a mirror should show, and how; and bringing it there."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cloud.gate.scorecard import GateReport
from cloud.registry.catalog import ReleasedVersion, ReleaseState
from cloud.registry.evidence import read_card_bytes, read_gate_bytes, read_manifest
from cloud.registry.mlflow_mirror import PROMOTED, MirroredVersion, MlflowMirror
from cloud.registry.release import Registry
from contract.errors import PlumblineError, StorageFull
from contract.manifest import MANIFEST_NAME, encode_manifest


class MirrorReport(msgspec.Struct, frozen=True):
    """What was done: versions that are shown anew or otherwise than before, and why others could not be."""

    shown: tuple[str, ...] = ()
    unchanged: int = 0
    failed: dict[str, str] = {}


def mirror_releases(registry: Registry, mirror: MlflowMirror, promoted: str) -> MirrorReport:
    """Have `mirror` show every released version as it is now; those it shows so already are left alone.

    One version that cannot be shown does not hold up the others.

    Args:
        promoted: the version of the newest rollout that is done, "" for none.
    Raises:
        TransientError: the mirror cannot be reached at all, or the registry cannot be locked.
    """
    with _alone(registry.folder):
        known, shown, failed, unchanged = mirror.states(), [], {}, 0
        versions = registry.catalog.all()
        states = states_of(versions, promoted)
        # The oldest first, so that MLflow's own numbers rise with time.
        for each in reversed(versions):
            if known.get(each.digest) == states[each.version]:
                unchanged += 1
                continue
            try:
                mirror.show(_told_of(registry, each, states[each.version]))
                shown.append(each.version)
            except PlumblineError as error:
                failed[each.version] = error.one_line()
        return MirrorReport(tuple(shown), unchanged, failed)


def states_of(versions: list[ReleasedVersion], promoted: str) -> dict[str, str]:
    """Return "withdrawn", "promoted", "retired" or "released" for each version.

    Retired is what the promoted one's release counter bars from stations that keep it (OTA-3).
    """
    floor = next((each.release_counter for each in versions if each.version == promoted), 0)

    def state(each: ReleasedVersion) -> str:
        if each.state in (ReleaseState.WITHDRAWN, ReleaseState.PRUNED):
            return "withdrawn"
        if each.version == promoted:
            return PROMOTED
        return "retired" if each.release_counter < floor else "released"

    return {each.version: state(each) for each in versions}


def _told_of(registry: Registry, released: ReleasedVersion, state: str) -> MirroredVersion:
    manifest = read_manifest(registry, released)
    files = {MANIFEST_NAME: encode_manifest(manifest)}
    figures: dict[str, float] = {}
    if manifest.model_card:
        files["model_card.md"] = read_card_bytes(registry, released)
    if manifest.gate_report:
        files["gate.json"] = read_gate_bytes(registry, released)
        figures = _figures(files["gate.json"])
    return MirroredVersion(released, state, figures, files)


def _figures(report: bytes) -> dict[str, float]:
    try:
        gate = msgspec.json.decode(report, type=GateReport)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}  # an imported bundle's report may be anything; the file is shown as it is
    figures = {
        "passed": float(gate.passed),
        "failed_checks": float(sum(not check.passed for check in gate.checks)),
        "accuracy": gate.card.base.accuracy,
        "images": float(gate.card.base.images),
        "missed_defects": float(gate.card.missed_defects),
        "calibration_error": gate.card.calibration_error,
        "median_ms": gate.card.median_ms,
    }
    return figures | ({"accuracy_drift": gate.card.drift.accuracy} if gate.card.drift else {})


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two mirrors at once would each make what the other is making."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".mirror.lock").open("ab")
    except OSError as error:
        raise StorageFull(f"'{folder}' cannot be written: {error.strerror}", hint="check the folder's owner") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

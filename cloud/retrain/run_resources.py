"""The memory that a run's bundle takes, measured once and kept in the run: a release repeated must give the same bytes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from cloud.registry.blobs import sha256_of
from cloud.registry.bundle import BundleContent
from cloud.retrain.run_folder import RunFolder, publish

RESOURCES_NAME = "resources.json"


class MeasuredMemory(msgspec.Struct, frozen=True):
    """What was measured, and of which files."""

    files: dict[str, str]
    memory_mib: float


def memory_of(run: RunFolder, content: BundleContent, measure: Callable[[BundleContent], float]) -> float:
    """Return the memory in MiB that the bundle states: as kept in the run, or measured now and kept.

    Raises:
        BadModel: the artefact fails its own golden inputs.
    """
    names = [artefact.file for artefact in content.artefacts]
    names += [content.golden.file] if content.golden else []
    files = {name: sha256_of(content.files[name]) for name in names}
    path = run.root / RESOURCES_NAME
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=MeasuredMemory)
    except (OSError, msgspec.DecodeError):
        kept = None
    if kept is None or kept.files != files:
        kept = MeasuredMemory(files, measure(content))
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=2))
        publish(temporary, path)
    return kept.memory_mib

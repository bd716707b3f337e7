"""What a bundle says of itself, read from its archive, or, once that is deleted, from what was kept of it.

The manifest, the gate's report and the model card are a few kilobytes: they stay for good, so that every verdict leads back to
its model whatever was deleted since.
"""

from __future__ import annotations

import msgspec

from cloud.gate.scorecard import GateReport
from cloud.registry.bundle import read_file
from cloud.registry.catalog import ReleasedVersion, ReleaseState
from cloud.registry.release import Registry
from contract.archive import ArchiveReader
from contract.errors import NotFound
from contract.manifest import Manifest, decode_manifest


def keep_evidence(registry: Registry, released: ReleasedVersion) -> ReleasedVersion:
    """Keep what the archive says apart from it, durably; return the version as the catalog has it then.

    Raises:
        NotFound, BadBundle: the archive is gone, or damaged.
    """
    content = _manifest_bytes(registry, released)
    manifest = decode_manifest(content)
    put = registry.blobs.put
    gate, card = (
        put(read_file(registry.blobs.path(released.digest), name)) if name else ""
        for name in (manifest.gate_report, manifest.model_card)
    )
    kept = msgspec.structs.replace(
        released, manifest=put(content), gate_report=gate or released.gate_report, model_card=card
    )
    return kept if kept == released else registry.catalog.replace(kept)


def read_manifest(registry: Registry, released: ReleasedVersion) -> Manifest:
    """Return the bundle's manifest.

    Raises:
        NotFound, BadBundle: neither the archive nor what was kept of it can be read.
    """
    return decode_manifest(_manifest_bytes(registry, released))


def read_card_bytes(registry: Registry, released: ReleasedVersion) -> bytes:
    """Return the model card, Markdown; nothing where the bundle has none.

    Raises:
        NotFound, BadBundle: as `read_manifest`.
    """
    if released.model_card:
        return registry.blobs.path(released.model_card).read_bytes()
    name = read_manifest(registry, released).model_card
    return read_file(registry.blobs.path(released.digest), name) if name else b""


def read_gate_bytes(registry: Registry, released: ReleasedVersion) -> bytes:
    """Return gate.json; nothing where it was released without one.

    Raises:
        NotFound, BadBundle: as `read_manifest`.
    """
    if released.gate_report:
        return registry.blobs.path(released.gate_report).read_bytes()
    name = read_manifest(registry, released).gate_report
    return read_file(registry.blobs.path(released.digest), name) if name else b""


def read_gate(registry: Registry, released: ReleasedVersion) -> GateReport | None:
    """Return the gate's report; None where it was released without one, or it is of another kind.

    Raises:
        NotFound, BadBundle: as `read_manifest`.
    """
    content = read_gate_bytes(registry, released)
    try:
        return msgspec.json.decode(content, type=GateReport) if content else None
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None  # an imported bundle's report may be anything


def _manifest_bytes(registry: Registry, released: ReleasedVersion) -> bytes:
    if released.state is ReleaseState.PRUNED and released.manifest:
        return registry.blobs.path(released.manifest).read_bytes()
    path = registry.blobs.path(released.digest)
    try:
        with path.open("rb") as file:
            return ArchiveReader(file).manifest_bytes
    except OSError as error:
        raise NotFound(f"no bundle '{path}': {error.strerror or error}", hint="check the path") from error

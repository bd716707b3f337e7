"""Where a bundle came from, as far as the registry knows, with each hash on the way taken again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from cloud.gate.scorecard import GateReport
from cloud.registry.bundle import open_bundle, read_file
from cloud.registry.catalog import ReleasedVersion
from cloud.registry.release import Registry
from contract.errors import BadBundle, NotFound
from contract.manifest import Artefact, Manifest, decode_manifest


@dataclass(frozen=True, slots=True)
class Check:
    """A hash that was taken again: what of, whether it is the one on record, and both."""

    what: str
    holds: bool
    on_record: str
    found: str

    @classmethod
    def of(cls, what: str, on_record: str, *found: str) -> Check:
        """Return the check that one of `found` is the hash on record."""
        holds = on_record in found
        return cls(what, holds, on_record, on_record if holds else found[0])


@dataclass(frozen=True, slots=True)
class BundleLink:
    """A bundle and what it says of itself. `manifest`, `gate`: None where they cannot be read; `gaps` say what is not known."""

    digest: str
    release: ReleasedVersion | None
    manifest: Manifest | None
    gate: GateReport | None
    checks: tuple[Check, ...]
    gaps: tuple[str, ...]

    def artefact(self, file: str = "") -> Artefact | None:
        """Return the artefact of that file, the first for ""; None where there is none."""
        known = self.manifest.artefacts if self.manifest else ()
        return next((each for each in known if file in ("", each.file)), None)


def bundle_link(registry: Registry, digest: str) -> BundleLink:
    """Return what the registry knows of the bundle with this SHA-256. Raises nothing for what is gone or damaged: it is told."""
    release, checks, gaps = registry.catalog.by_digest(digest), [], []
    manifest: Manifest | None = None
    gate: GateReport | None = None
    if release is None:
        gaps.append("the bundle is in no release of this registry")
    try:
        path = registry.blobs.path(digest)
        manifest, found = open_bundle(path)
        checks.append(Check.of("bundle", digest, found))
    except NotFound:
        if release is not None and release.manifest:
            manifest = _kept_manifest(registry, release, checks, gaps)
        else:
            gaps.append("the bundle's archive is gone")
    except BadBundle as error:
        checks.append(Check("bundle", False, digest, error.message))
    if manifest is not None and release is not None and manifest.lineage != release.lineage:
        checks.append(Check("the catalog's lineage", False, str(manifest.lineage), str(release.lineage)))
    if manifest is not None:
        gate = _gate(registry, digest, manifest, release, checks, gaps)
    return BundleLink(digest, release, manifest, gate, tuple(checks), tuple(gaps))


def _kept_manifest(
    registry: Registry, release: ReleasedVersion, checks: list[Check], gaps: list[str]
) -> Manifest | None:
    gaps.append("the bundle's archive was deleted as no longer needed; what it said of itself was kept")
    try:
        content = registry.blobs.path(release.manifest).read_bytes()
        checks.append(Check.of("manifest", release.manifest, hashlib.sha256(content).hexdigest()))
        return decode_manifest(content)
    except (NotFound, BadBundle) as error:
        gaps.append(f"its manifest is gone too: {error.message}")
        return None


def _gate(
    registry: Registry,
    digest: str,
    manifest: Manifest,
    release: ReleasedVersion | None,
    checks: list[Check],
    gaps: list[str],
) -> GateReport | None:
    on_record = manifest.lineage.gate
    try:
        if release is not None and release.manifest and release.gate_report:
            content = registry.blobs.path(release.gate_report).read_bytes()  # the archive may be deleted
        elif manifest.gate_report:
            content = read_file(registry.blobs.path(digest), manifest.gate_report)
        elif release is not None and release.gate_report:
            content = registry.blobs.path(release.gate_report).read_bytes()
        else:
            gaps.append("it was released without a gate report")
            return None
        checks.append(Check.of("gate report", on_record, hashlib.sha256(content).hexdigest()))
        return msgspec.json.decode(content, type=GateReport)
    except (NotFound, BadBundle, OSError) as error:
        gaps.append(f"the gate report is gone: {error}")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        gaps.append(f"the gate report cannot be read: {error}")
    return None

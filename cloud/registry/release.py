"""Release: build the bundle, keep it, vouch for it, list it; in that order, so that a break anywhere is mended by repeating."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cloud.registry.blobs import Blobs
from cloud.registry.bundle import BundleContent, build_bundle, open_bundle
from cloud.registry.catalog import Catalog, ReleasedVersion, check_version
from cloud.registry.keys import Keys
from cloud.registry.tuf_repository import TufRepository
from contract.errors import StorageFull


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry in `folder`: catalog/, blobs/, and tuf/, which is served to stations as it is."""

    folder: Path
    blobs: Blobs = field(init=False)
    catalog: Catalog = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "blobs", Blobs(self.folder / "blobs"))
        object.__setattr__(self, "catalog", Catalog(self.folder / "catalog"))

    @property
    def tuf_folder(self) -> Path:
        """The folder with metadata/ and targets/ to be served."""
        return self.folder / "tuf"

    def tuf(self, keys: Keys) -> TufRepository:
        """Return the TUF repository, to be signed with `keys`."""
        return TufRepository(self.tuf_folder, keys)


def release(
    content: BundleContent,
    registry: Registry,
    keys: Keys,
    now: float,
    *,
    full_precision: Path | None = None,
    gate_report: Path | None = None,
) -> ReleasedVersion:
    """Release `content` under `content.version`: afterwards a station may be ordered to run it.

    Args:
        full_precision: the fp32 model the cloud answers second opinions with; kept as a blob, not shipped.
        gate_report: kept as a blob. Put it among `content.files` too when it shall travel in the bundle.
        now: Unix seconds.
    Raises:
        InvalidConfig: the version name is taken by another bundle, or is none.
        NotFound: a file or a key is missing.
        BadBundle: the content contradicts itself.
    """
    check_version(content.version)
    try:
        registry.folder.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=".release-", dir=registry.folder)
    except OSError as error:
        raise StorageFull(
            f"'{registry.folder}' cannot be written: {error.strerror or error}", hint="check the folder's owner"
        ) from error
    with scratch as folder:
        # A release that broke half way is repeated to the byte, so its version name stays its own.
        known = registry.catalog.find(content.version)
        archive, _ = build_bundle(content, Path(folder) / "bundle.plb", known.created_at if known else now)
        return release_archive(
            archive,
            registry,
            keys,
            now,
            version=content.version,
            full_precision=full_precision,
            gate_report=gate_report,
        )


def release_archive(
    archive: Path,
    registry: Registry,
    keys: Keys,
    now: float,
    *,
    version: str = "",
    full_precision: Path | None = None,
    gate_report: Path | None = None,
) -> ReleasedVersion:
    """Release a bundle that is built already (an imported one); `version` defaults to its manifest's. Else like `release`."""
    manifest, digest = open_bundle(archive)
    stored = registry.blobs.path(registry.blobs.put_file(archive))
    released = ReleasedVersion(
        version=check_version(version or manifest.version),
        name=manifest.name,
        digest=digest,
        size_bytes=stored.stat().st_size,
        created_at=now,
        lineage=manifest.lineage,
        full_precision=registry.blobs.put_file(full_precision) if full_precision else "",
        gate_report=registry.blobs.put_file(gate_report) if gate_report else "",
        release_counter=manifest.release_counter,
        simulated=manifest.simulated,
    )
    # A clash publishes nothing; and what is listed, stations can find: the list comes last.
    registry.catalog.check_free(released)
    repository = registry.tuf(keys)
    repository.create(now)
    repository.publish(stored, {"name": manifest.name, "version": released.version}, now)
    registry.catalog.add(released)
    return registry.catalog.get(released.version)

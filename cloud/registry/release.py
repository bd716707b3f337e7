"""Release: build the bundle, keep it, vouch for it, list it; in that order, so that a break anywhere is mended by repeating.

Where a key that must vouch for it is elsewhere, the release is staged: it waits for signatures and is listed only when
`publish_pending` has published them, since what is listed, stations are ordered to fetch.
"""

from __future__ import annotations

import fcntl
import math
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import InitVar, dataclass, field
from pathlib import Path

import msgspec

from cloud.ports.blobs import BlobStore
from cloud.registry.blobs import Blobs
from cloud.registry.bundle import BundleContent, build_bundle, manifest_sha256, open_bundle
from cloud.registry.catalog import Catalog, ReleasedVersion, ReleaseState, check_version
from cloud.registry.deltas import LAST_RELEASES, deltas_for
from cloud.registry.keys import Keys, load_keys
from cloud.registry.pending import Pending
from cloud.registry.signing_request import SigningRequest
from cloud.registry.tuf_repository import TufRepository
from contract.errors import InvalidConfig, PlumblineError, StorageFull
from contract.target_facts import TargetFacts, encode_facts


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry in `folder`: catalog/, blobs/ unless `kept_in` is elsewhere, and tuf/, which is served as it is."""

    folder: Path
    kept_in: InitVar[BlobStore | None] = None
    blobs: BlobStore = field(init=False)
    catalog: Catalog = field(init=False)

    def __post_init__(self, kept_in: BlobStore | None) -> None:
        object.__setattr__(self, "blobs", kept_in or Blobs(self.folder / "blobs"))
        object.__setattr__(self, "catalog", Catalog(self.folder / "catalog"))

    @property
    def tuf_folder(self) -> Path:
        """The folder with metadata/ and targets/ to be served."""
        return self.folder / "tuf"

    def tuf(self, keys: Keys) -> TufRepository:
        """Return the TUF repository, to be signed with `keys`."""
        return TufRepository(self.tuf_folder, keys, self.pending)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let no other process or thread release, or delete what was released, meanwhile.

        Raises:
            StorageFull: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / ".lock").open("ab")
        except OSError as error:
            raise StorageFull(
                f"'{self.folder}' cannot be written: {error.strerror or error}", hint="check the folder's owner"
            ) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @property
    def pending(self) -> Pending:
        """What waits for signatures."""
        return Pending(self.folder / "pending")


@dataclass(frozen=True, slots=True)
class PublishedNow:
    """What a publication changed: metadata that is in force now, and versions that are listed now."""

    metadata: tuple[SigningRequest, ...]
    releases: tuple[ReleasedVersion, ...]


def release(
    content: BundleContent,
    registry: Registry,
    keys: Keys,
    now: float,
    *,
    full_precision: Path | None = None,
    gate_report: Path | None = None,
    report_page: Path | None = None,
    running: Iterable[str] = (),
) -> ReleasedVersion:
    """Release `content` under `content.version`: afterwards a station may be ordered to run it, unless it is STAGED.

    Args:
        full_precision: the fp32 model the cloud answers second opinions with; kept as a blob, not shipped.
        report_page: the gate's report for people, kept as a blob.
        gate_report: kept as a blob. Put it among `content.files` too when it shall travel in the bundle.
        running: bundles that stations run, from which deltas are made besides those from the last releases.
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
        known = registry.catalog.find(content.version) or registry.pending.find_release(content.version)
        archive, _ = build_bundle(content, Path(folder) / "bundle.plb", known.created_at if known else now)
        return release_archive(
            archive,
            registry,
            keys,
            now,
            version=content.version,
            full_precision=full_precision,
            gate_report=gate_report,
            report_page=report_page,
            running=running,
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
    report_page: Path | None = None,
    running: Iterable[str] = (),
) -> ReleasedVersion:
    """Release a bundle that is built already (an imported one); `version` defaults to its manifest's. Else like `release`.

    It is signed with the keys that the folders of `keys` hold now.
    """
    # A server that runs for months must sign with what a rotation left there since it started.
    keys = load_keys(*keys.folders)
    with registry.lock():
        return _release(archive, registry, keys, now, version, full_precision, gate_report, report_page, running)


def _release(
    archive: Path,
    registry: Registry,
    keys: Keys,
    now: float,
    version: str,
    full_precision: Path | None,
    gate_report: Path | None,
    report_page: Path | None,
    running: Iterable[str],
) -> ReleasedVersion:
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
        report_page=registry.blobs.put_file(report_page) if report_page else "",
        release_counter=manifest.release_counter,
        simulated=manifest.simulated,
    )
    # A clash publishes nothing; and what is listed, stations can find: the list comes last.
    registry.catalog.check_free(released)
    _check_not_staged(registry, released)
    repository = registry.tuf(keys)
    repository.create(now)
    # The intent comes first: whoever is killed from here on repeats the release to the byte, or `publish_pending` lists it.
    staged = msgspec.structs.replace(released, state=ReleaseState.STAGED)
    if registry.pending.find_release(staged.version) is None:
        registry.pending.add_release(staged)
    memory_mib = math.ceil(manifest.resources.memory_mib)
    told = TargetFacts(manifest.name, released.version, manifest_sha256(stored), manifest.compatibility, memory_mib)
    there = [each for each in registry.catalog.all() if each.state is not ReleaseState.PRUNED]
    recent = [each.digest for each in there[:LAST_RELEASES]]
    try:
        with tempfile.TemporaryDirectory(prefix=".deltas-", dir=registry.folder) as scratch:
            made = deltas_for((*recent, *running), digest, registry.blobs.path, Path(scratch))
            deltas = {each.target: each.file for each in made}
            vouched = repository.publish(
                stored, encode_facts(told), now, deltas=deltas, keep_deltas_to=frozenset(recent)
            )
    except (PlumblineError, OSError):
        registry.pending.drop_release(released.version)
        raise
    if not vouched:
        return staged
    list_published(registry, keys)
    _list(registry, released)
    return registry.catalog.get(released.version)


def publish_pending(registry: Registry, keys: Keys, copies: Iterable[SigningRequest], now: float) -> PublishedNow:
    """Publish what has its signatures, and list the releases among it. Repeating it is harmless.

    Args:
        copies: requests that were signed elsewhere.
    Raises:
        RefusedError, BadBundle, NotFound: as `TufRepository.publish_pending`.
    """
    done = registry.tuf(keys).publish_pending(copies, now)
    return PublishedNow(tuple(done), list_published(registry, keys))


def list_published(registry: Registry, keys: Keys) -> tuple[ReleasedVersion, ...]:
    """List the staged releases whose bundles are vouched for by now; return them."""
    staged = registry.pending.releases()
    if not staged:
        return ()
    vouched, listed = set(registry.tuf(keys).digests()), []
    for each in staged:
        if each.digest in vouched:
            released = msgspec.structs.replace(each, state=ReleaseState.RELEASED)
            _list(registry, released)
            registry.pending.drop_release(each.version)
            listed.append(released)
    return tuple(listed)


def _list(registry: Registry, released: ReleasedVersion) -> None:
    """List a release; one whose files were deleted since is there again."""
    registry.catalog.add(released)
    if registry.catalog.get(released.version).state is ReleaseState.PRUNED:
        registry.catalog.replace(released)


def _check_not_staged(registry: Registry, released: ReleasedVersion) -> None:
    for each in registry.pending.releases():
        if each.version == released.version and each.digest != released.digest:
            raise InvalidConfig(
                f"version '{each.version}' waits for signatures as another bundle ({each.digest[:12]})",
                hint="choose a new version name, or give that one up: plumbline-cloud keys pending --drop",
            )

"""What a model was trained from: its run, that run's dataset and labels, and its parents up to the base model."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from cloud.registry.blobs import sha256_of
from cloud.registry.lineage import Check
from cloud.retrain.judged_files import raw_hash
from cloud.retrain.reviewed import is_reviewed
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import DatasetEntry, RunInfo
from contract.errors import PlumblineError
from contract.ids import is_digest
from contract.manifest import Lineage, Manifest

MAX_PARENTS = 64


@dataclass(frozen=True, slots=True)
class LabellerNote:
    """How many images of a dataset somebody labelled, and when first and last (Unix seconds; None: no time is on record)."""

    labeller: str
    images: int
    first_at: float | None
    last_at: float | None


@dataclass(frozen=True, slots=True)
class RunLink:
    """A training run. `info` is None where the run is gone; `gaps` say what is not known.

    `images`: by split and label. `reviewed`: entries that a person labelled after an alarm. `seen`: those of the image or the part
    that is asked about.
    """

    folder: Path
    info: RunInfo | None
    images: dict[str, dict[str, int]]
    labellers: tuple[LabellerNote, ...]
    reviewed: tuple[DatasetEntry, ...]
    seen: tuple[DatasetEntry, ...]
    checks: tuple[Check, ...]
    gaps: tuple[str, ...]

    @property
    def name(self) -> str:
        """The run's folder name: of a released run, its version."""
        return self.folder.name


def run_chain(
    start: Path,
    find: Callable[[str], Path | None],
    *,
    manifest: Manifest | None = None,
    lineage: Lineage | None = None,
    bundle_of: Callable[[Path], tuple[Manifest | None, Lineage | None]] = lambda _folder: (None, None),
    image_sha256: str = "",
    part: str = "",
) -> Iterator[RunLink]:
    """Yield the run in `start`, then its parents, up to the base model or where the chain breaks.

    Args:
        find: returns the kept run of a bundle digest, or of a run folder that was moved, None where there is none.
        manifest, lineage: what the released bundle says of the first run, to be checked.
        bundle_of: returns what the bundle says that was released of a parent's run, to be checked too.
        image_sha256, part: what to look for in each dataset; "" for nothing.
    """
    visited: set[Path] = set()
    folder: Path | None = start
    while folder is not None and folder not in visited and len(visited) < MAX_PARENTS:
        visited.add(folder)
        if folder != start:
            manifest, lineage = bundle_of(folder)
        whose = "" if folder == start else f"{folder.name}: "
        link = _link(folder, manifest, lineage, image_sha256, part)
        yield replace(link, checks=tuple(replace(check, what=whose + check.what) for check in link.checks))
        parent = link.info.parent if link.info else ""
        folder = None
        if parent:
            folder = None if is_digest(parent) else Path(parent)
            if folder is None or not folder.is_dir():
                folder = find(parent) or Path(parent)


def _link(folder: Path, manifest: Manifest | None, lineage: Lineage | None, image: str, part: str) -> RunLink:
    run, gaps, checks = RunFolder(folder), list[str](), list[Check]()
    try:
        info = run.info()
    except PlumblineError as error:
        gone = f"the run folder is gone: {folder}" if not folder.is_dir() else error.message
        return RunLink(folder, None, {}, (), (), (), (), (gone,))
    entries: tuple[DatasetEntry, ...] = ()
    try:
        entries = run.dataset().entries
        plain = hashlib.sha256(msgspec.json.encode(entries)).hexdigest()
        checks.append(
            Check.of(
                f"dataset of {folder.name}", info.dataset_sha256, raw_hash(folder / "dataset.json", "entries"), plain
            )
        )
    except PlumblineError as error:
        gaps.append(f"its dataset is not known: {error.message}")
    if lineage is not None:
        checks += _released(folder, info, lineage, gaps)
    if manifest is not None:
        checks += _artefacts(folder, manifest)
    return RunLink(
        folder,
        info,
        _images(entries),
        _labellers(entries),
        tuple(entry for entry in entries if is_reviewed(entry)),
        tuple(entry for entry in entries if (image and entry.sha256 == image) or (part and entry.part == part)),
        tuple(checks),
        tuple(gaps),
    )


def _released(folder: Path, info: RunInfo, lineage: Lineage, gaps: list[str]) -> Iterator[Check]:
    """Yield whether the run is the one that the bundle was released from."""
    yield Check.of("dataset of the bundle", lineage.dataset, info.dataset_sha256)
    # The recipe gained fields since: that of the file, and as it is read now.
    plain = hashlib.sha256(msgspec.json.encode(info.recipe)).hexdigest()
    yield Check.of("recipe", lineage.recipe, raw_hash(folder / "run.json", "recipe"), plain)
    for what, on_record, found in (("code", lineage.code, info.code), ("parent", lineage.parent, info.parent)):
        if on_record:
            yield Check.of(f"{what} of the run", on_record, found)
    gate = folder / "gate.json"
    if lineage.gate and gate.is_file():
        yield Check.of("gate.json of the run", lineage.gate, sha256_of(gate))
    elif lineage.gate:
        gaps.append("the run's gate.json is gone")


def _artefacts(folder: Path, manifest: Manifest) -> Iterator[Check]:
    hashes = {entry.name: entry.sha256 for entry in manifest.files}
    for artefact in manifest.artefacts:
        file = folder / artefact.file
        if file.is_file():
            yield Check.of(f"{artefact.file} of the run", hashes[artefact.file], sha256_of(file))


def _images(entries: tuple[DatasetEntry, ...]) -> dict[str, dict[str, int]]:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        found[entry.split.value][entry.label] += 1
    return {split: dict(sorted(labels.items())) for split, labels in sorted(found.items())}


def _labellers(entries: tuple[DatasetEntry, ...]) -> tuple[LabellerNote, ...]:
    times: defaultdict[str, list[float]] = defaultdict(list)
    counts = Counter(entry.labeller or "unknown" for entry in entries)
    for entry in entries:
        if entry.labelled_at is not None:
            times[entry.labeller or "unknown"].append(entry.labelled_at)
    return tuple(
        LabellerNote(name, count, min(times[name], default=None), max(times[name], default=None))
        for name, count in counts.most_common()
    )

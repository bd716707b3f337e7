"""Datasets kept by name: DATASETS/NAME/ID.json, each a manifest named by its content, and which of a name is the latest.

    DATASETS/tiles/3f9c0a51b7e2.json   a DatasetManifest; ID is the first 12 digits of its content's hash
    DATASETS/tiles/latest              that ID, in text
    DATASETS/tiles/disagreements.jsonl the images that the latest left out (cloud.retrain.disagreements)

A reference names one: a path to such a file, NAME (its latest), or NAME@PREFIX of an ID.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cloud.retrain.disagreements import DISAGREEMENTS_FILE, Disagreement, save_disagreements
from cloud.retrain.layouts.found import check_inside
from cloud.retrain.run_folder import publish
from cloud.retrain.run_records import DatasetManifest
from contract.errors import BadDataset, InvalidConfig, NotFound

DEFAULT_FOLDER = "datasets"
LATEST = "latest"
_ID_DIGITS = 12
_ID = re.compile(f"[0-9a-f]{{{_ID_DIGITS}}}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class StoredDataset:
    """A manifest and where it lies. `latest`: whether its name alone means it."""

    path: Path
    id: str
    manifest: DatasetManifest
    latest: bool = False


def dataset_id(manifest: DatasetManifest) -> str:
    """Return the hash of what a dataset consists of, 64 hex digits: not of the folders it lies in, its name or its warnings."""
    facts = [
        (
            e.sha256,
            e.label,
            e.also,
            e.labeller,
            e.labelled_at,
            e.source,
            e.split.value,
            e.part,
            e.audit,
            e.inclusion,
            e.mask_sha256,
        )
        for e in sorted(manifest.entries, key=lambda e: e.sha256)
    ]
    labels = [(label.name, label.kind.value) for label in manifest.labels]
    return hashlib.sha256(msgspec.json.encode((labels, facts))).hexdigest()


def check_dataset_name(name: str) -> None:
    """Check a name.

    Raises:
        InvalidConfig: it is no name for a folder, or means something else.
    """
    if not _NAME.fullmatch(name) or name == LATEST or name.endswith(".json"):
        raise InvalidConfig(
            f"'{name[:80]}' is no name for a dataset", hint="use up to 64 letters, digits, '.', '_' and '-'"
        )


def save_dataset(
    folder: Path, manifest: DatasetManifest, disagreements: tuple[Disagreement, ...] = ()
) -> StoredDataset:
    """Write a manifest under its name and make it the latest; the same content again changes nothing but that.

    Raises:
        InvalidConfig: no such name, or a folder that cannot be written.
    """
    check_dataset_name(manifest.name)
    number = dataset_id(manifest)[:_ID_DIGITS]
    home = folder / manifest.name
    path = home / f"{number}.json"
    try:
        home.mkdir(parents=True, exist_ok=True)
        data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        if not path.is_file() or path.read_bytes() != data:
            _write(path, data)
        save_disagreements(home / DISAGREEMENTS_FILE, disagreements)
        _write(home / LATEST, f"{number}\n".encode())
    except OSError as error:
        raise InvalidConfig(f"cannot write {home}: {error.strerror}", hint="choose a folder you may write") from error
    return StoredDataset(path, number, manifest, latest=True)


def open_dataset(reference: str, folder: Path) -> StoredDataset:
    """Return the dataset that a reference names.

    Args:
        reference: a path, NAME, or NAME@PREFIX.
        folder: where names are looked up.
    Raises:
        NotFound: there is none.
        BadDataset: it is damaged, or several begin with PREFIX.
    """
    if reference.endswith(".json") or "/" in reference:
        path = Path(reference)
        if not path.is_file():
            raise NotFound(f"there is no dataset {path}", hint="see 'plumbline-cloud dataset list'")
        return _read(path)
    name, _, prefix = reference.partition("@")
    home = folder / name
    if not _NAME.fullmatch(name) or not home.is_dir():
        raise NotFound(
            f"there is no dataset '{name[:80]}' in {folder}",
            hint="see 'plumbline-cloud dataset list', or make it with 'dataset make'",
        )
    if not prefix:
        prefix = _latest(home)
    matches = sorted(f for f in home.glob("*.json") if f.stem.startswith(prefix.lower()))
    if len(matches) > 1:
        raise BadDataset(
            f"several datasets '{name}' begin with {prefix}", hint=f"{', '.join(f.stem for f in matches[:3])}"
        )
    if not matches:
        raise NotFound(f"there is no dataset '{name}@{prefix[:80]}'", hint="see 'plumbline-cloud dataset list'")
    return _read(matches[0])


def list_datasets(folder: Path) -> list[StoredDataset]:
    """Return every dataset by name and age, [] when the folder is not there. Raises: BadDataset, one is damaged."""
    homes = sorted(d for d in folder.iterdir() if d.is_dir() and _NAME.fullmatch(d.name)) if folder.is_dir() else []
    return [
        _read(f) for home in homes for f in sorted(home.glob("*.json"), key=lambda f: (f.stat().st_mtime_ns, f.name))
    ]


def _latest(home: Path) -> str:
    try:
        text = (home / LATEST).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"{home} has no latest dataset", hint=f"name one, {home.name}@ID, or make it again") from error
    if not _ID.fullmatch(text):
        raise BadDataset(f"{home / LATEST} is damaged", hint=f"name one, {home.name}@ID, or make it again")
    return text


def _read(path: Path) -> StoredDataset:
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=DatasetManifest)
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise BadDataset(
            f"{path} is no dataset: {error}", hint="make it again with 'plumbline-cloud dataset make'"
        ) from error
    _check(path, manifest)
    number = dataset_id(manifest)[:_ID_DIGITS]
    if _ID.fullmatch(path.stem) and path.stem != number:
        raise BadDataset(
            f"{path} has changed since it was made: its content is {number}",
            hint="make the dataset again under its name",
        )
    latest = path.parent / LATEST
    is_latest = latest.is_file() and latest.read_bytes().strip() == number.encode()
    return StoredDataset(path, number, manifest, is_latest)


def _check(path: Path, manifest: DatasetManifest) -> None:
    names = {label.name for label in manifest.labels}
    if not manifest.entries or not names:
        raise BadDataset(f"{path} holds no {'labels' if manifest.entries else 'images'}", hint="make the dataset again")
    for number, entry in enumerate(manifest.entries, 1):
        where = f"{path} image {number}"
        if not 0 <= entry.folder < len(manifest.folders):
            raise BadDataset(f"{where} lies in folder {entry.folder}, which the dataset does not have")
        for file in (entry.file, entry.mask):
            if file:
                # Layouts that list folders follow links, as people keep large data; its hash says what may be read.
                check_inside(Path(manifest.folders[entry.folder]), file, where, links=True)
        for name in (entry.label, *entry.also):
            if name not in names:
                raise BadDataset(f"{where} is labelled '{name}', which is none of the dataset's labels")


def _write(path: Path, data: bytes) -> None:
    # Its own name: two may be made at once.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    temporary.write_bytes(data)
    publish(temporary, path)

"""Layouts "folders" (one folder a label) and "prefix" (LABEL_NUMBER.png in one folder)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cloud.retrain.layouts.found import Findings, FolderSource, Found, dotted, is_wanted
from contract.errors import BadDataset

_LABELLER = "folder"


def find_folders(source: FolderSource) -> Findings:
    """Return the images of `root`/LABEL/*; a label's folder without images is a warning.

    Raises:
        BadDataset: two images of one stem in a folder, of which one may be a mask.
    """
    found: list[Found] = []
    empty: list[str] = []
    for folder in sorted(d for d in source.root.iterdir() if d.is_dir() and not d.name.startswith(".")):
        # Stems repeat between label folders (1.png, 2.png, ...), so the label belongs to the part's name.
        here = [
            Found(file, (folder.name,), file, f"{folder.name}/{Path(file).stem}", _LABELLER, mask=mask)
            for file, mask in _images(source, folder)
        ]
        found += here
        # A person who excluded every image of a label knows that it is gone.
        if not here and not any(each.startswith(f"{folder.name}/") for each in source.exclude):
            empty.append(folder.name)
    warnings = (
        (f"no images lie in {', '.join(repr(e) for e in empty[:3])}: the model will not know such a label",)
        if empty and found
        else ()
    )
    return Findings(tuple(found), warnings, one_label=True)


def find_prefix(source: FolderSource) -> Findings:
    """Return the images of `root`, each labelled by its stem up to the last "_".

    Raises:
        BadDataset: a stem without one, or two images of one stem.
    """
    found = []
    for file, mask in _images(source, source.root):
        stem = Path(file).stem
        if "_" not in stem.strip("_"):
            raise BadDataset(f"{file} has no label before a '_'", hint="name it LABEL_NUMBER, or use --layout folders")
        found.append(Found(file, (stem.rsplit("_", 1)[0],), file, stem, _LABELLER, mask=mask))
    return Findings(tuple(found), one_label=True)


def mask_beside(source: FolderSource, file: str) -> str:
    """Return the mask file beside an image, relative to the root; "" where there is none or masks are not wanted."""
    if source.masks is None or Path(file).suffix.lower() == dotted(source.masks):
        return ""
    mask = Path(file).with_suffix(dotted(source.masks))
    return mask.as_posix() if (source.root / mask).is_file() else ""


def _images(source: FolderSource, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (image, its mask or "") of one folder, relative to the root."""
    files = [f for f in sorted(folder.iterdir()) if f.is_file()]
    names = [f.relative_to(source.root).as_posix() for f in files]
    wanted = [n for n in names if is_wanted(source, n)]
    masks = {mask for n in wanted if (mask := mask_beside(source, n))}
    stems: dict[str, str] = {}
    for name in wanted:
        if name in masks:
            continue
        _check_stem(folder, name, stems)
        yield name, mask_beside(source, name)


def _check_stem(folder: Path, name: str, stems: dict[str, str]) -> None:
    file = Path(name)
    if file.stem in stems:
        # Two images of one stem are a picture and its mask more often than not; masks would be learnt as images.
        raise BadDataset(
            f"{folder} holds both {stems[file.stem]} and {file.name}",
            hint="if one is a mask, name the images' ending with --suffix, e.g. --suffix jpg, or the masks' with --masks",
        )
    stems[file.stem] = file.name

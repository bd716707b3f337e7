"""What a layout found, to images by content: read, hashed, merged where several statements are of one image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from cloud.retrain.disagreements import Disagreement, Opinion
from cloud.retrain.images import LoadedImage, load_image
from cloud.retrain.layouts.found import Findings, FolderSource, Found
from cloud.retrain.masks import MaskFile, draw, read_mask, store_drawn
from cloud.retrain.near_duplicates import look_of
from cloud.retrain.progress import OnProgress, Progress
from cloud.retrain.samples import ImageFile, PixelStore
from contract.errors import BadDataset, BadImage

# A message names this many bad files; more would not fit on a line a person reads.
_NAMED = 3
_PROGRESS_EVERY = 500


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image and all that is agreed on it. `found.part` is never empty."""

    found: Found
    sha256: str
    image: NDArray[np.uint8] | ImageFile
    mask: MaskFile | None
    mask_file: str
    look: str


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """The images in the layout's order, those that people disagree on (left out), and warnings."""

    images: tuple[LabelledImage, ...]
    disagreements: tuple[Disagreement, ...]
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Merged:
    """One content so far: the first statement that named it, and every statement on it."""

    image: NDArray[np.uint8] | ImageFile
    shape: tuple[int, ...]
    look: str
    words: list[Found]


def load_images(
    source: FolderSource, findings: Findings, *, held_bytes: int, looks: bool, on_progress: OnProgress
) -> LabelledImages:
    """Return the images that the layout found.

    Args:
        held_bytes: pixels kept in memory.
        looks: whether perceptual hashes are taken.
    Raises:
        BadDataset: unreadable images (named) unless they are to be skipped; an image under two labels where the layout has
            one an image; a part pattern or a mask that does not fit.
    """
    store = PixelStore(held_bytes)
    by_hash: dict[str, _Merged] = {}
    hash_of_file: dict[str, str] = {}
    bad: dict[str, str] = {}
    copies = 0
    for number, found in enumerate(findings.found, 1):
        if number % _PROGRESS_EVERY == 0:
            on_progress(Progress("read images", number, len(findings.found), ""))
        if found.file in bad:
            continue
        known = hash_of_file.get(found.file)
        if known is None:
            try:
                loaded = load_image(source.root / found.file)
            except BadImage as error:
                bad[found.file] = error.message
                continue
            known = hash_of_file[found.file] = loaded.sha256
            if known in by_hash:
                copies += 1
            else:
                by_hash[known] = _merged(source, found, loaded, store, looks)
        by_hash[known].words.append(found)
    images: list[LabelledImage] = []
    disagreements: list[Disagreement] = []
    for sha256, merged in by_hash.items():
        if len({frozenset(word.labels) for word in merged.words}) == 1:
            images.append(_agreed(source, sha256, merged))
        elif findings.one_label:
            first, other = _two_that_differ(merged.words)
            raise BadDataset(
                f"{first.file} and {other.file} are the same image with two labels", hint="keep the right one of them"
            )
        else:
            disagreements.append(_disagreement(source, sha256, merged.words))
    warnings = [*findings.warnings, *_bad_warning(source, list(bad.values()))]
    if copies:
        warnings.append(f"left out {copies} exact copies of images")
    return LabelledImages(tuple(images), tuple(disagreements), tuple(warnings))


def _merged(source: FolderSource, found: Found, loaded: LoadedImage, store: PixelStore, looks: bool) -> _Merged:
    held = store.keep((source.root / found.file).resolve(), loaded.sha256, loaded.pixels)
    return _Merged(held, loaded.pixels.shape, look_of(loaded.pixels) if looks else "", [])


def _agreed(source: FolderSource, sha256: str, merged: _Merged) -> LabelledImage:
    """Return one image of statements that agree: the first one's, by whoever said so last."""
    first = merged.words[0]
    last = max(merged.words, key=lambda word: -1.0 if word.labelled_at is None else word.labelled_at)
    splits = {word.split for word in merged.words if word.split is not None}
    if len(splits) > 1:
        raise BadDataset(
            f"{first.file} is put into {' and '.join(sorted(s.value for s in splits))}", hint="an image is in one split"
        )
    masks = {word.mask for word in merged.words if word.mask}
    shapes = tuple(shape for word in merged.words for shape in word.shapes)
    size = (merged.shape[0], merged.shape[1])
    mask_file = min(masks) if masks else ""
    if not mask_file and shapes and source.draw_masks:
        mask_file = store_drawn(source.root, draw(shapes, *size, first.where))
    mask = read_mask((source.root / mask_file).resolve(), size, first.file) if mask_file else None
    found = replace(
        first,
        part=_part(source, first),
        labeller=last.labeller,
        labelled_at=last.labelled_at,
        split=next(iter(splits), None),
        shapes=(),
    )
    return LabelledImage(found, sha256, merged.image, mask, mask_file, merged.look)


def _two_that_differ(words: Sequence[Found]) -> tuple[Found, Found]:
    return words[0], next(word for word in words if set(word.labels) != set(words[0].labels))


def _disagreement(source: FolderSource, sha256: str, words: Sequence[Found]) -> Disagreement:
    opinions = tuple(Opinion(w.labels, w.labeller, w.labelled_at, w.where) for w in words)
    return Disagreement(str(source.root.resolve()), words[0].file, sha256, opinions)


def _bad_warning(source: FolderSource, bad: Sequence[str]) -> list[str]:
    if bad and not source.skip_unreadable:
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise BadDataset("; ".join(bad[:_NAMED]) + more, hint="mend or remove them, or pass --skip-unreadable")
    return [f"skipped {len(bad)} unreadable images, the first: {bad[0]}"] if bad else []


def _part(source: FolderSource, found: Found) -> str:
    stem = Path(found.file).stem
    if source.part_pattern is None:
        return found.part or PurePosixPath(found.file).with_suffix("").as_posix()
    try:
        match = re.search(source.part_pattern, stem)
    except re.error as error:
        raise BadDataset(f"'{source.part_pattern}' is no regular expression: {error}") from error
    if match is None or not match.groups() or match.group(1) is None:
        raise BadDataset(
            f"'{source.part_pattern}' finds no part in '{stem}'", hint="its first group must match in every file's stem"
        )
    return str(match.group(1))

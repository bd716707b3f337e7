from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cloud.retrain.dataset import FolderSource, NearDuplicates, read_dataset
from cloud.retrain.near_duplicates import ALIKE_BITS, find_alike, group_alike, look_of
from tests.cloud.retrain.pictures import LABELS

# Few enough different ones that many are alike, some that are like nothing, some without a look.
_near = st.integers(0, 6).map(lambda n: f"{n * 0x0101:016x}")
_looks = st.lists(_near | st.integers(0, 2**64 - 1).map(lambda n: f"{n:016x}") | st.just(""), max_size=14)


def _bits(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


@given(_looks, st.data())
def test_pairs_are_those_of_the_definition(looks: list[str], data: st.DataObject) -> None:
    groups = data.draw(st.lists(st.integers(0, 2), min_size=len(looks), max_size=len(looks)))
    expected = [
        (a, b)
        for a in range(len(looks))
        for b in range(a + 1, len(looks))
        if looks[a] and looks[b] and groups[a] != groups[b] and _bits(looks[a], looks[b]) <= ALIKE_BITS
    ]
    pairs = find_alike(looks, groups)
    assert pairs.count == len(expected) and list(pairs.first) == expected[:3]


@settings(max_examples=40)
@given(_looks, st.data())
def test_grouping_leaves_no_pair_apart_and_joins_nothing_else(looks: list[str], data: st.DataObject) -> None:
    groups = data.draw(st.lists(st.integers(0, 30), min_size=len(looks), max_size=len(looks)))
    joined = group_alike(looks, groups).tolist()
    assert find_alike(looks, joined).count == 0
    # The components by hand.
    place = list(range(len(looks)))
    for _ in looks:
        for a in range(len(looks)):
            for b in range(len(looks)):
                alike = looks[a] and looks[b] and _bits(looks[a], looks[b]) <= ALIKE_BITS
                if alike or groups[a] == groups[b]:
                    place[a] = place[b] = min(place[a], place[b])
    assert all((joined[a] == joined[b]) == (place[a] == place[b]) for a in range(len(looks)) for b in range(len(looks)))


def test_ten_thousand_images_are_compared_in_bounded_memory() -> None:
    generator = np.random.default_rng(0)
    looks = [f"{int(n):016x}" for n in generator.integers(0, 2**63, 9_990)]
    # Ten of one scene, every other one in the other split: 25 pairs.
    looks += [f"{1 << bit:016x}" for bit in range(10)]
    pairs = find_alike(looks, [row % 2 for row in range(len(looks))])
    assert pairs.count == 25 and pairs.first[0] == (9_990, 9_991)


def _surface(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    coarse = np.random.default_rng(seed).integers(40, 200, (8, 8)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC))


def _write(root: Path) -> Path:
    """Twelve surfaces a label, each photographed twice, the second time brighter."""
    for number, label in enumerate(LABELS):
        (root / label).mkdir(parents=True)
        for seed in range(12):
            pixels = _surface(100 * number + seed)
            Image.fromarray(pixels).save(root / label / f"{seed:02d}a.png")
            Image.fromarray((pixels * 0.8 + 10).astype(np.uint8)).save(root / label / f"{seed:02d}b.png")
    return root


def test_the_same_surface_in_two_splits_is_warned_of_by_name(tmp_path: Path) -> None:
    source = FolderSource(_write(tmp_path / "d"))
    dataset = read_dataset(source)
    (warning,) = dataset.warnings
    split = {s.entry.file: s.entry.split for s in dataset.samples}
    apart = [f for f in split if f.endswith("a.png") and split[f] is not split[f.replace("a.png", "b.png")]]
    assert len(apart) > 3
    first = f"{apart[0]} ({split[apart[0]].value}) and {apart[0].replace('a.png', 'b.png')}"
    assert warning.startswith(f"{len(apart)} pairs of images in two splits: {first}")
    assert warning.count("look alike") == 3 and f"and {len(apart) - 3} more pairs" in warning
    assert "dataset make --near-duplicates group" in warning
    assert read_dataset(source, near=NearDuplicates.OFF).warnings == ()
    assert all(s.entry.look == "" for s in read_dataset(source, near=NearDuplicates.OFF).samples)


def test_grouped_look_alikes_share_a_split_and_keep_their_parts(tmp_path: Path) -> None:
    source = FolderSource(_write(tmp_path / "d"))
    dataset = read_dataset(source, near=NearDuplicates.GROUP)
    assert dataset.warnings == ()
    split = {s.entry.file: s.entry.split for s in dataset.samples}
    assert all(split[f] is split[f.replace("a.png", "b.png")] for f in split)
    assert len({s.entry.part for s in dataset.samples}) == 72 and len(set(split.values())) == 3


def test_images_of_one_grey_level_match_nothing_and_are_counted(tmp_path: Path) -> None:
    root = _write(tmp_path / "d")
    for n in range(12):
        Image.fromarray(np.full((48, 48), 10 * n, np.uint8)).save(root / "good" / f"flat{n:02d}.png")
    for near in (NearDuplicates.WARN, NearDuplicates.GROUP):
        dataset = read_dataset(FolderSource(root), near=near)
        assert dataset.warnings[-1].startswith("12 images are of one grey level and were not compared")
        flat = [s.entry for s in dataset.samples if "flat" in s.entry.file]
        assert all(e.look == "" for e in flat) and len({e.split for e in flat}) > 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (48, 48, 3)])
def test_any_shape_has_a_look_or_none(shape: tuple[int, ...]) -> None:
    look = look_of(np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8))
    assert look == "" or (len(look) == 16 and int(look, 16) >= 0)

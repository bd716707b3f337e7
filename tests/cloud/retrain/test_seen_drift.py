from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.gate.corruptions import Corruption, corrupt
from cloud.retrain.batches import step_generator
from cloud.retrain.camera_change import CameraChange, ChangeKind, change_images
from cloud.retrain.seen_drift import find_drift, seen_changes
from tests.cloud.retrain.pictures import LABELS, picture

LABEL_OF = torch.arange(60) % 3


def _pictures(first: int, count: int, kind: Corruption | None = None, severity: int = 1) -> torch.Tensor:
    """Return u8[N,1,64,64], the labels in turn."""
    images = []
    for number in range(count):
        pixels = picture(LABELS[number % 3], first + number, 64)
        images.append(pixels if kind is None else corrupt(pixels, kind, severity, number))
    return torch.from_numpy(np.stack(images))[:, None]


BASE = _pictures(0, 60)


@pytest.mark.parametrize(
    ("kind", "severity", "seen", "least", "most"),
    [
        (Corruption.DEFOCUS, 1, ChangeKind.DEFOCUS, 0.5, 1.1),  # a mean of 3x3 has a sigma of 0.82
        (Corruption.NOISE, 4, ChangeKind.NOISE, 9.0, 16.0),
        (Corruption.DARKER, 3, ChangeKind.GAIN, 0.55, 0.65),
    ],
)
def test_change_is_named_with_its_strength(
    kind: Corruption, severity: int, seen: ChangeKind, least: float, most: float
) -> None:
    found = find_drift(BASE, LABEL_OF, _pictures(500, 30, kind, severity), LABEL_OF[:30], 0)
    assert found.change is not None and found.change.kind is seen and least <= found.change.strength <= most, found
    assert found.explained > 0.8 and seen.value in found.said


def test_nothing_is_seen_where_nothing_changed() -> None:
    found = find_drift(BASE, LABEL_OF, _pictures(500, 30), LABEL_OF[:30], 0)
    assert found.change is None and "look like the base" in found.said


def test_change_of_no_known_kind_is_left_alone() -> None:
    stripes = _pictures(500, 30)
    stripes[:, :, ::8] = 255
    stripes[:, :, 4::8] = 0
    found = find_drift(BASE, LABEL_OF, stripes, LABEL_OF[:30], 0)
    assert found.change is None and "no change of the camera explains" in found.said


def test_few_images_say_nothing_and_sources_are_looked_at_apart() -> None:
    dark = _pictures(500, 24, Corruption.DARKER, 3)
    pixels = torch.cat([BASE, dark, _pictures(700, 3)])
    labels = torch.cat([LABEL_OF, LABEL_OF[:24], LABEL_OF[:3]])
    sources = ["base"] * 60 + ["reviewed:a"] * 24 + ["reviewed:b"] * 3
    changes, said = seen_changes(pixels, labels, sources, torch.arange(87) < 60, 0)
    assert [change.kind for change in changes] == [ChangeKind.GAIN]
    assert said[0].startswith("reviewed:a: ") and "3 reviewed images are too few" in said[1]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(list(ChangeKind)), st.floats(0.05, 0.95), st.floats(0.5, 1.5), st.integers(0, 99))
def test_changed_images_are_images_and_the_same_again(
    kind: ChangeKind, strength: float, factor: float, seed: int
) -> None:
    change = CameraChange(kind, strength).scaled(factor)
    first, second = (change_images(BASE[:2].float(), change, step_generator(seed, 1, 2)) for _ in range(2))
    assert torch.equal(first, second) and first.shape == BASE[:2].shape
    assert first.min() >= 0 and first.max() <= 255 and torch.equal(first, first.round())

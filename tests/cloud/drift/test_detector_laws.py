"""Laws that every detector of distances keeps, and every module's example."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pytest

import cloud.drift
from cloud.drift.detectors.answers import Shares, fit_confidences, fit_labels
from cloud.drift.detectors.distance import fit_sways, root_distance
from cloud.drift.detectors.pattern import Pattern, fit_pattern
from cloud.drift.detectors.scene import Scene, fit_scene
from cloud.drift.observation import Observation, observation, unpack
from cloud.drift.vectors import Vector

MODULES = [found.name for found in pkgutil.walk_packages(cloud.drift.__path__, "cloud.drift.") if not found.ispkg]

Fitted = tuple[msgspec.Struct, Vector]


def _root(normal: msgspec.Struct, seen: Observation) -> float:
    if isinstance(normal, Scene | Pattern):
        return normal.root(seen)
    assert isinstance(normal, Shares)
    return normal.root_of(np.array(seen.confidences if normal.cuts else seen.labels, np.float64))


def _turn(line) -> None:
    """Change what the line sees, so that every detector has something to see."""
    line.scene_shift = 0.8
    line.label_shares, line.logit = np.array([0.05, 0.05, 0.1, 0.8]), 0.5


DETECTORS: dict[str, Callable[[Sequence[Observation]], Fitted]] = {
    "scene": fit_scene,
    "pattern": fit_pattern,
    "labels": fit_labels,
    "confidences": fit_confidences,
}
every_detector = pytest.mark.parametrize("fit", DETECTORS.values(), ids=list(DETECTORS))


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_documentation_are_true(name) -> None:
    module = importlib.import_module(name)
    found = doctest.testmod(module)
    assert found.failed == 0
    if ">>>" in (module.__doc__ or ""):
        assert found.attempted > 0


@pytest.mark.parametrize("name", ["season", "levels", "together", "scene", "pattern", "answers"])
def test_every_detector_says_its_idea_its_formula_an_example_and_its_source(name) -> None:
    said = importlib.import_module(f"cloud.drift.detectors.{name}").__doc__ or ""
    assert all(part in said for part in ("Idea:", "Formula:", "Example", ">>>", "Source:"))


def _windows(line, count: int) -> list[Observation]:
    return [observation(record) for record in line.records(count)]


@every_detector
def test_windows_that_follow_lie_where_the_enrolled_ones_did(new_line, fit) -> None:
    apart = []
    for seed in range(10):
        line = new_line(seed=seed)
        normal, roots = fit(_windows(line, 24))
        later = np.array([_root(normal, seen) for seen in _windows(line, 24)])
        apart.append((later.mean() - roots.mean()) / roots.std(ddof=1))
    assert abs(np.mean(apart)) < 0.35


@every_detector
def test_a_change_lies_further_off_the_larger_the_window(new_line, fit) -> None:
    line = new_line(seed=3)
    normal, roots = fit(_windows(line, 24))
    _turn(line)
    found = []
    for frames in (8, 16, 32):
        line.frames = frames
        found.append(np.mean([_root(normal, seen) for seen in _windows(line, 8)]))
    assert roots.mean() < found[0] < found[1] < found[2]


@every_detector
def test_what_is_stored_judges_as_before(new_line, fit) -> None:
    line = new_line(seed=4)
    normal, _ = fit(_windows(line, 12))
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(normal), type=type(normal))
    assert again == normal
    assert all(_root(again, seen) == _root(normal, seen) for seen in _windows(line, 3))


@every_detector
def test_the_order_of_the_enrolled_windows_means_nothing_to_a_distance(new_line, fit) -> None:
    line = new_line(seed=5)
    seen = _windows(line, 24)
    (normal, roots), (turned, turned_roots) = fit(seen), fit(seen[::-1])
    assert np.allclose(roots, turned_roots[::-1])
    probe = _windows(line, 1)[0]
    assert _root(normal, probe) == pytest.approx(_root(turned, probe), rel=1e-6)


@every_detector
def test_windows_that_never_change_give_finite_roots(new_line, fit) -> None:
    seen = _windows(new_line(seed=6), 1) * 24
    normal, roots = fit(seen)
    assert np.isfinite(roots).all() and np.isfinite(_root(normal, seen[0]))
    assert _root(normal, seen[0]) <= 0.01


@every_detector
def test_a_window_of_one_frame_is_no_giant(new_line, fit) -> None:
    line = new_line(seed=7)
    normal, roots = fit(_windows(line, 24))
    line.frames = 1
    assert all(_root(normal, seen) < roots.mean() + 1.5 for seen in _windows(line, 20))


def test_windows_that_sway_in_one_direction_are_whitened_in_it_and_no_other() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    way, frames, ones = rng.normal(0, 1, 64), np.full(168, 50.0), np.ones(64)
    still = rng.normal(0, 50.0**-0.5, (168, 64))
    swaying = still + 0.2 * rng.normal(0, 1, (168, 1)) * way
    found = fit_sways(swaying, frames, ones)
    assert fit_sways(still, frames, ones).directions == b""
    (direction,) = unpack(found.directions).reshape(-1, 64)
    assert abs(direction @ way) / np.linalg.norm(way) > 0.99
    assert unpack(found.extra)[0] == pytest.approx(0.04 * float(way @ way), rel=0.3) and found.rest < 0.005
    other = rng.normal(0, 1, 64)
    other -= direction * (other @ direction)
    usual, same, else_ = (
        root_distance(0.6 * each, np.zeros(64), ones, 50.0, 8400.0, found) for each in (0.0 * way, way, other)
    )
    # Three sd of the sway are one figure of 64; the same size elsewhere is a drift.
    assert usual == 0.0 and same < 0.7 < 1.9 < else_

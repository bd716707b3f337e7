"""`plumbline-cloud drift check`: two folders of images, one question."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cloud.__main__ import main


def _save(folder: Path, count: int, seed: int, gain: float = 1.0, blur: float = 0.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.Generator(np.random.PCG64(seed))
    for number in range(count):
        level, contrast = rng.normal(110, 8), rng.uniform(15, 25)
        pixels = np.clip(rng.normal(level, contrast, (64, 64)) * gain, 0, 255).astype(np.uint8)
        image = Image.fromarray(pixels)
        if blur:
            image = image.filter(ImageFilter.GaussianBlur(blur))
        image.save(folder / f"{number:04d}.png")
    return folder


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save(tmp_path_factory.mktemp("check") / "reference", 80, seed=1)


def test_more_of_the_same_is_no_drift(reference, tmp_path, capsys) -> None:
    assert main(["drift", "check", str(reference), str(_save(tmp_path / "same", 40, seed=2))]) == 0
    assert capsys.readouterr().out.startswith("no drift: like the reference")


def test_false_alarms_over_many_questions_are_rarer_than_alpha_asks(reference, tmp_path, capsys) -> None:
    raised = 0
    for seed in range(30):
        folder = _save(tmp_path / str(seed), 16, seed=100 + seed)
        raised += main(["drift", "check", str(reference), str(folder), "--alpha", "0.05", "--json"]) == 3
        capsys.readouterr()
    assert raised <= 4


@pytest.mark.parametrize(
    ("change", "part"), [({"gain": 1.3}, "light: "), ({"blur": 1.0}, "lens: ")], ids=["brighter", "out of focus"]
)
def test_a_changed_folder_is_a_drift_with_its_reason(reference, tmp_path, capsys, change, part) -> None:
    current = _save(tmp_path / "changed", 20, seed=3, **change)
    (current / "torn.png").write_bytes(b"\x89PNG torn")
    assert main(["drift", "check", str(reference), str(current), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["drifted"] and found["cause"] == "covariate_shift" and found["sentence"].startswith(part)
    assert found["log10_e"] > found["log10_e_limit"] == 3.0
    assert found["reference_images"] == 80 and found["current_images"] == 20
    assert found["unreadable"] == [str(current / "torn.png")]


def test_a_black_folder_is_a_broken_camera(reference, tmp_path, capsys) -> None:
    assert main(["drift", "check", str(reference), str(_save(tmp_path / "black", 10, seed=4, gain=0.0))]) == 3
    said = capsys.readouterr().out
    assert said.startswith("drift: camera: frames are black\n  10 images against 80 of the reference\n")
    assert main(["drift", "check", str(reference), str(tmp_path / "black"), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["cause"], found["sentence"], found["log10_e"]) == ("black", "camera: frames are black", None)


def test_images_in_order_may_vary_more_from_window_to_window(tmp_path, capsys) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    rng = np.random.Generator(np.random.PCG64(5))
    for number in range(96):
        level = 100 + 15 * np.sin(number / 8)
        Image.fromarray(np.clip(rng.normal(level, 20, (64, 64)), 0, 255).astype(np.uint8)).save(
            slow / f"{number:03d}.png"
        )
    brighter = tmp_path / "brighter"
    brighter.mkdir()
    for number in range(10):
        Image.fromarray(np.clip(rng.normal(112, 20, (64, 64)), 0, 255).astype(np.uint8)).save(
            brighter / f"{number}.png"
        )
    assert main(["drift", "check", str(slow), str(brighter), "--in-order"]) == 0
    assert "10 images against 96" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "nowhere", "is no folder"),
        (lambda folder: _save(folder / "few", 3, seed=6), "has 3 readable images, and 8 are needed"),
    ],
    ids=["no folder", "too few"],
)
def test_a_folder_that_cannot_be_judged_is_an_error_that_says_what_to_do(
    reference, tmp_path, capsys, make, said
) -> None:
    assert main(["drift", "check", str(reference), str(make(tmp_path))]) == 1
    assert said in capsys.readouterr().err


def test_a_seed_below_0_is_an_error(reference, capsys) -> None:
    assert main(["drift", "check", str(reference), str(reference), "--seed", "-1"]) == 1
    assert "--seed -1 is below 0" in capsys.readouterr().err


def test_alpha_is_a_probability(reference, capsys) -> None:
    assert main(["drift", "check", str(reference), str(reference), "--alpha", "2"]) == 1
    assert "--alpha" in capsys.readouterr().err

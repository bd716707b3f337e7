"""`plumbline-cloud explain`: pictures of what speaks for an answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cloud.__main__ import main
from cloud.clock import SystemClock
from cloud.retrain.explain import read_explanation
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.train import train
from tests.cloud.retrain.pictures import picture, quick_job, write_folders

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("explained")
    train(quick_job(write_folders(folder / "data", 12), folder / "run"), SystemClock())
    return RunFolder(folder / "run")


@pytest.mark.parametrize("method", ["occlusion", "integrated-gradients"])
def test_what_speaks_for_a_stain_is_the_stain(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    pixels = picture("stain", 77)
    Image.fromarray(pixels).save(tmp_path / "part.png")
    out = tmp_path / "why" / "part.png"
    asked = [str(run.root), str(tmp_path / "part.png"), "--out", str(out), "--method", method, "--label", "stain"]
    assert main(["explain", *asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["label"] == "stain" and told["found"] is True
    looked = read_explanation(out).looked
    with Image.open(out) as shown:
        assert looked is not None and shown.size == (40, 40)
    grid = np.asarray(Image.fromarray(looked.grid()).resize((40, 40)), float)
    stain = pixels < 75
    assert grid[stain].mean() > 2 * grid[~stain].mean(), "the evidence lies where the stain is"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--label": "rust"}, "no label 'rust'"),
        ({"image": "nothing.png"}, "cannot read"),
        ({"run": "nowhere"}, "run.json is not there"),
        ({"out": "why.json"}, "is no .png"),
        ({"out": "part.png"}, "is the image itself"),
    ],
)
def test_what_cannot_be_explained_is_one_line(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], message: str
) -> None:
    Image.fromarray(picture("stain", 77)).save(tmp_path / "part.png")
    folder = str(tmp_path / change["run"]) if "run" in change else str(run.root)
    asked = [
        folder,
        str(tmp_path / change.get("image", "part.png")),
        "--out",
        str(tmp_path / change.get("out", "o.png")),
    ]
    for name in ("--label",):
        asked += [name, change[name]] if name in change else []
    assert main(["explain", *asked]) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and not (tmp_path / "o.png").exists()

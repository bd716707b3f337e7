"""The exam: images that no station saw and nobody labelled, judged by the very artefact that stations run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from agent.sources.camera_model import CameraModel, CameraSettings
from agent.sources.image_file import read_image
from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.quantize.measure import accuracy_under
from cloud.retrain.run_folder import RunFolder
from scripts.story.processes import run_tool, tool

DEFOCUS = CameraSettings(defocus_px=1)


def defocused_copy(folder: Path, names: list[str], into: Path) -> None:
    """Write each image as the station's camera sees it with a slightly defocused lens (3x3 mean), as PNG by the same name."""
    camera = CameraModel(seed=0)
    for name in names:
        pixels = camera.capture(read_image((folder / name).read_bytes(), name), DEFOCUS)
        target = into / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(pixels)).save(target)


def precision_accuracies(run: Path, folders: Sequence[Path], truth: Mapping[str, str]) -> dict[str, float]:
    """Return the share of the images below `folders` that a run's artefacts name rightly, by precision ("fp32", "int8")."""
    info, report = RunFolder(run).info(), RunFolder(run).quantize_report()
    places = {label.name: place for place, label in enumerate(info.labels)}
    found = [
        (p, p.relative_to(folder).as_posix()) for folder in folders for p in sorted(folder.rglob("*")) if p.is_file()
    ]
    images = [read_image(path.read_bytes(), name) for path, name in found]
    labels = [places[truth[name]] for _, name in found]
    runners = {a.precision: ArtefactRunner(run / a.file, info.preprocess) for a in report.artefacts}
    return {precision: accuracy_under(runner, images, labels) for precision, runner in runners.items()}


def accuracy_on(bundle: Path, folder: Path, truth: Mapping[str, str]) -> float:
    """Return the share of images below `folder` that `plumbline-agent infer` names rightly.

    `truth` gives the label of an image by its path relative to `folder`, with or without a ".png" put behind.
    """
    images = sorted(p for p in folder.rglob("*") if p.is_file())
    lines = run_tool(
        [tool("plumbline-agent"), "infer", "--bundle", str(bundle), "--json", *map(str, images)]
    ).splitlines()
    right = 0
    for image, line in zip(images, lines, strict=True):
        relative = image.relative_to(folder).as_posix()
        expected = truth[relative] if relative in truth else truth[relative.removesuffix(".png")]
        right += json.loads(line)["label"] == expected
    return right / len(images)
